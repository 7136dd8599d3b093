// Records of the native history jobs as operations for the checker, and what else they tell: the
// share that stayed pending, and for how long a fault kept clients waiting. Pure.
import type { BlockOperation } from "../checkers/linearizability.js";

/** The value of a block of zeros. */
export const initialValue = "0";

export interface RecordedOperation extends BlockOperation {
  /** a write that was refused because another client has taken the image over */
  fenced: boolean;
}

const recordBytes = 32;
/** of a record */
const kinds = { read: 0, write: 1, fencedWrite: 2 };
const allOnes = 0xffff_ffff_ffff_ffffn;

/** @param device names the blocks: jobs that share a device share its blocks */
export function decodeRecords(bytes: Buffer, device: string, client: number): RecordedOperation[] {
  const operations: RecordedOperation[] = [];
  for (let at = 0; at + recordBytes <= bytes.length; at += recordBytes) {
    const value = bytes.readBigUInt64LE(at + 8);
    const end = bytes.readBigUInt64LE(at + 24);
    const kind = bytes.readUInt32LE(at + 4);
    operations.push({
      client,
      block: `${device}/${bytes.readUInt32LE(at)}`,
      kind: kind === kinds.read ? "read" : "write",
      value: value === allOnes ? "garbage" : String(value),
      startNs: Number(bytes.readBigUInt64LE(at + 16)),
      endNs: end === allOnes ? Number.POSITIVE_INFINITY : Number(end),
      fenced: kind === kinds.fencedWrite,
    });
  }
  return operations;
}

export function pendingShare(operations: readonly BlockOperation[]): number {
  const pending = operations.filter(({ endNs }) => endNs === Number.POSITIVE_INFINITY).length;
  return operations.length === 0 ? 0 : pending / operations.length;
}

/**
 * How long a fault kept each client waiting: its longest time without an answer that lies at least
 * in part in [fromNs, untilNs].
 */
export function stallsMs(
  operations: readonly BlockOperation[],
  fromNs: number,
  untilNs: number,
): number[] {
  const byClient = new Map<number, number[]>();
  for (const { client, endNs } of operations) {
    if (endNs === Number.POSITIVE_INFINITY) continue;
    const ends = byClient.get(client) ?? [];
    ends.push(endNs);
    byClient.set(client, ends);
  }
  const stalls: number[] = [];
  for (const ends of byClient.values()) {
    ends.sort((a, b) => a - b);
    let before = fromNs;
    let longest = 0;
    for (const endNs of ends) {
      if (endNs <= fromNs) continue;
      longest = Math.max(longest, endNs - before);
      before = endNs;
      if (endNs > untilNs) break;
    }
    // Its last answer lay before the end of the window: it is still waiting.
    if (before < untilNs) longest = Math.max(longest, untilNs - before);
    stalls.push(longest / 1e6);
  }
  return stalls;
}

export interface Percentiles {
  p50: number;
  p99: number;
  max: number;
  count: number;
}

export function percentiles(values: readonly number[]): Percentiles | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
  if (sorted.length === 0) return undefined;
  return { p50: at(0.5), p99: at(0.99), max: at(1), count: sorted.length };
}
