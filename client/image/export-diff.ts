// Diffs of images, and whole images with their snapshots, as streams in the formats of RBD
// (docs/format/diff-stream.md). The native core finds what differs and moves the bytes; here is
// between which moments.
import { StorageError } from "../../common/errors.js";
import type { NativeDiffExport, NativeExportHeader } from "../../native/binding.js";
import { type DiffIo, type DiffJobOptions, untilDone } from "./diff-job.js";
import { featureMask } from "./features.js";
import type { Images } from "./images.js";
import { openReader } from "./open-reader.js";
import type { ImageInfo } from "./scope.js";
import type { SnapshotInfo } from "./snapshots.js";

export interface ExportDiffOptions extends DiffJobOptions {
  /** the moment that the diff ends at; undefined: now */
  snap?: string | undefined;
  /** undefined: from nothing */
  fromSnap?: string | undefined;
  /** whole objects that may differ */
  wholeObject?: boolean;
}

/**
 * Writes one diff to a descriptor.
 * @returns bytes of the image that it went through
 * @throws not_found; invalid_argument when it would go back in time; canceled
 */
export async function exportDiff(
  images: Images,
  io: DiffIo,
  image: string,
  fileDescriptor: number,
  options: ExportDiffOptions = {},
): Promise<number> {
  const { snap, fromSnap, wholeObject = false } = options;
  const { snapshots } = images;
  const from = fromSnap === undefined ? undefined : await snapshots.find(image, fromSnap);
  const to = snap === undefined ? undefined : await snapshots.find(image, snap);
  if (from !== undefined && to !== undefined && from.id >= to.id) {
    const message = `the snapshot "${from.name}" is not older than "${to.name}"`;
    throw new StorageError("invalid_argument", message, {
      remedy: "A diff goes from an older snapshot to a newer one: `cairn snap ls` has their order.",
    });
  }
  const diff = {
    version: 1 as const,
    fromSnap: from?.id ?? 0,
    ...(from === undefined ? {} : { fromName: from.name }),
    wholeObject,
  };
  return exportMoment(images, io, image, to, fileDescriptor, diff, options);
}

/**
 * Writes a whole image with its snapshots (export format 2).
 * @throws not_found, canceled
 */
export async function exportSnapshots(
  images: Images,
  io: DiffIo,
  image: string,
  fileDescriptor: number,
  options: DiffJobOptions = {},
): Promise<void> {
  const info = await images.info(image);
  const moments = [...(await images.snapshots.list(image)), undefined];
  const header = await headerOf(images, info, moments.length);
  let earlier: SnapshotInfo | undefined;
  for (const moment of moments) {
    const diff = {
      version: 2 as const,
      fromSnap: earlier?.id ?? 0,
      ...(earlier === undefined ? { image: header } : { fromName: earlier.name }),
    };
    await exportMoment(images, io, image, moment, fileDescriptor, diff, options);
    earlier = moment;
  }
}

async function exportMoment(
  images: Images,
  io: DiffIo,
  image: string,
  to: Pick<SnapshotInfo, "name" | "protected"> | undefined,
  fileDescriptor: number,
  diff: Omit<NativeDiffExport, "sizeBytes">,
  { progress = () => undefined, signal }: DiffJobOptions,
): Promise<number> {
  const { handle, info, close } = await openReader(images, image, { snap: to?.name });
  const { sizeBytes } = info;
  const end = to === undefined ? {} : { toName: to.name, protected: to.protected };
  const report = (doneBytes: number) => progress(doneBytes, sizeBytes);
  try {
    const run = () => io.exportDiff(handle, fileDescriptor, { ...diff, ...end, sizeBytes }, report);
    await untilDone(io, signal, run);
    return sizeBytes;
  } finally {
    await close();
  }
}

async function headerOf(
  images: Images,
  info: ImageInfo,
  diffCount: number,
): Promise<NativeExportHeader> {
  return {
    order: Math.log2(info.objectBytes),
    features: Number(featureMask(info.features)),
    stripeUnitBytes: info.stripeUnitBytes,
    stripeCount: info.stripeCount,
    metadata: await images.metadata.list(info.name),
    diffCount,
  };
}
