// Import: fills a new image from files or a pipe. The native core reads and writes the bytes; here
// are the extents' order, progress, and that nothing half-made stays.
//
// Invariant: the image has no name until all its data is durable; whatever fails before that, also
// a cancel, takes away what was written.
import { StorageError, toStorageError } from "../../common/errors.js";
import type { CopyExtent, CopyProgress, NativeClient } from "../../native/binding.js";
import type { PendingEntry } from "./directory.js";
import { clearFailed, throwIfStopped } from "./filled-image.js";
import { sectorBytes } from "./header.js";
import { type Every, everyByClock, HeldEntry } from "./held-entry.js";
import type { Images } from "./images.js";
import type { LayoutOptions } from "./making.js";
import type { ImageInfo } from "./scope.js";

export type ImportIo = Pick<
  NativeClient,
  | "importBegin"
  | "importExtents"
  | "importEnd"
  | "importRaw"
  | "importStream"
  | "cancelJob"
  | "cancelCopies"
>;

/** What comes in. */
export type ImportSource =
  | {
      kind: "extents";
      /** of the image */
      sizeBytes: number;
      /** open files; CopyExtent.source is an index into this */
      fileDescriptors: number[];
      /** batches in guest order; what no extent covers stays absent */
      extents: AsyncIterable<CopyExtent[]> | Iterable<CopyExtent[]>;
      /** bytes that the extents cover, for the progress */
      extentBytes: number;
    }
  /** a raw image in a file or block device; its holes are not read */
  | { kind: "raw"; sizeBytes: number; fileDescriptor: number }
  /** a raw image from a pipe, of unknown size */
  | {
      kind: "stream";
      fileDescriptor: number;
      /** asked after the last byte: rejects when that was not the end of what there is */
      ended?: () => Promise<void>;
    };

export interface ImportOptions {
  /** doneBytes are durable; totalBytes undefined: not known */
  progress?: (doneBytes: number, totalBytes: number | undefined) => void;
  overcommit?: boolean;
  signal?: AbortSignal;
  every?: Every;
  layout?: LayoutOptions;
}

/** Extents of one crossing at most: a batch costs the event loop under a millisecond. */
export const extentsPerBatch = 256;

/**
 * @throws invalid_argument, out_of_range, already_exists; canceled by the signal; the errors of the
 *   source (corrupt, io_error) and of the cluster
 */
export async function importImage(
  images: Images,
  io: ImportIo,
  name: string,
  source: ImportSource,
  options: ImportOptions = {},
): Promise<ImageInfo> {
  const { overcommit = false, every = everyByClock(images.scope), layout } = options;
  const capacityBytes = images.capacityBytes();
  // A stream's size shows at its end: until then the image is as large as its pool allows.
  const reservedBytes =
    source.kind === "stream"
      ? capacityBytes - (capacityBytes % sectorBytes)
      : Math.ceil(source.sizeBytes / sectorBytes) * sectorBytes;
  images.checkNew(name, reservedBytes, overcommit);
  await images.clearStale(["creating", "importing", "removing"]);
  const { entry, header } = await images.begin("importing", name, reservedBytes, layout);
  const held = new HeldEntry(images.scope, entry, every);
  const signal = AbortSignal.any(
    options.signal === undefined ? [held.lost] : [held.lost, options.signal],
  );
  try {
    const sizeBytes = await copy(images, io, held.entry, source, { ...options, signal });
    // No renewal may run beside the publication, which compares the entry's bytes.
    await held.release();
    return await images.publish(held.entry, source.kind === "stream" ? sizeBytes : undefined);
  } catch (thrown) {
    await held.release();
    await clearFailed(images.scope, { entry: held.entry, header }, thrown);
    throw toStorageError(thrown);
  }
}

/** @returns the size of the image, in bytes */
async function copy(
  images: Images,
  io: ImportIo,
  entry: PendingEntry,
  source: ImportSource,
  options: ImportOptions & { signal: AbortSignal },
): Promise<number> {
  throwIfStopped(options.signal);
  const device = await images.openPending(entry);
  try {
    if (source.kind === "extents") {
      await copyExtents(io, device, source, options);
      return source.sizeBytes;
    }
    return await copyRaw(io, device, source, options);
  } finally {
    // No job uses the device any more: each of the two waits for its end.
    images.close(device);
  }
}

async function copyRaw(
  io: ImportIo,
  device: number,
  source: Exclude<ImportSource, { kind: "extents" }>,
  { progress = () => undefined, signal }: ImportOptions & { signal: AbortSignal },
): Promise<number> {
  throwIfStopped(signal);
  const cancel = () => io.cancelCopies();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    const fd = source.fileDescriptor;
    if (source.kind === "raw") {
      const { sizeBytes } = source;
      await io.importRaw(device, fd, sizeBytes, (doneBytes) => progress(doneBytes, sizeBytes));
      throwIfStopped(signal);
      return sizeBytes;
    }
    const { doneBytes } = await io.importStream(device, fd, (done) => progress(done, undefined));
    throwIfStopped(signal);
    await source.ended?.();
    if (doneBytes === 0) {
      throw new StorageError("invalid_argument", "the input is empty: a size of 0 cannot be");
    }
    return Math.ceil(doneBytes / sectorBytes) * sectorBytes;
  } catch (thrown) {
    throwIfStopped(signal);
    throw thrown;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

async function copyExtents(
  io: ImportIo,
  device: number,
  source: Extract<ImportSource, { kind: "extents" }>,
  { progress = () => undefined, signal }: ImportOptions & { signal: AbortSignal },
): Promise<void> {
  const job = io.importBegin(device, source.fileDescriptors);
  const cancel = () => io.cancelJob(job);
  signal.addEventListener("abort", cancel, { once: true });
  try {
    for await (const batch of source.extents) {
      throwIfStopped(signal);
      const { doneBytes } = await io.importExtents(job, batch);
      progress(doneBytes, source.extentBytes);
    }
  } catch (thrown) {
    cancel();
    // What is under way still writes: the data may be cleared away only after the job's end.
    await io.importEnd(job).catch(() => undefined);
    throwIfStopped(signal);
    throw thrown;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
  const { doneBytes } = await endJob(io, job, signal);
  progress(doneBytes, source.extentBytes);
}

async function endJob(io: ImportIo, job: number, signal: AbortSignal): Promise<CopyProgress> {
  const cancel = () => io.cancelJob(job);
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await io.importEnd(job);
  } catch (thrown) {
    throwIfStopped(signal);
    throw thrown;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
