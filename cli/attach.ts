// `cairn attach`: serves an image, or a disk of zeros, until SIGINT or SIGTERM.
import type { ClusterClient, LockedImage, SnapshotInfo } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { systemRandom } from "../common/ports.js";
import type { NativeDirtyBitmap } from "../native/binding.js";
import { defaultQueues, type ExportTarget, type RunningExport } from "../vhost-blk/index.js";
import { withCluster as onCluster } from "./connect.js";
import { type ImageLayer, imagesOf, nameOf } from "./image-access.js";
import type { NbdTarget } from "./nbd-target.js";
import type { ClusterOptions } from "./options.js";
import { untilAborted, withAbortSignal } from "./signals.js";
import type { ImageOrSnap } from "./spec.js";
import { announce } from "./standard-streams.js";

interface AttachFlags extends ClusterOptions {
  vhostUser?: string;
  nbd?: NbdTarget;
  queues?: number;
  readOnly?: true;
  exclusive?: true;
  lockTimeout?: number;
  null?: number;
  dirtyBitmap: string[];
}

interface Attached {
  what: string;
  target: ExportTarget;
  readOnly: boolean;
}

export async function attachAction(
  spec: ImageOrSnap | undefined,
  flags: AttachFlags,
): Promise<void> {
  const target = targetOf(flags);
  const readOnly = flags.readOnly === true || spec?.snap !== undefined;
  if (readOnly && flags.exclusive === true) {
    throw usage("--exclusive is about the lock of a writer, and what is read-only takes none");
  }
  if (flags.null !== undefined) {
    if (spec !== undefined) throw usage("give an image or --null SIZE, not both");
    if (flags.null === 0) throw usage("a disk of size 0 cannot be");
    await attachNull(flags.null, { what: "null", target, readOnly }, flags);
    return;
  }
  if (spec === undefined) throw usage("give an image as POOL/IMAGE, or --null SIZE");
  await attachImage(spec, { what: nameOf(spec), target, readOnly }, flags);
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

async function attachImage(
  spec: ImageOrSnap,
  attached: Attached,
  flags: AttachFlags,
): Promise<void> {
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
  spec: ImageOrSnap,
  attached: Attached,
  flags: AttachFlags,
  signal: AbortSignal,
): Promise<void> {
  const [{ serialOf, serve }, { openReader }] = await Promise.all([
    import("../vhost-blk/index.js"),
    import("../client/index.js"),
  ]);
  const images = await imagesOf(client, spec);
  const end =
    spec.snap === undefined ? undefined : await images.snapshots.find(spec.image, spec.snap);
  let offer: (snapshots: SnapshotInfo[]) => void = () => undefined;
  const { handle, info, close } = await openReader(images, spec.image, {
    snap: spec.snap,
    onSnapshots: (snapshots) => offer(snapshots),
  });
  try {
    const dirtyBitmaps = await bitmapsOf(images, spec, attached.target, flags, end?.id);
    const names = { name: spec.image, serial: serialOf(spec.pool, info.id), dirtyBitmaps };
    const running = await serve(client.io, handle, attached.target, names);
    offer = (snapshots) => void running.offer(bitmapsIn(snapshots, end?.id, flags.dirtyBitmap));
    await serveUntilStopped(running, attached, info.sizeBytes, flags, signal);
  } finally {
    await close();
  }
}

async function attachWriter(
  client: ClusterClient,
  spec: ImageOrSnap,
  attached: Attached,
  flags: AttachFlags,
  signal: AbortSignal,
): Promise<void> {
  const [{ serialOf, serve }, { openLocked }] = await Promise.all([
    import("../vhost-blk/index.js"),
    import("../client/index.js"),
  ]);
  const images = await imagesOf(client, spec);
  const dirtyBitmaps = await bitmapsOf(images, spec, attached.target, flags);
  let offer: (snapshots: SnapshotInfo[]) => void = () => undefined;
  const image = await openLocked(images, spec.image, {
    exclusive: flags.exclusive === true,
    watchTimeoutMs: flags.lockTimeout,
    onSnapshots: (snapshots) => offer(snapshots),
  });
  const { handle, info } = image;
  try {
    const names = { name: spec.image, serial: serialOf(spec.pool, info.id), dirtyBitmaps };
    const running = await serve(client.io, handle, attached.target, names);
    offer = (snapshots) => void running.offer(bitmapsIn(snapshots, undefined, flags.dirtyBitmap));
    const stopped = serveUntilStopped(running, attached, info.sizeBytes, flags, signal, image);
    await stopped;
  } finally {
    await image.close();
  }
}

/** The snapshots that are older than what is served: those that were named, or all. */
async function bitmapsOf(
  images: ImageLayer,
  spec: ImageOrSnap,
  target: ExportTarget,
  { dirtyBitmap: wanted }: AttachFlags,
  end?: number,
): Promise<NativeDirtyBitmap[]> {
  if (target.kind !== "nbd") {
    if (wanted.length === 0) return [];
    throw usage("--dirty-bitmap goes with --nbd");
  }
  const snapshots = await images.snapshots.list(spec.image);
  const bitmaps = bitmapsIn(snapshots, end, wanted);
  const missing = wanted.find((name) => !bitmaps.some((bitmap) => bitmap.name === name));
  if (missing !== undefined) {
    throw new StorageError("not_found", `${nameOf(spec)} has no older snapshot "${missing}"`, {
      remedy: `\`cairn snap ls ${nameOf(imageOf(spec))}\` lists the snapshots.`,
    });
  }
  return bitmaps;
}

/** @param end the snapshot that is served; undefined: the image */
function bitmapsIn(
  snapshots: readonly SnapshotInfo[],
  end: number | undefined,
  wanted: readonly string[],
): NativeDirtyBitmap[] {
  return snapshots
    .filter(({ id, name }) => {
      const isOlder = end === undefined || id < end;
      return isOlder && (wanted.length === 0 || wanted.includes(name));
    })
    .map(({ id, name }) => ({ name, snap: id }));
}

const imageOf = ({ pool, namespace, image }: ImageOrSnap) => ({ pool, namespace, image });

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
  announce(line);
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
  throw await locked.ended;
}
