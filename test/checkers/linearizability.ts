// Is a history of reads and writes of a block linearizable? The zone check after Gibbons & Korach
// ("Testing Shared Memories", 1997), exact for registers whose values are unique, in O(n log n).
//
// All operations of one value form its zone: the earliest end of any of them, and the latest start.
// Where the earliest end lies before the latest start the zone is forward: the register held the
// value for all of that time. Else it is backward: the value was there at some moment in it. A
// history is linearizable if and only if every read has a write that did not start after the read's
// end, no two forward zones overlap, and no backward zone lies inside a forward one.
//
// A pending operation ends at Infinity. A pending write may take effect at any time after its start
// or never: it counts only if its value was read. A pending read says nothing. The initial value
// was written before everything else. Ends and starts at the same moment count as concurrent.
//
// Pure. Does not: tell which copy or daemon was wrong, nor take two writes of one value.
import { StorageError } from "../../common/errors.js";

export interface BlockOperation {
  client: number;
  /** the register: "object/offset"; blocks are independent of each other */
  block: string;
  kind: "write" | "read";
  /** written or read; unique among the writes of the block */
  value: string;
  startNs: number;
  /** Infinity: pending, its outcome is not known */
  endNs: number;
}

export type ViolationKind =
  | "value_never_written"
  | "read_before_its_write"
  | "overlapping_values"
  | "stale_value";

export interface Violation {
  kind: ViolationKind;
  block: string;
  /** what it is about, the wrong one first */
  values: readonly string[];
  /** the operations that prove it */
  operations: readonly BlockOperation[];
  text: string;
}

/** When a value must have been in the register. */
interface Zone {
  value: string;
  operations: BlockOperation[];
  earliestEndNs: number;
  latestStartNs: number;
}

/**
 * All violations, block by block; none: every block is linearizable.
 * @throws invalid_argument when a value is written twice or an operation ends before its start
 */
export function findViolations(
  operations: readonly BlockOperation[],
  initialValue: string,
): Violation[] {
  const byBlock = new Map<string, BlockOperation[]>();
  for (const operation of operations) {
    checkTimes(operation);
    const known = byBlock.get(operation.block);
    if (known === undefined) byBlock.set(operation.block, [operation]);
    else known.push(operation);
  }
  return [...byBlock].flatMap(([block, of]) => violationsOfBlock(block, of, initialValue));
}

function checkTimes({ startNs, endNs, block, kind }: BlockOperation): void {
  if (Number.isFinite(startNs) && endNs >= startNs) return;
  throw new StorageError("invalid_argument", `a ${kind} of ${block} ends before it starts`);
}

function violationsOfBlock(
  block: string,
  operations: readonly BlockOperation[],
  initialValue: string,
): Violation[] {
  const writes = writesByValue(operations, initialValue);
  const violations: Violation[] = [];
  const zones = new Map<string, Zone>();
  for (const read of operations) {
    if (read.kind === "write" || read.endNs === Number.POSITIVE_INFINITY) continue;
    const write = writes.get(read.value);
    if (write === undefined && read.value !== initialValue) {
      violations.push(neverWritten(block, read));
    } else if (write !== undefined && read.endNs < write.startNs) {
      violations.push(readTooEarly(block, read, write));
    } else {
      const zone = zones.get(read.value) ?? zoneOf(read.value, write);
      addToZone(zone, read);
      zones.set(read.value, zone);
    }
  }
  for (const [value, write] of writes) {
    // A write that nobody has read, and whose end is not known, need not have happened.
    if (write.endNs === Number.POSITIVE_INFINITY || zones.has(value)) continue;
    zones.set(value, zoneOf(value, write));
  }
  return [...violations, ...conflicts(block, [...zones.values()])];
}

function writesByValue(
  operations: readonly BlockOperation[],
  initialValue: string,
): Map<string, BlockOperation> {
  const writes = new Map<string, BlockOperation>();
  for (const operation of operations) {
    if (operation.kind !== "write") continue;
    if (operation.value === initialValue || writes.has(operation.value)) {
      const text = `value ${operation.value} of ${operation.block} is not unique`;
      throw new StorageError("invalid_argument", text);
    }
    writes.set(operation.value, operation);
  }
  return writes;
}

/** @param write undefined: of the initial value, which was there before all operations */
function zoneOf(value: string, write: BlockOperation | undefined): Zone {
  return {
    value,
    operations: write === undefined ? [] : [write],
    earliestEndNs: write?.endNs ?? Number.NEGATIVE_INFINITY,
    latestStartNs: write?.startNs ?? Number.NEGATIVE_INFINITY,
  };
}

function addToZone(zone: Zone, read: BlockOperation): void {
  zone.operations.push(read);
  zone.earliestEndNs = Math.min(zone.earliestEndNs, read.endNs);
  zone.latestStartNs = Math.max(zone.latestStartNs, read.startNs);
}

function isForward(zone: Zone): boolean {
  return zone.earliestEndNs < zone.latestStartNs;
}

/** Pairs of values of which neither can come first; at most one for each value. */
function conflicts(block: string, zones: readonly Zone[]): Violation[] {
  const found: Violation[] = [];
  const forward = zones.filter(isForward).sort((a, b) => a.earliestEndNs - b.earliestEndNs);
  /** widest[i]: of the first i + 1 forward zones the one that reaches furthest */
  const widest: Zone[] = [];
  for (const zone of forward) {
    const before = widest.at(-1);
    if (before !== undefined && zone.earliestEndNs < before.latestStartNs) {
      found.push(overlapping(block, zone, before));
    }
    const isWider = before === undefined || zone.latestStartNs > before.latestStartNs;
    widest.push(isWider ? zone : before);
  }
  for (const zone of zones) {
    if (isForward(zone)) continue;
    const around = widest[countEndingBefore(forward, zone.latestStartNs) - 1];
    if (around !== undefined && zone.earliestEndNs < around.latestStartNs) {
      found.push(inside(block, zone, around));
    }
  }
  return found;
}

/** How many of the zones, sorted by their earliest end, have it before `ns`. */
function countEndingBefore(sorted: readonly Zone[], ns: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const zone = sorted[middle];
    if (zone !== undefined && zone.earliestEndNs < ns) low = middle + 1;
    else high = middle;
  }
  return low;
}

function neverWritten(block: string, read: BlockOperation): Violation {
  return {
    kind: "value_never_written",
    block,
    values: [read.value],
    operations: [read],
    text: `${describe(read)}, which nobody has written`,
  };
}

function readTooEarly(block: string, read: BlockOperation, write: BlockOperation): Violation {
  return {
    kind: "read_before_its_write",
    block,
    values: [read.value],
    operations: [read, write],
    text: `${describe(read)}, but the ${describe(write)} started later`,
  };
}

function overlapping(block: string, zone: Zone, other: Zone): Violation {
  return {
    kind: "overlapping_values",
    block,
    values: [zone.value, other.value],
    operations: [...witnesses(zone), ...witnesses(other)],
    text: `value ${zone.value} and value ${other.value} were both there at the same time`,
  };
}

function inside(block: string, zone: Zone, around: Zone): Violation {
  return {
    kind: "stale_value",
    block,
    values: [around.value, zone.value],
    operations: [...witnesses(around), ...witnesses(zone)],
    text: `value ${around.value} was there before value ${zone.value} and again behind it`,
  };
}

/** The operations that make the bounds of a zone. */
function witnesses({ operations, earliestEndNs, latestStartNs }: Zone): BlockOperation[] {
  const first = operations.find(({ endNs }) => endNs === earliestEndNs);
  const last = operations.find(({ startNs }) => startNs === latestStartNs);
  return [...new Set([first, last])].filter((operation) => operation !== undefined);
}

function describe({ client, kind, value, startNs, endNs }: BlockOperation): string {
  return `${kind} of value ${value} by client ${client} in [${startNs}, ${endNs}] ns`;
}
