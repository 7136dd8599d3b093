// check(): counts how often each cluster of a qcow2 file is used, and compares with the stored
// refcounts, as `qemu-img check` does: too high a refcount is a leak (space lost), too low a one is
// a corruption (the cluster may be overwritten), and so is a table or cluster that is misplaced.
//
// Invariants
// - Reads only. Memory: 8 bytes a cluster of the file, at most maxClusters of them.
// - An L2 table or refcount block that is misplaced, or met a second time in one L1 table, is
//   reported and not followed: the work is bounded by the file's size.
// Does not: repair (qemu-img check -r does), check bitmaps (refused by name).
import { checkTablePlace, extensionType } from "./header.js";
import { type OpenOptions, Qcow2Image } from "./image.js";
import { refcountAt, refcountBlocks, refcountsPerBlock } from "./refcounts.js";
import { readSnapshotTable } from "./snapshots.js";
import { type ByteSource, hex, imageError } from "./source.js";
import { clusterState, entryOffset, isCopied, l2EntryBytes } from "./tables.js";

export interface CheckResult {
  leaks: number;
  corruptions: number;
  /** guest clusters that have a place in the file, compressed and preallocated ones too */
  allocatedClusters: number;
  compressedClusters: number;
  /** the first problems in words, at most maxProblems */
  problems: string[];
}

const maxProblems = 100;
/** 2^26 clusters need half a GiB of counts: 4 TiB of 64 KiB clusters. */
const maxClusters = 2 ** 26;

/** The active L1 table's entries carry bit 63; those of snapshots are not kept up to date. */
interface L1Use {
  what: string;
  table: Buffer;
  active: boolean;
}

/**
 * Checks the metadata of a qcow2 file; also one that is marked as corrupt.
 * @throws as Qcow2Image.open(); corrupt when the refcount or snapshot table itself is unreadable;
 *   unsupported_feature (bitmaps); too_large
 */
export async function check(source: ByteSource): Promise<CheckResult> {
  const options: OpenOptions = { allowCorrupt: true };
  const image = await Qcow2Image.open(source, options);
  if (image.header.extensions.includes(extensionType.bitmaps)) {
    throw imageError(source, "unsupported_feature", "Cairn does not check images with bitmaps");
  }
  return await new Checker(image).run();
}

class Checker {
  private readonly result: CheckResult = {
    leaks: 0,
    corruptions: 0,
    allocatedClusters: 0,
    compressedClusters: 0,
    problems: [],
  };
  private readonly clusterCount: number;
  /** uses found, by cluster */
  private readonly counted: Uint32Array;
  /** stored refcounts, by cluster, cut to 32 bits */
  private readonly stored: Uint32Array;

  constructor(private readonly image: Qcow2Image) {
    const { source, header } = image;
    this.clusterCount = Math.ceil(source.sizeBytes / header.clusterBytes);
    if (this.clusterCount > maxClusters) {
      throw imageError(source, "too_large", `it has more than ${maxClusters} clusters`);
    }
    this.counted = new Uint32Array(this.clusterCount);
    this.stored = new Uint32Array(this.clusterCount);
  }

  async run(): Promise<CheckResult> {
    const { header, source } = this.image;
    this.use(0, header.clusterBytes, "the header");
    await this.loadRefcounts();
    await this.walkL1({ what: "L1 table", table: this.image.l1Table, active: true });
    this.use(header.l1Offset, this.image.l1Table.length, "the L1 table");
    const { snapshots, lengthBytes } = await readSnapshotTable(this.image);
    this.use(header.snapshotsOffset, lengthBytes, "the snapshot table");
    for (const { name, l1Offset, l1Entries } of snapshots) {
      const what = `L1 table of snapshot ${JSON.stringify(name)}`;
      checkTablePlace(source, what, l1Offset, l1Entries * 8, header.clusterBytes);
      this.use(l1Offset, l1Entries * 8, what);
      const table = await source.read(l1Offset, l1Entries * 8);
      await this.walkL1({ what, table, active: false });
    }
    this.compare();
    // Bit 63 can only be judged once all uses are counted.
    await this.checkCopied();
    return this.result;
  }

  private async loadRefcounts(): Promise<void> {
    const { header, source } = this.image;
    const { clusterBytes, refcountTableOffset, refcountTableClusters } = header;
    const tableBytes = refcountTableClusters * clusterBytes;
    checkTablePlace(source, "refcount table", refcountTableOffset, tableBytes, clusterBytes);
    this.use(refcountTableOffset, tableBytes, "the refcount table");
    const perBlock = refcountsPerBlock(this.image);
    for (const { index, hostOffset } of await refcountBlocks(this.image)) {
      const what = `refcount block ${index} at offset ${hex(hostOffset)}`;
      if (!this.isCluster(hostOffset)) {
        this.corruption(`${what} is misplaced`);
        continue;
      }
      if (this.counted[hostOffset / clusterBytes] !== 0) this.corruption(`${what} is used twice`);
      this.use(hostOffset, clusterBytes, what);
      const first = index * perBlock;
      const count = Math.min(perBlock, this.clusterCount - first);
      if (count <= 0) continue;
      const block = await source.read(hostOffset, clusterBytes);
      for (let i = 0; i < count; i++) {
        const refcount = refcountAt(block, header.refcountOrder, i);
        this.stored[first + i] = Math.min(refcount, 0xffff_ffff);
      }
    }
  }

  private async walkL1(l1: L1Use): Promise<void> {
    const seen = new Set<number>();
    for (let index = 0; index < l1.table.length / 8; index++) {
      const offset = entryOffset(l1.table, index * 8);
      if (offset === 0) continue;
      const what = `L2 table ${index} of the ${l1.what} at offset ${hex(offset)}`;
      if (!this.isCluster(offset)) {
        this.corruption(`${what} is misplaced`);
      } else if (seen.has(offset)) {
        this.corruption(`${what} is used twice`);
      } else {
        seen.add(offset);
        this.use(offset, this.image.header.clusterBytes, what);
        this.walkL2(await this.image.source.read(offset, this.image.header.clusterBytes), l1);
      }
    }
  }

  private walkL2(table: Buffer, l1: L1Use): void {
    const { header } = this.image;
    for (let at = 0; at < table.length; at += l2EntryBytes(header)) {
      const state = clusterState(header, table, at);
      if (state.kind === "unallocated") continue;
      const allocated = state.hostOffset !== 0;
      if (l1.active && allocated) this.result.allocatedClusters++;
      if (state.kind === "compressed") {
        if (l1.active) this.result.compressedClusters++;
        if (isCopied(table, at)) this.corruption("a compressed cluster is marked as copied");
        this.use(state.hostOffset, state.compressedBytes, "a compressed cluster");
      } else if (allocated) {
        const what = `data cluster at offset ${hex(state.hostOffset)}`;
        if (state.hostOffset % header.clusterBytes !== 0) this.corruption(`${what} is misaligned`);
        this.use(state.hostOffset, header.clusterBytes, what);
      }
    }
  }

  /** Counts a use of every cluster that the range touches. */
  private use(offset: number, lengthBytes: number, what: string): void {
    if (lengthBytes === 0) return;
    const { clusterBytes } = this.image.header;
    const first = Math.floor(offset / clusterBytes);
    const last = Math.floor((offset + lengthBytes - 1) / clusterBytes);
    for (let cluster = first; cluster <= last; cluster++) {
      if (cluster >= this.clusterCount) {
        this.corruption(`${what} lies beyond the end of the file`);
        return;
      }
      this.counted[cluster] = (this.counted[cluster] ?? 0) + 1;
    }
  }

  private compare(): void {
    for (let cluster = 0; cluster < this.clusterCount; cluster++) {
      const counted = this.counted[cluster] ?? 0;
      const stored = this.stored[cluster] ?? 0;
      if (counted === stored) continue;
      const what = `cluster ${cluster} has refcount ${stored} and ${counted} uses`;
      if (stored < counted) this.corruption(what);
      else this.leak(what);
    }
  }

  /** Bit 63 must say whether the refcount is one, in the active tables. */
  private async checkCopied(): Promise<void> {
    const { header, l1Table, source } = this.image;
    const seen = new Set<number>();
    for (let at = 0; at < l1Table.length; at += 8) {
      const offset = entryOffset(l1Table, at);
      if (offset === 0 || !this.isCluster(offset) || seen.has(offset)) continue;
      seen.add(offset);
      this.checkCopiedBit(l1Table, at, offset);
      const table = await source.read(offset, header.clusterBytes);
      for (let entry = 0; entry < table.length; entry += l2EntryBytes(header)) {
        const state = clusterState(header, table, entry);
        if (state.kind !== "data" && state.kind !== "zero") continue;
        if (this.isCluster(state.hostOffset)) this.checkCopiedBit(table, entry, state.hostOffset);
      }
    }
  }

  private checkCopiedBit(table: Buffer, at: number, hostOffset: number): void {
    if (hostOffset === 0) return;
    const refcount = this.stored[hostOffset / this.image.header.clusterBytes] ?? 0;
    if (isCopied(table, at) === (refcount === 1)) return;
    this.corruption(`offset ${hex(hostOffset)} has refcount ${refcount} and a wrong copied bit`);
  }

  /** Whether a whole cluster of the file starts at offset. */
  private isCluster(offset: number): boolean {
    const { clusterBytes } = this.image.header;
    return offset % clusterBytes === 0 && offset + clusterBytes <= this.image.source.sizeBytes;
  }

  private corruption(what: string): void {
    this.result.corruptions++;
    this.note(what);
  }

  private leak(what: string): void {
    this.result.leaks++;
    this.note(what);
  }

  private note(what: string): void {
    if (this.result.problems.length < maxProblems) this.result.problems.push(what);
  }
}
