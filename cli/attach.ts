// `cairn attach`: serves an image, or a disk of zeros, until SIGINT or SIGTERM.
import { type Command, InvalidArgumentError } from "commander";
import type { ImageSpec } from "../client/image/image-spec.js";
import type { ClusterClient, LockedImage } from "../client/index.js";
import type { Address } from "../common/config.js";
import { StorageError } from "../common/errors.js";
import { systemRandom } from "../common/ports.js";
import {
  defaultQueues,
  type ExportTarget,
  maxQueues,
  type RunningExport,
} from "../vhost-blk/index.js";
import { withCluster as onCluster } from "./connect.js";
import { imagesOf, specValue } from "./image-access.js";
import {
  addressValue,
  type ClusterOptions,
  countValue,
  durationValue,
  sizeValue,
  withCluster,
  withExamples,
} from "./options.js";
import { untilAborted, withAbortSignal } from "./signals.js";

type NbdTarget = { unix: string } | { tcp: Address };

interface AttachFlags extends ClusterOptions {
  vhostUser?: string;
  nbd?: NbdTarget;
  queues?: number;
  readOnly?: boolean;
  exclusive?: boolean;
  lockTimeout?: number;
  null?: number;
}

interface Attached {
  what: string;
  target: ExportTarget;
  readOnly: boolean;
}

export function registerAttach(program: Command): void {
  const attach = program
    .command("attach")
    .description(
      "Serve an image at a vhost-user socket (virtual machines) or as an NBD server. Stays in\n" +
        "the foreground; SIGINT or SIGTERM answers what is in flight and ends it.\n" +
        "The image's exclusive lock is taken when a guest or NBD client begins to use it, and\n" +
        "handed over when another attach asks for it; a read-only attach takes none.",
    )
    .argument("[pool/image]", "the image", specValue)
    .option("--vhost-user <socket>", "path of the vhost-user-blk socket")
    .option("--nbd <where>", "unix:PATH or tcp:HOST:PORT of the NBD server", nbdValue)
    .option("--queues <n>", `vhost-user queues offered (default: ${defaultQueues})`, queuesValue)
    .option("--read-only", "refuse writes")
    .option("--exclusive", "once the lock is taken, hand it to nobody who asks")
    .option(
      "--lock-timeout <duration>",
      "others wait so long for us when we fall silent (default: 10s)",
      durationValue,
    )
    .option("--null <size>", "a disk of zeros in place of an image; needs no cluster", sizeValue);
  withCluster(attach).action(attachAction);
  withExamples(
    attach,
    "cairn attach rbd/debian --vhost-user /tmp/vm1.sock",
    "cairn attach rbd/disk1 --nbd tcp:127.0.0.1:10809 --read-only",
    "cairn attach --null 1G --vhost-user /tmp/null.sock",
  );
}

const queuesValue = countValue(1, maxQueues);

function nbdValue(text: string): NbdTarget {
  const [kind, ...rest] = text.split(":");
  const value = rest.join(":");
  if (kind === "unix" && value !== "") return { unix: value };
  if (kind === "tcp") return { tcp: addressValue(value) };
  throw new InvalidArgumentError("It should be unix:PATH or tcp:HOST:PORT.");
}

async function attachAction(spec: ImageSpec | undefined, flags: AttachFlags): Promise<void> {
  const target = targetOf(flags);
  const readOnly = flags.readOnly === true;
  if (flags.null !== undefined) {
    if (spec !== undefined) throw usage("give an image or --null SIZE, not both");
    if (flags.null === 0) throw usage("a disk of size 0 cannot be");
    await attachNull(flags.null, { what: "null", target, readOnly }, flags);
    return;
  }
  if (spec === undefined) throw usage("give an image as POOL/IMAGE, or --null SIZE");
  await attachImage(spec, { what: `${spec.pool}/${spec.image}`, target, readOnly }, flags);
}

function targetOf({ vhostUser, nbd, queues }: AttachFlags): ExportTarget {
  if (vhostUser !== undefined && nbd === undefined) {
    return { kind: "vhost-user", socket: vhostUser, queues: queues ?? defaultQueues };
  }
  if (queues !== undefined) throw usage("--queues goes with --vhost-user");
  if (nbd === undefined || vhostUser !== undefined) {
    throw usage("give one of --vhost-user SOCKET and --nbd WHERE");
  }
  return { kind: "nbd", ...nbd };
}

function usage(message: string): StorageError {
  return new StorageError("invalid_argument", message, {
    remedy: "`cairn attach --help` shows examples.",
  });
}

async function attachImage(spec: ImageSpec, attached: Attached, flags: AttachFlags): Promise<void> {
  await withAbortSignal((signal) =>
    onCluster(flags, async (client) => {
      client.reportStats(`client.${spec.image}.${process.pid}`);
      if (attached.readOnly) await attachReader(client, spec, attached, flags, signal);
      else await attachWriter(client, spec, attached, flags, signal);
    }),
  );
}

/** Without a lock, but as a watcher: `cairn rm` sees it. */
async function attachReader(
  client: ClusterClient,
  spec: ImageSpec,
  attached: Attached,
  flags: AttachFlags,
  signal: AbortSignal,
): Promise<void> {
  const [{ serialOf, serve }, { ImageLock }] = await Promise.all([
    import("../vhost-blk/index.js"),
    import("../client/index.js"),
  ]);
  const images = await imagesOf(client, spec.pool);
  const { handle, info } = await images.open(spec.image, { readOnly: true });
  const reload = async () => client.io.setImageSize(handle, await images.sizeOf(info.id));
  const target = { pool: images.poolId, id: info.id, reload };
  const watch = await ImageLock.watching(images.lockPorts(), target);
  try {
    const names = { name: spec.image, serial: serialOf(spec.pool, info.id) };
    const running = await serve(client.io, handle, attached.target, names);
    await serveUntilStopped(running, attached, info.sizeBytes, flags, signal);
  } finally {
    await watch.close();
    images.close(handle);
  }
}

async function attachWriter(
  client: ClusterClient,
  spec: ImageSpec,
  attached: Attached,
  flags: AttachFlags,
  signal: AbortSignal,
): Promise<void> {
  const [{ serialOf, serve }, { openLocked }] = await Promise.all([
    import("../vhost-blk/index.js"),
    import("../client/index.js"),
  ]);
  const image = await openLocked(await imagesOf(client, spec.pool), spec.image, {
    exclusive: flags.exclusive === true,
    watchTimeoutMs: flags.lockTimeout,
  });
  const { handle, info } = image;
  try {
    const names = { name: spec.image, serial: serialOf(spec.pool, info.id) };
    const running = await serve(client.io, handle, attached.target, names);
    const stopped = serveUntilStopped(running, attached, info.sizeBytes, flags, signal, image);
    await stopped;
  } finally {
    await image.close();
  }
}

async function attachNull(
  sizeBytes: number,
  attached: Attached,
  flags: AttachFlags,
): Promise<void> {
  const [{ serve }, { native }] = await Promise.all([
    import("../vhost-blk/index.js"),
    import("../native/index.js"),
  ]);
  const io = new native.Client({
    clusterId: new Uint8Array(16),
    clientId: systemRandom.uint64() || 1n,
    onEvents: () => undefined,
  });
  try {
    await withAbortSignal(async (signal) => {
      const device = io.openNull(sizeBytes);
      const names = { name: "null", serial: "cairn-null" };
      const running = await serve(io, device, attached.target, names);
      await serveUntilStopped(running, attached, sizeBytes, flags, signal);
      io.closeDevice(device);
    });
  } finally {
    await io.close();
  }
}

async function serveUntilStopped(
  running: RunningExport,
  { what, target, readOnly }: Attached,
  sizeBytes: number,
  { format }: AttachFlags,
  signal: AbortSignal,
  locked?: LockedImage,
): Promise<void> {
  const protocol = target.kind;
  const line =
    format === "json"
      ? JSON.stringify({ attached: what, protocol, socket: running.where, sizeBytes, readOnly })
      : `attached ${what} at ${running.where}`;
  process.stdout.write(`${line}\n`);
  try {
    // The native core's thread serves; its handle alone does not keep Node's loop alive.
    const keepAlive = setInterval(() => undefined, 2 ** 30);
    try {
      await Promise.race([untilAborted(signal), untilLost(locked)]);
    } finally {
      clearInterval(keepAlive);
    }
  } finally {
    locked?.lock.giveUp();
    await running.stop();
  }
}

/** Throws when the lock is lost or refused: nothing can be served any more. */
async function untilLost(locked: LockedImage | undefined): Promise<void> {
  if (locked === undefined) return new Promise(() => undefined);
  throw await locked.lock.ended;
}
