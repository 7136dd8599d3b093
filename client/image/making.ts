// Making and unmaking images: pending entries, headers, and clearing away what is left of an image
// that has lost its name or never got one. Single atomic operations in an order that a crash
// between any two of them leaves either the old state, the new one, or a pending entry that is
// cleared away later. docs/format/image.md
import { StorageError, toStorageError } from "../../common/errors.js";
import type { NativeFence } from "../../native/binding.js";
import type { PendingEntry } from "./directory.js";
import { leaveParent, parentsOf } from "./family.js";
import { defaultFeatures, featureBits, type ImageFeature, newFeatures } from "./features.js";
import {
  blockBytes,
  dataPrefix,
  defaultOrder,
  headerObject,
  headerSteps,
  type ImageHeader,
  maxStripeCount,
} from "./header.js";
import { headerToRemove } from "./header-to-remove.js";
import { checkImageName, checkImageSize, poolCapacityBytes } from "./image-spec.js";
import type { Migration } from "./migration-record.js";
import { hasCode } from "./omap-values.js";
import type { PendingRecord, PendingState } from "./pending-record.js";
import type { ParentRef } from "./references.js";
import { type ImageInfo, noProgress, type Progress, type Scope } from "./scope.js";
import { discardFrom } from "./size.js";

/** How an image is laid out over objects; absent: the default. */
export interface LayoutOptions {
  /** a power of two from 64 KiB to 32 MiB; default 4 MiB */
  objectBytes?: number;
  /** whole blocks of 4 KiB that divide the object; default: the object */
  stripeUnitBytes?: number;
  stripeCount?: number;
  features?: readonly ImageFeature[];
  /** name of the pool for the data */
  dataPool?: string;
}

export interface NewImage extends LayoutOptions {
  sizeBytes: number;
  parent?: ParentRef;
  migration?: Migration;
}

/** A pending entry that nobody has renewed for so long is nobody's any more. */
export const pendingStaleMs = 120_000;
const minObjectBytes = 1 << 16;
const maxObjectBytes = 1 << 25;

/** @throws invalid_argument, not_found (the data pool) */
function newHeader(scope: Scope, id: string, image: NewImage): ImageHeader {
  const { objectBytes = 2 ** defaultOrder, stripeCount = 1, dataPool } = image;
  const { stripeUnitBytes = objectBytes, features = defaultFeatures } = image;
  checkLayout(objectBytes, stripeUnitBytes, stripeCount);
  const dataPoolId = dataPool === undefined ? undefined : scope.cluster.pool(dataPool).id;
  const ownPool = dataPoolId === undefined || dataPoolId === scope.pool.id;
  const striped = stripeCount > 1 || stripeUnitBytes !== objectBytes;
  const mask = newFeatures(image.parent === undefined ? features : [...features, "layering"], {
    striped,
    dataPool: !ownPool,
  });
  const moving = image.migration === undefined ? 0n : featureBits.migrating;
  return {
    id,
    sizeBytes: image.sizeBytes,
    order: Math.log2(objectBytes),
    objectPrefix: dataPrefix(id),
    features: mask | moving,
    createdAt: scope.nowMs(),
    trimEndBytes: undefined,
    stripeUnitBytes,
    stripeCount,
    dataPool: ownPool ? undefined : dataPoolId,
    snapSeq: 0,
    snapLimit: undefined,
    snapshots: [],
    parent: image.parent,
    detaching: undefined,
    rollback: undefined,
    group: undefined,
    migration: image.migration,
    requests: [],
  };
}

function checkLayout(objectBytes: number, stripeUnitBytes: number, stripeCount: number): void {
  const isPower = Number.isInteger(Math.log2(objectBytes));
  if (!isPower || objectBytes < minObjectBytes || objectBytes > maxObjectBytes) {
    throw new StorageError("invalid_argument", `objects of ${objectBytes} bytes cannot be`, {
      remedy: "Choose a power of two from 64K to 32M.",
    });
  }
  const divides = stripeUnitBytes > 0 && objectBytes % stripeUnitBytes === 0;
  if (!divides || stripeUnitBytes % blockBytes !== 0) {
    throw new StorageError(
      "invalid_argument",
      `a stripe unit of ${stripeUnitBytes} bytes cannot be`,
      {
        remedy: `Choose a multiple of ${blockBytes} that divides the object size.`,
      },
    );
  }
  if (!Number.isInteger(stripeCount) || stripeCount < 1 || stripeCount > maxStripeCount) {
    throw new StorageError("invalid_argument", `a stripe count of ${stripeCount} cannot be`, {
      remedy: `Choose a number from 1 to ${maxStripeCount}.`,
    });
  }
}

/** @throws invalid_argument, out_of_range, not_found (the data pool) */
export function checkNew(scope: Scope, name: string, image: NewImage, overcommit: boolean): void {
  checkImageName(name);
  const header = newHeader(scope, "0".repeat(16), image);
  const capacityBytes = poolCapacityBytes(scope.cluster.map(), scope.dataPoolOf(header));
  checkImageSize(image.sizeBytes, overcommit ? undefined : capacityBytes);
}

function record(scope: Scope, state: PendingState, name: string): PendingRecord {
  return { state, name, refreshedAt: scope.nowMs() };
}

/** A new image that has a header but no name yet. */
export interface MadeImage {
  entry: PendingEntry;
  header: ImageHeader;
}

/**
 * The first half of making an image: a pending entry and a header.
 * @param join beside the header: a clone is noted in its parent
 * @throws already_exists
 */
export async function begin(
  scope: Scope,
  state: PendingState,
  name: string,
  image: NewImage,
  join: (id: string) => Promise<void> = async () => undefined,
): Promise<MadeImage> {
  const id = scope.newId();
  const header = newHeader(scope, id, image);
  const { parent } = image;
  const note = record(scope, state, name);
  const snap = parent && {
    pool: parent.pool,
    namespace: parent.namespace,
    imageId: parent.imageId,
    snapId: parent.snapId,
  };
  const entry = await scope.directory.reserve(id, snap ? { ...note, parent: snap } : note);
  const steps = [{ code: "assertAbsent" as const }, ...headerSteps(header)];
  // Whoever clears the entry away looks for both, whichever of them there is.
  const outcomes = await Promise.allSettled([
    join(id),
    scope.io.operate(scope.pool.id, headerObject(id), steps),
  ]);
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") await abandon(scope, entry, outcome.reason);
  }
  return { entry, header };
}

/** The second half, of one that nobody else has seen: it gets its name. @throws already_exists */
export async function publishNew(scope: Scope, { entry, header }: MadeImage): Promise<ImageInfo> {
  try {
    await scope.directory.publish(entry);
  } catch (thrown) {
    await abandon(scope, entry, thrown);
  }
  return scope.infoOf(entry.name, header);
}

/** Says that somebody still works on a pending image. @throws canceled */
export async function renew(scope: Scope, entry: PendingEntry): Promise<PendingEntry> {
  try {
    return await scope.directory.renew(entry, { ...entry, refreshedAt: scope.nowMs() });
  } catch (thrown) {
    if (!hasCode(thrown, "precondition_failed")) throw thrown;
    throw new StorageError("canceled", `${entry.name}: somebody is clearing it away`);
  }
}

/** After a failure while an image was being made: nothing is left of it; the error goes on. */
export async function abandon(scope: Scope, entry: PendingEntry, thrown: unknown): Promise<never> {
  await clear(scope, entry).catch(() => undefined);
  throw toStorageError(thrown);
}

/** Takes a pending image away: data, header, entry. Can be repeated after a crash anywhere. */
export async function clear(
  scope: Scope,
  entry: PendingEntry,
  progress: Progress = noProgress,
  fence?: NativeFence,
): Promise<void> {
  const { id } = entry;
  const header = await headerToRemove(scope, id);
  const parents = header === undefined ? [] : parentsOf(header);
  if (header !== undefined && scope.hasData(header)) {
    await discardFrom(scope, header, 0, progress, fence);
    await removeSnapshots(scope, header);
  }
  if (entry.parent !== undefined) parents.push(entry.parent);
  for (const parent of parents) await leaveParent(scope, parent, scope.refOf(id));
  if (header !== undefined) {
    await scope.io.operate(scope.pool.id, headerObject(id), [{ code: "remove" }]);
  }
  await scope.directory.forget(id);
}

/** Of a copy that was cut off: nobody but its maker knows of them. */
async function removeSnapshots(scope: Scope, header: ImageHeader): Promise<void> {
  const ids = header.snapshots.map(({ id }) => id);
  if (ids.length === 0) return;
  await scope.cluster.snapshotIds.remove(scope.dataPoolOf(header), ids);
}

/** Clears away what clients that died have left in these states. */
export async function clearStale(scope: Scope, states: readonly PendingState[]): Promise<void> {
  const nowMs = scope.nowMs();
  const stale = (await scope.directory.pending()).filter(
    ({ state, refreshedAt }) => states.includes(state) && nowMs - refreshedAt > pendingStaleMs,
  );
  for (const entry of stale) {
    try {
      // As "removing": its maker, should it live after all, fails when it renews or publishes.
      const removing: PendingRecord = { ...entry, state: "removing", refreshedAt: nowMs };
      await clear(scope, await scope.directory.renew(entry, removing));
    } catch (thrown) {
      // Somebody else was faster.
      if (!hasCode(thrown, "precondition_failed")) throw thrown;
    }
  }
}
