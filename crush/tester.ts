// `crushtool --test` for Cairn: maps a range of inputs through the native mapper and gives the
// mapping lines in crushtool's own format, or a summary. The range is worked through in batches, so
// that memory stays bounded whatever the range.
import { StorageError } from "../common/errors.js";
import { type CrushMap, itemNone, itemUndef, limits, maxDevices, weightOne } from "./map.js";

/** The two calls of the native mapper; native/index.ts has this shape. */
export interface CrushPort {
  /** pgNum rows of size device ids, itemNone where there is none. */
  crushMapPgs(
    compiled: Uint8Array,
    ruleId: number,
    poolId: number,
    pgNum: number,
    size: number,
    weights: Uint32Array,
  ): Int32Array;
  /** A row of numRep entries per input from minX to maxX; itemUndef after a row's end. */
  crushTest(
    compiled: Uint8Array,
    ruleId: number,
    numRep: number,
    minX: number,
    maxX: number,
    weights: Uint32Array,
  ): Int32Array;
}

export interface TestOptions {
  ruleId: number;
  numRep: number;
  minX: number;
  /** Included. */
  maxX: number;
}

/** Rows of some inputs in a row, as the native side gives them. */
export interface TestBatch {
  firstX: number;
  rows: Int32Array;
}

/** crushtool's inputs are signed 32-bit integers from 0. */
export const maxInput = 0x7fffffff;
const batchEntryCount = 1 << 18;

/** @throws StorageError invalid_argument when an option is out of its range */
export function checkTestOptions(options: TestOptions): void {
  const checks: [name: string, value: number, low: number, high: number][] = [
    ["--rule", options.ruleId, 0, limits.ruleCount - 1],
    ["--num-rep", options.numRep, 1, limits.resultSize],
    ["--min-x", options.minX, 0, maxInput],
    ["--max-x", options.maxX, options.minX, maxInput],
  ];
  for (const [name, value, low, high] of checks) {
    if (!Number.isInteger(value) || value < low || value > high)
      throw new StorageError(
        "invalid_argument",
        `${name} is ${value}; it goes from ${low} to ${high}`,
      );
  }
}

/**
 * crushtool's OSD weights: 1.0 for each device that a bucket holds, 0 for others, then the given
 * ones, cut to 0 .. 1. Weights of OSDs that the map doesn't know change nothing.
 * @param given OSD id and weight, as with --weight
 */
export function osdWeights(
  map: CrushMap,
  given: Iterable<readonly [osdId: number, weight: number]>,
): Uint32Array {
  const weights = new Uint32Array(maxDevices(map));
  for (const bucket of map.buckets)
    for (const item of bucket.items) if (item.id >= 0) weights[item.id] = weightOne;
  for (const [osdId, weight] of given) {
    const fixed = Math.trunc(Math.fround(Math.fround(weight) * weightOne));
    if (osdId < weights.length) weights[osdId] = Math.min(Math.max(fixed, 0), weightOne);
  }
  return weights;
}

/** Runs the range in batches, in order. @throws StorageError from the native side */
export function* runTest(
  port: CrushPort,
  compiled: Uint8Array,
  options: TestOptions,
  weights: Uint32Array,
): Generator<TestBatch> {
  checkTestOptions(options);
  const { ruleId, numRep, minX, maxX } = options;
  const batchSize = Math.floor(batchEntryCount / numRep);
  for (let firstX = minX; firstX <= maxX; firstX += batchSize) {
    const lastX = Math.min(maxX, firstX + batchSize - 1);
    const rows = port.crushTest(compiled, ruleId, numRep, firstX, lastX, weights);
    yield { firstX, rows };
  }
}

/** The batch as crushtool's lines, "CRUSH rule 0 x 7 [1,5,3]", each ended by a newline. */
export function formatMappings(batch: TestBatch, options: TestOptions): string {
  const { ruleId, numRep } = options;
  const { firstX, rows } = batch;
  const rowCount = rows.length / numRep;
  let text = "";
  for (let row = 0; row < rowCount; row += 1) {
    text += `CRUSH rule ${ruleId} x ${firstX + row} [`;
    const first = row * numRep;
    for (let index = 0; index < numRep; index += 1) {
      const item = rows[first + index];
      if (item === itemUndef) break;
      text += index === 0 ? item : `,${item}`;
    }
    text += "]\n";
  }
  return text;
}

/** The mapping of one input as a value, for JSON: holes are null. */
export interface Mapping {
  x: number;
  osds: (number | null)[];
}

/** The batch as values. */
export function* mappingsOf(batch: TestBatch, options: TestOptions): Generator<Mapping> {
  const { numRep } = options;
  for (let first = 0, x = batch.firstX; first < batch.rows.length; first += numRep, x += 1) {
    const row = batch.rows.subarray(first, first + numRep);
    const end = row.indexOf(itemUndef);
    const osds = Array.from(end < 0 ? row : row.subarray(0, end), (item) =>
      item === itemNone ? null : item,
    );
    yield { x, osds };
  }
}

export interface TestSummary {
  mappingCount: number;
  /** Mappings with fewer devices than asked for, or with holes. */
  badMappingCount: number;
  /** How many mappings hold each device of the map; index: OSD id. */
  countByOsd: number[];
  /** Over the devices that are in (weight above 0). */
  meanCount: number;
  standardDeviation: number;
}

/** Counts placements over batches. */
export class SummaryCounter {
  private readonly counts: number[];
  private mappingCount = 0;
  private badMappingCount = 0;

  /** @param weights of osdWeights() */
  constructor(
    private readonly numRep: number,
    private readonly weights: Uint32Array,
  ) {
    this.counts = new Array<number>(weights.length).fill(0);
  }

  add(batch: TestBatch): void {
    const { rows } = batch;
    for (let first = 0; first < rows.length; first += this.numRep) {
      let deviceCount = 0;
      for (let index = first; index < first + this.numRep; index += 1) {
        const item = rows[index] ?? itemUndef;
        const count = this.counts[item];
        if (count === undefined) continue; // a hole, the row's end, or a bucket
        this.counts[item] = count + 1;
        deviceCount += 1;
      }
      this.mappingCount += 1;
      if (deviceCount < this.numRep) this.badMappingCount += 1;
    }
  }

  result(): TestSummary {
    const inCounts = this.counts.filter((_, osdId) => (this.weights[osdId] ?? 0) > 0);
    const deviceCount = Math.max(inCounts.length, 1);
    const meanCount = inCounts.reduce((sum, count) => sum + count, 0) / deviceCount;
    const squares = inCounts.reduce((sum, count) => sum + (count - meanCount) ** 2, 0);
    return {
      mappingCount: this.mappingCount,
      badMappingCount: this.badMappingCount,
      countByOsd: this.counts,
      meanCount,
      standardDeviation: Math.sqrt(squares / deviceCount),
    };
  }
}
