// What the entries of L1 and L2 tables say. Pure. Source: qcow2 specification, "Cluster mapping"
// and "Extended L2 Entries".
//
// An entry is handled as two 32-bit halves, because a bigint per entry would cost most of the time
// of reading a large image.
import type { Qcow2Header } from "./header.js";

/** Subclusters of a cluster with extended L2 entries. */
export const subclustersPerCluster = 32;

/** What a cluster or a run of subclusters is. */
export type ClusterState =
  | { kind: "unallocated" }
  | { kind: "zero" /** of a preallocated cluster, else 0 */; hostOffset: number }
  | { kind: "data"; hostOffset: number }
  | { kind: "compressed"; hostOffset: number; compressedBytes: number };

const high32 = 2 ** 32;
/** Bits 9 to 55 of an offset, split in halves. */
const offsetMaskHigh = 0x00ffffff;
const offsetMaskLow = 0xfffffe00;
const compressedBit = 0x40000000;
export const copiedBit = 0x80000000;
const zeroBit = 1;

/** Bits 9 to 55 of the entry at that byte of the table. */
export function entryOffset(table: Buffer, at: number): number {
  const high = table.readUInt32BE(at) & offsetMaskHigh;
  const low = (table.readUInt32BE(at + 4) & offsetMaskLow) >>> 0;
  return high * high32 + low;
}

/** Bits that an L1 entry leaves zero: 0 to 8 and 56 to 62. */
export function l1ReservedBits(table: Buffer, at: number): boolean {
  return (table.readUInt32BE(at) & 0x7f000000) !== 0 || (table.readUInt32BE(at + 4) & 0x1ff) !== 0;
}

/** Bit 63: the refcount is exactly one. */
export function isCopied(table: Buffer, at: number): boolean {
  return (table.readUInt32BE(at) & copiedBit) !== 0;
}

export function l2EntryBytes(header: Qcow2Header): 8 | 16 {
  return header.extendedL2 ? 16 : 8;
}

/** The cluster that the L2 entry at that byte describes; of an extended entry, its first half. */
export function clusterState(header: Qcow2Header, table: Buffer, at: number): ClusterState {
  const high = table.readUInt32BE(at);
  const low = table.readUInt32BE(at + 4);
  if ((high & compressedBit) !== 0) return compressedCluster(header, high, low);
  const hostOffset = entryOffset(table, at);
  // Version 2 and extended entries do not have the bit.
  const zero = header.version === 3 && !header.extendedL2 && (low & zeroBit) !== 0;
  if (zero) return { kind: "zero", hostOffset };
  return hostOffset === 0 ? { kind: "unallocated" } : { kind: "data", hostOffset };
}

/**
 * How many entries say the same as the one at that byte, which is neither compressed nor extended:
 * equal ones, of data the clusters that lie one behind the other in the file.
 * @param limit entries to look at, at least 1
 */
export function runLength(header: Qcow2Header, table: Buffer, at: number, limit: number): number {
  const high = table.readUInt32BE(at);
  const low = table.readUInt32BE(at + 4);
  const isData = clusterState(header, table, at).kind === "data";
  const stepBytes = isData ? header.clusterBytes : 0;
  const first = entryOffset(table, at);
  let count = 1;
  for (; count < limit; count++) {
    const next = at + count * 8;
    const differs =
      ((table.readUInt32BE(next) ^ high) & ~offsetMaskHigh) !== 0 ||
      ((table.readUInt32BE(next + 4) ^ low) & ~offsetMaskLow) !== 0 ||
      entryOffset(table, next) !== first + count * stepBytes;
    if (differs) break;
  }
  return count;
}

/** "Compressed Clusters Descriptor": x bits of offset, then sectors - 1, up to bit 61. */
function compressedCluster(header: Qcow2Header, high: number, low: number): ClusterState {
  const sectorBits = header.clusterBits - 8;
  // x = 62 - sectorBits lies in the high half, because sectorBits is at most 13.
  const offsetBitsHigh = 30 - sectorBits;
  const offsetHigh = high & (2 ** offsetBitsHigh - 1);
  const additionalSectors = (high >>> offsetBitsHigh) & (2 ** sectorBits - 1);
  const hostOffset = offsetHigh * high32 + low;
  // The sectors are counted from the one that holds the first byte.
  const compressedBytes = (additionalSectors + 1) * 512 - (hostOffset % 512);
  return { kind: "compressed", hostOffset, compressedBytes };
}

/** One run of subclusters of the same kind. */
export interface SubclusterRun {
  first: number;
  count: number;
  kind: "unallocated" | "zero" | "data";
}

/**
 * The runs of an extended entry's bitmap. undefined: a subcluster is marked both allocated and
 * zero, or allocated without a cluster, which no writer makes.
 */
export function subclusterRuns(
  table: Buffer,
  at: number,
  hasCluster: boolean,
): SubclusterRun[] | undefined {
  const zeros = table.readUInt32BE(at + 8);
  const allocated = table.readUInt32BE(at + 12);
  if ((zeros & allocated) !== 0 || (allocated !== 0 && !hasCluster)) return undefined;
  const runs: SubclusterRun[] = [];
  for (let index = 0; index < subclustersPerCluster; index++) {
    const bit = 1 << index;
    const kind = (zeros & bit) !== 0 ? "zero" : (allocated & bit) !== 0 ? "data" : "unallocated";
    const last = runs.at(-1);
    if (last?.kind === kind) last.count++;
    else runs.push({ first: index, count: 1, kind });
  }
  return runs;
}
