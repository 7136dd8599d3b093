// One open qcow2 file: its header, its L1 table, and the extents that its L2 tables describe.
//
// Invariants
// - Memory: the L1 table (at most 32 MiB) and one L2 table (one cluster).
// - An extent is only yielded after its place in the file was checked: clusters lie at aligned
//   offsets inside the file. The last cluster may be cut by the file's end, as QEMU leaves it; what
//   is missing of it reads as zeros.
// Does not: look at the backing file (map.ts), verify refcounts (check.ts).
import {
  checkL1Table,
  checkTablePlace,
  incompatible,
  type Qcow2Header,
  readHeader,
} from "./header.js";
import { type ByteSource, hex, imageError } from "./source.js";
import {
  type ClusterState,
  clusterState,
  entryOffset,
  l1ReservedBits,
  l2EntryBytes,
  runLength,
  subclusterRuns,
  subclustersPerCluster,
} from "./tables.js";

/** A part of the guest disk as one file of a chain describes it. */
export interface LayerExtent {
  guestOffset: number;
  lengthBytes: number;
  kind: "data" | "zero" | "compressed" | "unallocated";
  /** data and compressed: where in the file */
  hostOffset: number;
  /** compressed: bytes in the file (the stream may end before), and where in the cluster this is */
  compressedBytes: number;
  clusterOffset: number;
}

/** Where an L1 table is. */
export interface L1Table {
  l1Offset: number;
  l1Entries: number;
}

export interface OpenOptions {
  /** Opens images whose corrupt bit is set, for a check only. */
  allowCorrupt?: boolean;
}

export class Qcow2Image {
  private loadedL2: { offset: number; table: Buffer } | undefined;

  private constructor(
    readonly source: ByteSource,
    readonly header: Qcow2Header,
    readonly l1Table: Buffer,
  ) {}

  /**
   * Reads the header and the L1 table.
   * @throws as readHeader(); corrupt when the corrupt bit is set
   */
  static async open(source: ByteSource, options: OpenOptions = {}): Promise<Qcow2Image> {
    const header = await readHeader(source);
    const marked = (header.incompatibleFeatures & incompatible.corrupt) !== 0n;
    if (marked && options.allowCorrupt !== true) {
      throw imageError(
        source,
        "corrupt",
        "the image is marked as corrupt (incompatible bit 1)",
        "Repair it with: qemu-img check -r all",
      );
    }
    const l1Table = await source.read(header.l1Offset, header.l1Entries * 8);
    if (options.allowCorrupt !== true) checkL2Offsets(source, l1Table);
    return new Qcow2Image(source, header, l1Table);
  }

  /**
   * The disk as an internal snapshot has it, of the same file and over the same backing files.
   * @param sizeBytes of the disk then
   * @throws corrupt when the snapshot's L1 table is not one of a disk of that size; too_large
   */
  async shown(l1: L1Table, sizeBytes: number): Promise<Qcow2Image> {
    const { source, header } = this;
    const shown = { ...header, sizeBytes, l1Offset: l1.l1Offset, l1Entries: l1.l1Entries };
    checkL1Table(source, shown);
    const table = await source.read(shown.l1Offset, shown.l1Entries * 8);
    checkL2Offsets(source, table);
    return new Qcow2Image(source, shown, table);
  }

  /** Guest bytes that one L2 table describes. */
  get l2CoverageBytes(): number {
    const { clusterBytes } = this.header;
    return clusterBytes * (clusterBytes / l2EntryBytes(this.header));
  }

  /**
   * The extents of the guest's bytes [from, to), in order and without gaps; the extents of one L2
   * table are merged. to must not be above the image's size.
   * @throws corrupt, naming the table or cluster
   */
  async *extents(from: number, to: number): AsyncGenerator<LayerExtent> {
    let position = from;
    while (position < to) {
      const l1Index = Math.floor(position / this.l2CoverageBytes);
      const end = Math.min(to, (l1Index + 1) * this.l2CoverageBytes);
      const l2Offset = this.l2OffsetOf(l1Index);
      if (l2Offset === 0) {
        yield plainExtent("unallocated", position, end, 0);
      } else {
        yield* merged(this.tableExtents(await this.l2Table(l2Offset), position, end));
      }
      position = end;
    }
  }

  private l2OffsetOf(l1Index: number): number {
    if (l1ReservedBits(this.l1Table, l1Index * 8)) {
      throw imageError(this.source, "corrupt", `L1 entry ${l1Index} has reserved bits set`);
    }
    return entryOffset(this.l1Table, l1Index * 8);
  }

  private async l2Table(offset: number): Promise<Buffer> {
    if (this.loadedL2?.offset === offset) return this.loadedL2.table;
    const { clusterBytes } = this.header;
    checkTablePlace(this.source, "L2 table", offset, clusterBytes, clusterBytes);
    const table = await this.source.read(offset, clusterBytes);
    this.loadedL2 = { offset, table };
    return table;
  }

  private *tableExtents(table: Buffer, from: number, to: number): Generator<LayerExtent> {
    const { clusterBytes } = this.header;
    const entryBytes = l2EntryBytes(this.header);
    let position = from;
    while (position < to) {
      const clusterStart = position - (position % clusterBytes);
      const end = Math.min(to, clusterStart + clusterBytes);
      const at = ((clusterStart % this.l2CoverageBytes) / clusterBytes) * entryBytes;
      const state = clusterState(this.header, table, at);
      if (this.header.extendedL2 && state.kind !== "compressed") {
        yield* this.subclusterExtents(table, at, state, position, end);
        position = end;
      } else {
        const clusters = this.wholeRun(table, at, state, position, to);
        const runEnd = clusters > 1 ? position + clusters * clusterBytes : end;
        yield* this.clusterExtents(state, position, runEnd);
        position = runEnd;
      }
    }
  }

  /** Clusters from the start of one on that are of one run, whole in the disk and in the file. */
  private wholeRun(
    table: Buffer,
    at: number,
    state: ClusterState,
    from: number,
    to: number,
  ): number {
    const { clusterBytes } = this.header;
    if (state.kind === "compressed" || from % clusterBytes !== 0) return 1;
    const fileBytes = state.kind === "data" ? this.source.sizeBytes - state.hostOffset : to - from;
    const limit = Math.floor(Math.min(to - from, fileBytes) / clusterBytes);
    return limit > 1 ? runLength(this.header, table, at, limit) : 1;
  }

  /** [from, to) lies inside one cluster, or is a run of whole ones that say the same. */
  private *clusterExtents(state: ClusterState, from: number, to: number): Generator<LayerExtent> {
    const clusterOffset = from % this.header.clusterBytes;
    switch (state.kind) {
      case "unallocated":
      case "zero":
        yield plainExtent(state.kind, from, to, 0);
        return;
      case "data":
        this.checkDataCluster(state.hostOffset, from);
        yield* this.dataExtents(state.hostOffset + clusterOffset, from, to);
        return;
      case "compressed": {
        const { hostOffset } = state;
        const compressedBytes = this.clippedCompressed(hostOffset, state.compressedBytes, from);
        const extent = plainExtent("compressed", from, to, hostOffset);
        yield { ...extent, compressedBytes, clusterOffset };
      }
    }
  }

  /** [from, to) lies inside one cluster with an extended entry at that byte. */
  private *subclusterExtents(
    table: Buffer,
    at: number,
    state: ClusterState,
    from: number,
    to: number,
  ): Generator<LayerExtent> {
    const { clusterBytes } = this.header;
    const hostOffset = state.kind === "data" ? state.hostOffset : 0;
    const runs = subclusterRuns(table, at, hostOffset !== 0);
    const clusterStart = from - (from % clusterBytes);
    if (runs === undefined) {
      const where = `guest offset ${hex(clusterStart)}`;
      throw imageError(this.source, "corrupt", `contradicting subcluster bits at ${where}`);
    }
    if (hostOffset !== 0) this.checkDataCluster(hostOffset, from);
    const subclusterBytes = clusterBytes / subclustersPerCluster;
    for (const run of runs) {
      const runStart = clusterStart + run.first * subclusterBytes;
      const start = Math.max(from, runStart);
      const end = Math.min(to, runStart + run.count * subclusterBytes);
      if (start >= end) continue;
      if (run.kind === "data")
        yield* this.dataExtents(hostOffset + start - clusterStart, start, end);
      else yield plainExtent(run.kind, start, end, 0);
    }
  }

  /** What of a data range lies behind the end of the file reads as zeros. */
  private *dataExtents(hostOffset: number, from: number, to: number): Generator<LayerExtent> {
    const inFile = Math.max(0, Math.min(to - from, this.source.sizeBytes - hostOffset));
    if (inFile > 0) yield plainExtent("data", from, from + inFile, hostOffset);
    if (from + inFile < to) yield plainExtent("zero", from + inFile, to, 0);
  }

  private checkDataCluster(hostOffset: number, guestOffset: number): void {
    const what = `data cluster of guest offset ${hex(guestOffset)} at offset ${hex(hostOffset)}`;
    if (hostOffset % this.header.clusterBytes !== 0) {
      throw imageError(this.source, "corrupt", `${what} is not cluster-aligned`);
    }
    if (hostOffset >= this.source.sizeBytes) throw this.beyondEnd(what);
  }

  private clippedCompressed(hostOffset: number, lengthBytes: number, guestOffset: number): number {
    if (hostOffset >= this.source.sizeBytes) {
      const what = `compressed cluster of guest offset ${hex(guestOffset)}`;
      throw this.beyondEnd(`${what} at offset ${hex(hostOffset)}`);
    }
    return Math.min(lengthBytes, this.source.sizeBytes - hostOffset);
  }

  private beyondEnd(what: string) {
    return imageError(
      this.source,
      "corrupt",
      `${what} lies beyond the end of the file (${hex(this.source.sizeBytes)})`,
      "The file is probably cut: copy it again, and try qemu-img check.",
    );
  }
}

/**
 * No two L1 entries share an L2 table: it would be written for two places of the disk. Also keeps a
 * small file from describing an endless map.
 * @throws corrupt
 */
function checkL2Offsets(source: ByteSource, l1Table: Buffer): void {
  const offsets = new Float64Array(l1Table.length / 8);
  for (let index = 0; index < offsets.length; index++) {
    offsets[index] = entryOffset(l1Table, index * 8);
  }
  offsets.sort();
  for (let index = 1; index < offsets.length; index++) {
    const offset = offsets[index] ?? 0;
    if (offset !== 0 && offset === offsets[index - 1]) {
      throw imageError(source, "corrupt", `L2 table at offset ${hex(offset)} is used twice`);
    }
  }
}

/** Joins neighbours that are also neighbours in the file. Compressed clusters stay alone. */
function* merged(extents: Iterable<LayerExtent>): Generator<LayerExtent> {
  let last: LayerExtent | undefined;
  for (const extent of extents) {
    const joins =
      last?.kind === extent.kind &&
      extent.kind !== "compressed" &&
      (extent.kind !== "data" || last.hostOffset + last.lengthBytes === extent.hostOffset);
    if (joins && last !== undefined) {
      last.lengthBytes += extent.lengthBytes;
    } else {
      if (last !== undefined) yield last;
      last = extent;
    }
  }
  if (last !== undefined) yield last;
}

/** An extent of a kind that needs no more than its place. */
export function plainExtent(
  kind: LayerExtent["kind"],
  from: number,
  to: number,
  hostOffset: number,
): LayerExtent {
  return {
    guestOffset: from,
    lengthBytes: to - from,
    kind,
    hostOffset,
    compressedBytes: 0,
    clusterOffset: 0,
  };
}
