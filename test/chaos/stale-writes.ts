// Writes under a token that another client's has replaced: how many were refused, and whether any
// was accepted. Pure.
//
// A freeze is looked at when the frozen client held the lock and another one took it over. What the
// frozen one sends when it wakes has the old token until its session ends. On each block, from the
// moment on when an operation of another client was answered that began after the freeze, nothing
// under the old token may take effect.
import type { RecordedOperation } from "./histories.js";

export interface Freeze {
  client: number;
  /** it was frozen, and held the lock */
  heldAtNs: number;
  wokenNs: number;
  takenOver: boolean;
}

export interface StaleWrites {
  refused: number;
  accepted: RecordedOperation[];
  /** for the linearizability check: a write that a fence refused has happened by then, or never */
  operations: RecordedOperation[];
}

/** Of each session under the lock: the value of a write has it above its counter. */
const counterBits = 40n;

function sessionOf({ value }: RecordedOperation): bigint {
  return BigInt(value) >> counterBits;
}

export function judgeStaleWrites(
  operations: readonly RecordedOperation[],
  freezes: readonly Freeze[],
): StaleWrites {
  const seen = new Set(
    operations.filter(({ kind }) => kind === "read").map(({ block, value }) => `${block}=${value}`),
  );
  // A refusal without a takeover that is known says nothing about when: it stays open.
  const ends = new Map<RecordedOperation, number>(
    operations.filter(({ fenced }) => fenced).map((operation) => [operation, Infinity]),
  );
  const accepted: RecordedOperation[] = [];
  let refused = 0;
  for (const freeze of freezes) {
    for (const write of staleWritesOf(operations, freeze)) {
      const isSeen = seen.has(`${write.block}=${write.value}`);
      const goneNs = servedByAnother(operations, write.block, freeze);
      if (write.fenced) refused += 1;
      if (!write.fenced || (isSeen && write.startNs >= goneNs)) accepted.push(write);
      else if (isSeen) ends.set(write, goneNs);
    }
  }
  return {
    refused,
    accepted,
    operations: operations.map((operation) => {
      const endNs = ends.get(operation);
      return endNs === undefined ? operation : { ...operation, endNs };
    }),
  };
}

/**
 * The writes of the session that was frozen: what was refused of it, and what should have been. It
 * may end without a refused write, by a refused read: then what comes later is the next session's.
 */
function staleWritesOf(
  operations: readonly RecordedOperation[],
  { client, wokenNs, takenOver }: Freeze,
): RecordedOperation[] {
  if (!takenOver) return [];
  const ofClient = operations.filter((it) => it.client === client && it.kind === "write");
  const [last] = ofClient
    .filter(({ startNs }) => startNs < wokenNs)
    .sort((one, other) => other.startNs - one.startNs);
  if (last === undefined) return [];
  return ofClient
    .filter((write) => sessionOf(write) === sessionOf(last))
    .filter(({ fenced, startNs, endNs }) => fenced || (startNs >= wokenNs && endNs !== Infinity));
}

/** @returns when another client was served on the block under a newer token; Infinity: never */
function servedByAnother(
  operations: readonly RecordedOperation[],
  block: string,
  { client, heldAtNs }: Freeze,
): number {
  return operations
    .filter((it) => it.block === block && it.client !== client && !it.fenced)
    .filter(({ startNs }) => startNs > heldAtNs)
    .reduce((earliest, { endNs }) => Math.min(earliest, endNs), Infinity);
}
