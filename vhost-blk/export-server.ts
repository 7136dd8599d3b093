// Exports: an open device at a vhost-user socket or as an NBD server. The protocol and the rings
// are native; here is the policy: what may be asked for, the serial number, the order of a stop.
//
// Invariant: a stop drains (every request that was taken is answered), then the socket goes.
import { createHash } from "node:crypto";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import path from "node:path";
import type { Address } from "../common/config.js";
import { type ErrorCode, StorageError, toStorageError } from "../common/errors.js";
import type { DeviceHandle, NativeClient, NativeDirtyBitmap } from "../native/binding.js";

export type ExportIo = Pick<
  NativeClient,
  "serveVhostUser" | "serveNbd" | "setDirtyBitmaps" | "stopExport"
>;

/** Where to serve. */
export type ExportTarget =
  | { kind: "vhost-user"; socket: string; queues: number }
  | { kind: "nbd"; unix: string }
  | { kind: "nbd"; tcp: Address };

export interface ExportNames {
  /** of the device: the NBD export's name */
  name: string;
  /** that a guest sees */
  serial: string;
  /** snapshots whose differences NBD clients can ask for */
  dirtyBitmaps?: NativeDirtyBitmap[];
}

export interface RunningExport {
  /** the socket, or HOST:PORT */
  where: string;
  /** NBD clients that connect from now on can compare with these snapshots; after stop(): none. */
  offer(dirtyBitmaps: NativeDirtyBitmap[]): Promise<void>;
  /** Drains and ends it; its socket is gone afterwards. */
  stop(): Promise<void>;
}

/** virtqueues that the native backend offers at most. */
export const maxQueues = 64;
/**
 * Queues offered by default. QEMU takes one for each virtual CPU and refuses a backend with fewer;
 * one that is not used costs nothing.
 */
export const defaultQueues = 16;
/** sun_path of sockaddr_un has 108 bytes with its terminating zero. */
const maxSocketPathBytes = 107;
/** VIRTIO_BLK_ID_BYTES: the serial number that the guest sees. */
const serialBytes = 20;

/** The serial number of an image: equal at every attach, so that /dev/disk/by-id stays. */
export function serialOf(pool: string, id: string): string {
  const digest = createHash("sha256").update(`${pool}/${id}`).digest("hex");
  return `cairn-${digest.slice(0, serialBytes - "cairn-".length)}`;
}

/** @throws invalid_argument */
export function checkSocketPath(socket: string): void {
  if (Buffer.byteLength(socket) <= maxSocketPathBytes) return;
  throw new StorageError(
    "invalid_argument",
    `the path of the socket has more than ${maxSocketPathBytes} bytes`,
    { remedy: "Choose a shorter one: the kernel's socket addresses hold no more." },
  );
}

/** The native server takes numbers only. @throws not_found */
async function resolved({ host, port }: Address): Promise<Address> {
  if (isIP(host) !== 0) return { host, port };
  try {
    return { host: (await lookup(host)).address, port };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const isUnknown = code === "ENOTFOUND";
    const why = isUnknown ? `there is no host "${host}"` : `cannot look up "${host}": ${code}`;
    throw new StorageError("not_found", why, {
      remedy: "Name this host, or one of its addresses, such as 127.0.0.1.",
      cause,
    });
  }
}

const listenRemedies: { readonly [C in ErrorCode]?: string } = {
  address_in_use: "Choose another one, or stop first what uses it.",
  not_found: "Make the folder of the socket first, or choose another one.",
  permission_denied: "Choose a folder that you may write to, or a port above 1023.",
  io_error: "Choose an address of this host, such as 127.0.0.1, or a socket elsewhere.",
};

async function listening(begin: Promise<number>): Promise<number> {
  try {
    return await begin;
  } catch (thrown) {
    const { code, message, remedy = listenRemedies[code] } = toStorageError(thrown);
    throw new StorageError(code, message, { remedy, cause: thrown });
  }
}

/**
 * @throws address_in_use, permission_denied, not_found (the socket's folder, the host),
 * invalid_argument
 */
export async function serve(
  io: ExportIo,
  device: DeviceHandle,
  target: ExportTarget,
  { name, serial, dirtyBitmaps }: ExportNames,
): Promise<RunningExport> {
  const nbdNames = { exportName: name, ...(dirtyBitmaps === undefined ? {} : { dirtyBitmaps }) };
  let handle: number;
  let where: string;
  if (target.kind === "vhost-user") {
    const socket = path.resolve(target.socket);
    checkSocketPath(socket);
    where = socket;
    handle = await listening(io.serveVhostUser(device, { socket, queues: target.queues, serial }));
  } else if ("unix" in target) {
    const unix = path.resolve(target.unix);
    checkSocketPath(unix);
    where = unix;
    handle = await listening(io.serveNbd(device, { unix, ...nbdNames }));
  } else {
    const tcp = await resolved(target.tcp);
    const { host, port } = tcp;
    where = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    handle = await listening(io.serveNbd(device, { tcp, ...nbdNames }));
  }
  let isStopped = false;
  const offer = async (bitmaps: NativeDirtyBitmap[]) => {
    if (target.kind === "nbd" && !isStopped) await io.setDirtyBitmaps(handle, bitmaps);
  };
  const stop = () => {
    isStopped = true;
    return io.stopExport(handle);
  };
  return { where, offer, stop };
}
