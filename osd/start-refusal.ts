// The last words of an OSD that cannot start: it tells the monitor why, so that the refusal is
// counted and shown in health although no daemon runs. Whether the monitor hears it changes nothing
// for the caller: it waits a bounded time, and goes on to end with its own error.
import type { OsdConfig } from "../common/config.js";
import type { StorageError } from "../common/errors.js";
import type { Clock } from "../common/ports.js";
import { ControlChannel, clusterBytes } from "../proto/control-channel.js";
import type { DialControl } from "../proto/control-stream.js";
import { protocolVersion } from "../proto/handshake.js";
import { encodeMessage, type OsdStartRefused } from "../proto/messages.js";
import { readFolderIdentity } from "./identity.js";

/** How long the monitor has to take note. */
export const tellTimeoutMs = 2000;
/** Of texts in a message. */
const maxTextLength = 1024;

export interface TellPorts {
  incarnation: bigint;
  clock: Clock;
  dial: DialControl;
}

/**
 * Tells the monitor that the OSD could not start. Without a readable identity file there is nobody
 * to tell: it names the cluster, and a monitor hears OSDs of its own cluster only.
 * @returns true when the monitor has taken note, or has refused to; false when it did not answer
 */
export async function tellStartRefused(
  config: OsdConfig,
  error: StorageError,
  ports: TellPorts,
): Promise<boolean> {
  const identity = await readFolderIdentity(config.dataDir).catch(() => undefined);
  if (identity === undefined) return false;
  const { message, remedy } = error;
  const text: OsdStartRefused = {
    kind: "osdStartRefused",
    osd: config.id,
    ...(identity.osd === config.id && { uuid: identity.storeId }),
    host: config.host,
    error: {
      code: error.code,
      message: message.slice(0, maxTextLength),
      ...(remedy !== undefined && { remedy: remedy.slice(0, maxTextLength) }),
    },
  };
  return say(config, identity.clusterId, encodeMessage(text), ports);
}

/** One connection, one message; the monitor closes it when it has read that. */
function say(
  config: OsdConfig,
  clusterId: string,
  message: Uint8Array,
  { incarnation, clock, dial }: TellPorts,
): Promise<boolean> {
  const ours = {
    version: protocolVersion,
    cluster: clusterBytes(clusterId),
    self: { kind: "osd", id: BigInt(config.id), incarnation } as const,
    requiredFeatures: 0,
    supportedFeatures: 0,
    expected: undefined,
    refusal: undefined,
  };
  const channel = new ControlChannel({ ours, role: "dialer" });
  return new Promise((resolve) => {
    let isSaid = false;
    const socket = dial(config.monitor);
    const end = (heard: boolean) => {
      cancel();
      socket.destroy();
      resolve(heard);
    };
    const cancel = clock.setTimer(tellTimeoutMs, () => end(false));
    socket.on("connect", () => socket.write(channel.hello()));
    socket.on("error", () => end(false));
    socket.on("close", () => end(isSaid));
    socket.on("data", (chunk) => {
      try {
        for (const event of channel.receive(chunk)) {
          if (event.kind === "refused") end(true);
          if (event.kind !== "ready") continue;
          socket.write(channel.encode(message));
          isSaid = true;
        }
      } catch {
        end(false);
      }
    });
  });
}
