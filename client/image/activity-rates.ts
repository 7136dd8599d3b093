// From what devices have done altogether to what they do now: the difference of two answers of the
// same process, by that process's own clock. Pure.
import type { ActivitySource } from "./activity.js";

export interface ActivitySample {
  /** of one image, whatever its name is by now */
  id: string;
  /** POOL/IMAGE */
  name: string;
  sources: ActivitySource[];
}

/** An image in an interval, of all that have it open. */
export interface ActivityRow {
  name: string;
  id: string;
  /** who has it open */
  users: string[];
  readIops: number;
  writeIops: number;
  iops: number;
  readBytesPerS: number;
  writeBytesPerS: number;
  bytesPerS: number;
  /** means of the interval; 0: there was none */
  readLatencyMs: number;
  writeLatencyMs: number;
  latencyMs: number;
  inFlight: number;
  /** requests that had to wait for the limits of the image */
  throttledPerS: number;
  errors: number;
}

interface Sums {
  reads: number;
  readNs: number;
  writes: number;
  writeNs: number;
}

export class ActivityRates {
  private before = new Map<string, ActivitySource>();

  /**
   * @param samples of all images that somebody has open
   * @returns of those of which an interval is known: from the second call on
   */
  next(samples: readonly ActivitySample[]): ActivityRow[] {
    const after = new Map<string, ActivitySource>();
    const rows: ActivityRow[] = [];
    for (const sample of samples) {
      const pairs: { from: ActivitySource; to: ActivitySource }[] = [];
      for (const to of sample.sources) {
        const key = `${sample.id}/${to.source}`;
        after.set(key, to);
        const from = this.before.get(key);
        if (from !== undefined && isLater(from, to)) pairs.push({ from, to });
      }
      if (pairs.length > 0) rows.push(rowOf(sample, pairs));
    }
    this.before = after;
    return rows;
  }
}

/** A device that was opened anew counts from 0 again. */
function isLater(from: ActivitySource, to: ActivitySource): boolean {
  return to.atMs > from.atMs && to.reads >= from.reads && to.writes >= from.writes;
}

function rowOf(
  { id, name, sources }: ActivitySample,
  pairs: readonly { from: ActivitySource; to: ActivitySource }[],
): ActivityRow {
  const row: ActivityRow = {
    ...{ name, id, users: sources.map(({ description }) => description) },
    ...{ readIops: 0, writeIops: 0, iops: 0, readBytesPerS: 0, writeBytesPerS: 0, bytesPerS: 0 },
    ...{ readLatencyMs: 0, writeLatencyMs: 0, latencyMs: 0 },
    ...{ inFlight: 0, throttledPerS: 0, errors: 0 },
  };
  const sums: Sums = { reads: 0, readNs: 0, writes: 0, writeNs: 0 };
  for (const { from, to } of pairs) {
    const seconds = (to.atMs - from.atMs) / 1000;
    row.readIops += (to.reads - from.reads) / seconds;
    row.writeIops += (to.writes - from.writes) / seconds;
    row.readBytesPerS += (to.readBytes - from.readBytes) / seconds;
    row.writeBytesPerS += (to.writeBytes - from.writeBytes) / seconds;
    row.throttledPerS += (to.throttled - from.throttled) / seconds;
    row.errors += to.errors - from.errors;
    row.inFlight += to.inFlight;
    sums.reads += to.reads - from.reads;
    sums.readNs += to.readNs - from.readNs;
    sums.writes += to.writes - from.writes;
    sums.writeNs += to.writeNs - from.writeNs;
  }
  row.iops = row.readIops + row.writeIops;
  row.bytesPerS = row.readBytesPerS + row.writeBytesPerS;
  row.readLatencyMs = meanMs(sums.readNs, sums.reads);
  row.writeLatencyMs = meanMs(sums.writeNs, sums.writes);
  row.latencyMs = meanMs(sums.readNs + sums.writeNs, sums.reads + sums.writes);
  return row;
}

const meanMs = (ns: number, count: number) => (count === 0 ? 0 : ns / count / 1e6);
