// Import of diff streams (docs/format/diff-stream.md): one diff into an image that has its start
// snapshot, or an exported image with all its snapshots into a new one.
//
// Invariants
//  - The end snapshot is made when all of the diff is durable, under the same hold of the lock: a
//    snapshot of that name stands for the whole diff.
//  - A diff is applied only where its start shows: what an import that broke off has left of it is
//    written again by the next one.
//  - A new image has no name until all its diffs and snapshots are there.
import { StorageError, toStorageError } from "../../common/errors.js";
import type { NativeDiffHeader, NativeDiffPart } from "../../native/binding.js";
import type { ImageAccess } from "./access.js";
import { copySnapshot } from "./copy.js";
import { type DiffIo, type DiffJobOptions, untilDone } from "./diff-job.js";
import { withAccess, withBorrowedAccess } from "./exclusive.js";
import { featureNames, type ImageFeature, knownFeatures } from "./features.js";
import { blockBytes, type ImageHeader } from "./header.js";
import { type Every, everyByClock, HeldEntry } from "./held-entry.js";
import { checkImageName } from "./image-spec.js";
import type { Images } from "./images.js";
import { withWorkDevice } from "./layout.js";
import { begin, checkNew, clear, clearStale, type LayoutOptions } from "./making.js";
import { writeMetadata } from "./metadata.js";
import { refuseMigrating } from "./migration-state.js";
import { type ImageInfo, isListed } from "./scope.js";
import { resizeImage } from "./size.js";
import type { Snapshot } from "./snapshot-record.js";

export interface ImportDiffOptions extends DiffJobOptions {
  overcommit?: boolean;
  /** zeros of a diff's data free space in units of that, from 4096 to 2^20 */
  sparseBytes?: number;
}

export interface ImportSnapshotsOptions extends ImportDiffOptions {
  layout?: LayoutOptions;
  every?: Every;
}

/**
 * Applies a diff to an image, then makes its end snapshot. Who has the image open lends the lock,
 * and waits meanwhile.
 * @returns the name of that snapshot; undefined: the diff ends at the head
 * @throws not_found (the start snapshot), already_exists (the end one), precondition_failed (the
 *   image is not what the start snapshot shows), corrupt (the stream), busy, canceled
 */
export async function importDiff(
  images: Images,
  io: DiffIo,
  image: string,
  fileDescriptor: number,
  options: ImportDiffOptions = {},
): Promise<string | undefined> {
  const { scope } = images;
  const id = await scope.idOf(image);
  return withDiff(io, fileDescriptor, options, async (diff) => {
    const part = await nextPart(io, diff, options);
    if (part?.kind !== "diff") throw notOneDiff();
    const target = scope.prefix + image;
    await withBorrowedAccess(scope, id, options.signal, async (access) => {
      await refuseMigrating(scope, await scope.header(id));
      await applyDiff(access, io, { diff, part, target }, options);
    });
    return part.toName;
  });
}

const notOneDiff = () =>
  new StorageError("invalid_argument", "this is an exported image, not a diff", {
    remedy: "`cairn import --export-format 2` makes a new image of it.",
  });

/**
 * Makes an image of what exportSnapshots() or `rbd export --export-format 2` has written.
 * @throws already_exists, invalid_argument, out_of_range, corrupt, canceled
 */
export async function importSnapshots(
  images: Images,
  io: DiffIo,
  name: string,
  fileDescriptor: number,
  options: ImportSnapshotsOptions = {},
): Promise<ImageInfo> {
  const { scope } = images;
  const { every = everyByClock(scope), overcommit = false } = options;
  return withDiff(io, fileDescriptor, options, async (diff) => {
    const header = await nextPart(io, diff, options);
    if (header?.kind !== "image") throw notAnImage();
    const first = await nextPart(io, diff, options);
    if (first?.kind !== "diff" || first.sizeBytes === undefined) throw noSize();
    const image = { ...layoutOf(header, options.layout), sizeBytes: first.sizeBytes };
    checkNew(scope, name, image, overcommit);
    await clearStale(scope, ["creating", "importing", "removing"]);
    const { entry } = await begin(scope, "importing", name, image);
    const held = new HeldEntry(scope, entry, every);
    const signal = AbortSignal.any([held.lost, ...(options.signal ? [options.signal] : [])]);
    const own = { ...options, signal };
    try {
      const fill = (access: ImageAccess) => applyAll(access, io, { diff, first, name }, own);
      await withAccess(scope, entry.id, fill);
      for (const [key, value] of header.metadata) await writeMetadata(scope, entry.id, key, value);
      // No renewal may run beside the publication, which compares the entry's bytes.
      await held.release();
      await scope.directory.publish(held.entry);
    } catch (thrown) {
      await held.release();
      // Should this fail, the entry stays, and the next rm or import of the pool clears it away.
      await clear(scope, held.entry).catch(() => undefined);
      throw toStorageError(thrown);
    }
    return images.info(name);
  });
}

const notAnImage = () =>
  new StorageError("invalid_argument", "this is a diff, not an exported image", {
    remedy: "`cairn import-diff` applies it to an image.",
  });
const noSize = () => new StorageError("corrupt", "the export does not say how large the image is");

type ImagePart = Extract<NativeDiffPart, { kind: "image" }>;

/** As it was there, but for what is asked for here. */
function layoutOf(header: ImagePart, asked: LayoutOptions = {}): LayoutOptions {
  const objectBytes = 2 ** header.order;
  const wanted: readonly ImageFeature[] = featureNames(BigInt(header.features) & knownFeatures);
  const features = wanted.filter((feature) => feature !== "striping" && feature !== "data-pool");
  const own = {
    objectBytes,
    stripeUnitBytes: header.stripeUnitBytes || objectBytes,
    stripeCount: header.stripeCount || 1,
    features,
  };
  return asked.objectBytes === undefined ? { ...own, ...asked } : { features, ...asked };
}

/** A diff whose header was read. */
interface ReadDiff {
  diff: number;
  part: NativeDiffHeader;
  /** the image's name, for messages */
  target: string;
}

async function applyAll(
  access: ImageAccess,
  io: DiffIo,
  { diff, first, name }: { diff: number; first: NativeDiffHeader; name: string },
  options: ImportDiffOptions,
): Promise<void> {
  for (let part: NativeDiffPart | NativeDiffHeader | null = first; part !== null; ) {
    if ("kind" in part && part.kind !== "diff") throw noSize();
    await applyDiff(access, io, { diff, part, target: access.scope.prefix + name }, options);
    part = await nextPart(io, diff, options);
  }
}

async function applyDiff(
  access: ImageAccess,
  io: DiffIo,
  { diff, part, target }: ReadDiff,
  options: ImportDiffOptions,
): Promise<void> {
  const { scope, id, fence } = access;
  await checkStart(access, await scope.header(id), part, target);
  const { sizeBytes, toName } = part;
  if (sizeBytes !== undefined) {
    const { overcommit = false } = options;
    await resizeImage(access, { sizeBytes, allowShrink: true, overcommit });
  }
  const { progress = () => undefined, signal, sparseBytes = blockBytes } = options;
  const header = await scope.header(id);
  await withWorkDevice(scope, header, fence, (device) => {
    const report = (doneBytes: number) => progress(doneBytes, undefined);
    return untilDone(io, signal, () => io.importDiff(device, diff, { sparseBytes }, report));
  });
  if (toName === undefined) return;
  await copySnapshot(access, { name: toName, protected: part.protected === true });
}

/** @throws not_found, already_exists, precondition_failed */
async function checkStart(
  access: ImageAccess,
  header: ImageHeader,
  { fromName, toName }: NativeDiffHeader,
  target: string,
): Promise<void> {
  const snapshots = header.snapshots.filter(isListed);
  const named = (name: string | undefined) => snapshots.find((other) => other.name === name);
  if (toName !== undefined) {
    checkImageName(toName);
    if (named(toName) !== undefined) throw hasEnd(target, toName);
  }
  const newest = snapshots.at(-1);
  const start = named(fromName);
  if (fromName !== undefined && start === undefined) throw noStart(target, fromName, newest);
  // The head comes from the newest snapshot: it shows that, or what a broken-off import has left.
  if (newest?.id === start?.id) return;
  if (await differs(access, header, start)) throw otherHead(target, start, newest);
}

/** Whether the head is not what a snapshot shows; undefined: nothing at all. */
async function differs(
  { scope, fence }: ImageAccess,
  header: ImageHeader,
  from: Snapshot | undefined,
): Promise<boolean> {
  let found = false;
  await withWorkDevice(scope, header, fence, async (device) => {
    const stop = new StorageError("canceled", "a difference is enough");
    const onExtents = () => {
      found = true;
      throw stop;
    };
    await scope.io.diffImage(device, from?.id ?? 0, onExtents).catch((thrown: unknown) => {
      if (!found) throw thrown;
    });
  });
  return found;
}

const hasEnd = (target: string, name: string) =>
  new StorageError("already_exists", `${target} has the snapshot "${name}", where the diff ends`, {
    remedy: "The diff has been imported: go on with the one that follows it.",
  });

const noStart = (target: string, name: string, newest: Snapshot | undefined) =>
  new StorageError("not_found", `${target} has no snapshot "${name}", where the diff begins`, {
    remedy:
      newest === undefined
        ? "Import the diffs before it first, from the one that begins with nothing."
        : `Its newest snapshot is "${newest.name}": import the diff that begins there first.`,
  });

const otherHead = (target: string, start: Snapshot | undefined, newest: Snapshot | undefined) =>
  new StorageError(
    "precondition_failed",
    `the diff begins ${start === undefined ? "with nothing" : `at "${start.name}"`}, ` +
      `but ${target} has gone on from there to "${newest?.name}"`,
    {
      remedy:
        start === undefined
          ? "Import it into a new image."
          : `\`cairn snap rollback ${target}@${start.name}\` goes back, then import it again.`,
    },
  );

/** Opens a stream; what is wrong with it gets a remedy. */
async function withDiff<T>(
  io: DiffIo,
  fileDescriptor: number,
  { signal }: DiffJobOptions,
  use: (diff: number) => Promise<T>,
): Promise<T> {
  try {
    const diff = await untilDone(io, signal, () => io.openDiff(fileDescriptor));
    try {
      return await use(diff);
    } finally {
      io.closeDiff(diff);
    }
  } catch (thrown) {
    const error = toStorageError(thrown);
    if (error.code !== "corrupt" || error.remedy !== undefined) throw error;
    throw new StorageError("corrupt", error.message, {
      remedy: "Its end snapshot was not made. Get the whole stream, and import it again.",
      cause: thrown,
    });
  }
}

function nextPart(
  io: DiffIo,
  diff: number,
  { signal }: DiffJobOptions,
): Promise<NativeDiffPart | null> {
  return untilDone(io, signal, () => io.nextDiff(diff));
}
