// An image's header as the layout of a native device: its snapshots, and its parents, each a device
// of its own. Devices of parents are closed at once: the core keeps what a child uses.
import { StorageError } from "../../common/errors.js";
import type {
  DeviceHandle,
  ImageLayout,
  NativeFence,
  NativeSnapContext,
} from "../../native/binding.js";
import type { ImageHeader } from "./header.js";
import { needsSource } from "./migration-record.js";
import { openOrigin } from "./migration-source.js";
import { requireUsable, sourceImage, targetRecord } from "./migration-state.js";
import { hasCode } from "./omap-values.js";
import type { ParentRef } from "./references.js";
import type { ImageIo, Scope } from "./scope.js";
import type { Snapshot } from "./snapshot-record.js";

/** A chain of clones that is longer is taken for one that bites its tail. */
export const maxDepth = 512;

/** What writes to the image carry, so that the OSDs keep what its snapshots show. */
export function snapContextOf({ snapSeq, snapshots }: ImageHeader): NativeSnapContext {
  const alive = snapshots.filter(({ state }) => state === "ready");
  return { seq: snapSeq, snaps: alive.map(({ id }) => id).reverse() };
}

/** @throws not_found */
export function snapshotById({ id, snapshots }: ImageHeader, snapId: number): Snapshot {
  const snapshot = snapshots.find((candidate) => candidate.id === snapId);
  if (snapshot !== undefined && snapshot.state === "ready") return snapshot;
  throw new StorageError("not_found", `the image ${id} has no snapshot ${snapId} (any more)`);
}

export function layoutOf(scope: Scope, header: ImageHeader): ImageLayout {
  return {
    pool: scope.dataPoolOf(header).id,
    objectPrefix: header.objectPrefix,
    sizeBytes: header.sizeBytes,
    objectBytes: 2 ** header.order,
    stripeUnitBytes: header.stripeUnitBytes,
    stripeCount: header.stripeCount,
    readOnly: false,
  };
}

const refersTo = ({ parent, snapshots, migration }: ImageHeader): string =>
  JSON.stringify([parent, snapshots.map((snapshot) => [snapshot.id, snapshot.parent]), migration]);

/**
 * Runs with the header of an image; again with a newer one when what the header referred to has
 * gone since, because the image needs it no more.
 */
export async function withHeader<T>(
  scope: Scope,
  id: string,
  run: (header: ImageHeader) => Promise<T>,
): Promise<T> {
  for (let header = await scope.header(id); ; ) {
    try {
      return await run(header);
    } catch (thrown) {
      if (!hasCode(thrown, "not_found") && !hasCode(thrown, "corrupt")) throw thrown;
      const next = await scope.headerIfAny(id);
      if (next === undefined || refersTo(next) === refersTo(header)) throw thrown;
      header = next;
    }
  }
}

/** Runs `use` with the device of a parent, which is closed afterwards. */
export async function withParent<T>(
  scope: Scope,
  parent: ParentRef | undefined,
  use: (parent: { device: DeviceHandle; overlapBytes: number } | undefined) => T | Promise<T>,
  depth = 0,
): Promise<T> {
  if (parent === undefined) return use(undefined);
  if (depth > maxDepth) throw new StorageError("corrupt", "the image is its own ancestor");
  const there = scope.elsewhere(parent.pool, parent.namespace);
  const device = await withHeader(there, parent.imageId, (header) =>
    openSnapshot(there, header, parent.snapId, true, depth + 1),
  );
  try {
    return await use({ device, overlapBytes: parent.overlapBytes });
  } finally {
    scope.io.closeDevice(device);
  }
}

/** withParent() for the head: while it is migrated, what is below it is where it comes from. */
export async function withLower<T>(
  scope: Scope,
  header: ImageHeader,
  use: (lower: { device: DeviceHandle; overlapBytes: number } | undefined) => T | Promise<T>,
): Promise<T> {
  const record = targetRecord(header);
  if (record === undefined || !needsSource(record)) {
    return withParent(scope, header.parent, use);
  }
  await requireUsable(scope, header);
  const source = await sourceImage(scope, record);
  const device =
    source === undefined
      ? await openOrigin(scope, record)
      : await openHead(source.scope, source.header, { readOnly: true });
  try {
    return await use({ device, overlapBytes: record.overlapBytes });
  } finally {
    scope.io.closeDevice(device);
  }
}

/** A device that reads what a snapshot shows. @throws not_found, corrupt, unsupported_feature */
export async function openSnapshot(
  scope: Scope,
  header: ImageHeader,
  snapId: number,
  cached = false,
  depth = 0,
): Promise<DeviceHandle> {
  const { sizeBytes } = snapshotById(header, snapId);
  const open = (parent: { device: DeviceHandle; overlapBytes: number } | undefined) =>
    scope.io.openImage({
      ...layoutOf(scope, header),
      sizeBytes,
      readOnly: true,
      snap: snapId,
      ...(cached ? { cache: { image: header.id } } : {}),
      ...(parent === undefined ? {} : { parent }),
    });
  return withSnapshotLower(scope, header, snapId, open, depth);
}

/** The snapshot of a migration's source that shows through this one; undefined: none does. */
export function movedSnapshot(header: ImageHeader, snapId: number): number | undefined {
  const record = targetRecord(header);
  if (record === undefined || !needsSource(record)) return undefined;
  return snapshotById(header, snapId).source;
}

/** As withLower(), for a snapshot. @throws not_found */
export async function withSnapshotLower<T>(
  scope: Scope,
  header: ImageHeader,
  snapId: number,
  use: (lower: { device: DeviceHandle; overlapBytes: number } | undefined) => T | Promise<T>,
  depth = 0,
): Promise<T> {
  const { parent, sizeBytes } = snapshotById(header, snapId);
  const record = targetRecord(header);
  const moved = movedSnapshot(header, snapId);
  if (record === undefined || moved === undefined) return withParent(scope, parent, use, depth);
  await requireUsable(scope, header);
  const source = await sourceImage(scope, record);
  if (source === undefined) throw new StorageError("not_found", "the migration's source is gone");
  const device = await openSnapshot(source.scope, source.header, moved, false, depth + 1);
  try {
    return await use({ device, overlapBytes: sizeBytes });
  } finally {
    scope.io.closeDevice(device);
  }
}

/** A device of what an image has itself, without its parent. snapId undefined: now. */
export function openOwn(
  scope: Scope,
  header: ImageHeader,
  snapId: number | undefined,
): DeviceHandle {
  const { sizeBytes } = snapId === undefined ? header : snapshotById(header, snapId);
  const of = snapId === undefined ? {} : { snap: snapId };
  return scope.io.openImage({ ...layoutOf(scope, header), sizeBytes, readOnly: true, ...of });
}

export interface HeadOptions {
  readOnly?: boolean;
  /** its requests wait for the exclusive lock */
  locked?: boolean;
  /** other than the header's */
  sizeBytes?: number;
  withoutParent?: boolean;
}

export interface WorkOptions extends HeadOptions {
  /** cancels the jobs of the device: `use` then throws canceled */
  signal?: AbortSignal | undefined;
}

/** A device of the image itself. */
export function openHead(
  scope: Scope,
  header: ImageHeader,
  options: HeadOptions = {},
): Promise<DeviceHandle> {
  const { readOnly = false, locked = false, sizeBytes, withoutParent = false } = options;
  const open = (device: { device: DeviceHandle; overlapBytes: number } | undefined) =>
    scope.io.openImage({
      ...layoutOf(scope, header),
      ...(sizeBytes === undefined ? {} : { sizeBytes }),
      readOnly,
      locked,
      ...(header.snapSeq === 0 ? {} : { snapContext: snapContextOf(header) }),
      ...(device === undefined ? {} : { parent: device }),
    });
  return withoutParent ? withParent(scope, undefined, open) : withLower(scope, header, open);
}

/** Runs `use` with a device beside those of front ends, under the lock that the fence tells of. */
export async function withWorkDevice<T>(
  scope: Scope<ImageIo>,
  header: ImageHeader,
  fence: NativeFence | undefined,
  use: (device: DeviceHandle) => Promise<T>,
  { signal, ...options }: WorkOptions = {},
): Promise<T> {
  const device = await openHead(scope, header, { ...options, locked: fence !== undefined });
  if (fence !== undefined) scope.io.openGate(device, fence);
  const cancel = () => scope.io.cancelJobs(device);
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    if (signal?.aborted) throw new StorageError("canceled", "the image is wanted elsewhere");
    return await use(device);
  } finally {
    signal?.removeEventListener("abort", cancel);
    scope.io.closeDevice(device);
  }
}
