// map(): where the bytes of a disk are, over all files of its chain: what the native copy job is
// fed with. Only metadata is read.
//
// Invariants
// - Extents come in guest order, without gaps or overlaps, from 0 to the disk's size; neighbours
//   that can be one are one.
// - Memory: that of the open images, and one extent a file.
import { StorageError } from "../common/errors.js";
import type { ImageChain, Layer } from "./chain.js";
import { type LayerExtent, plainExtent } from "./image.js";

/** A part of the disk. */
export type MapExtent = ZeroExtent | DataExtent | CompressedExtent;

/** Reads as zeros; absent: because no file of the chain has it. */
export interface ZeroExtent {
  kind: "zero" | "absent";
  guestOffset: number;
  lengthBytes: number;
}

export interface DataExtent {
  kind: "data";
  guestOffset: number;
  lengthBytes: number;
  /** index in ImageChain.layers */
  source: number;
  hostOffset: number;
}

/** A compressed cluster, or a part of one. */
export interface CompressedExtent {
  kind: "zlib" | "zstd";
  guestOffset: number;
  lengthBytes: number;
  source: number;
  hostOffset: number;
  /** in the file; the compressed stream may end before */
  compressedBytes: number;
  /** decompressed */
  clusterBytes: number;
  /** where in the decompressed cluster this extent starts */
  clusterOffset: number;
}

/** Whether the extent holds data, compressed or not. */
export function hasData(extent: MapExtent): extent is DataExtent | CompressedExtent {
  return extent.kind !== "zero" && extent.kind !== "absent";
}

/**
 * The extents of the disk.
 * @throws corrupt, naming the file and the table
 */
export async function* map(chain: ImageChain): AsyncGenerator<MapExtent> {
  let last: MapExtent | undefined;
  for await (const extent of layerExtents(chain.layers, 0, 0, chain.sizeBytes)) {
    if (last !== undefined && joins(last, extent)) {
      last.lengthBytes += extent.lengthBytes;
      continue;
    }
    if (last !== undefined) yield last;
    last = extent;
  }
  if (last !== undefined) yield last;
}

/** Whether the second extent, which follows in the disk, also follows in the file. */
function joins(first: MapExtent, second: MapExtent): boolean {
  if (first.kind !== second.kind) return false;
  if (first.kind === "zero" || first.kind === "absent") return true;
  if (first.kind !== "data" || second.kind !== "data") return false;
  return (
    first.source === second.source && first.hostOffset + first.lengthBytes === second.hostOffset
  );
}

/** [from, to) as the file with that index sees it, with what is below. */
async function* layerExtents(
  layers: readonly Layer[],
  index: number,
  from: number,
  to: number,
): AsyncGenerator<MapExtent> {
  if (from === to) return; // a disk of 0 bytes
  const layer = layers[index];
  if (layer === undefined || from >= layer.sizeBytes) {
    yield { kind: "absent", guestOffset: from, lengthBytes: to - from };
    return;
  }
  const end = Math.min(to, layer.sizeBytes);
  for await (const extent of ownExtents(layer, from, end)) {
    if (extent.kind === "unallocated") {
      const extentEnd = extent.guestOffset + extent.lengthBytes;
      yield* layerExtents(layers, index + 1, extent.guestOffset, extentEnd);
    } else {
      yield toMapExtent(layer, index, extent);
    }
  }
  if (end < to) yield { kind: "absent", guestOffset: end, lengthBytes: to - end };
}

async function* ownExtents(layer: Layer, from: number, to: number): AsyncGenerator<LayerExtent> {
  if (layer.format === "qcow2") yield* layer.image.extents(from, to);
  else yield plainExtent("data", from, to, from);
}

function toMapExtent(layer: Layer, source: number, extent: LayerExtent): MapExtent {
  const { guestOffset, lengthBytes, hostOffset, compressedBytes, clusterOffset } = extent;
  const place = { guestOffset, lengthBytes };
  if (extent.kind === "compressed" && layer.format === "qcow2") {
    const { clusterBytes, compression } = layer.image.header;
    const cluster = { compressedBytes, clusterBytes, clusterOffset };
    return { ...place, kind: compression, source, hostOffset, ...cluster };
  }
  if (extent.kind === "data") return { ...place, kind: "data", source, hostOffset };
  return { ...place, kind: "zero" };
}

/** Counts of a whole map, for progress bars and capacity checks. */
export interface MapSummary {
  /** that hold data, compressed or not */
  dataBytes: number;
  extents: number;
}

/**
 * Walks the map once without keeping it. Also a check of all tables before anything is created.
 * @throws as map(); canceled when signal aborts
 */
export async function summarize(chain: ImageChain, signal?: AbortSignal): Promise<MapSummary> {
  const summary = { dataBytes: 0, extents: 0 };
  for await (const extent of map(chain)) {
    if (signal?.aborted) throw new StorageError("canceled", "reading the image was canceled");
    summary.extents++;
    if (hasData(extent)) summary.dataBytes += extent.lengthBytes;
  }
  return summary;
}
