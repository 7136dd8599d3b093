// Clock and randomness as ports, so that the decisions can run in virtual time from a seed; and
// the real ones, for the composition roots only.
import { randomBytes, randomInt, randomUUID } from "node:crypto";

/** Stops a timer; harmless when it has run. */
export type CancelTimer = () => void;

export interface Clock {
  /** Milliseconds from an arbitrary start; never steps back. For durations and deadlines. */
  nowMs(): number;
  /** Milliseconds since 1970 (UTC); may step. Only for what people read. */
  wallMs(): number;
  /** Runs callback once, delayMs from now at the earliest. */
  setTimer(delayMs: number, callback: () => void): CancelTimer;
}

export interface Random {
  /** Uniform over all 64-bit values: incarnations, client ids. */
  uint64(): bigint;
  /** Uniform integer in [0, bound); bound from 1 to 2^48 - 1. */
  below(bound: number): number;
  /** A version 4 UUID in lower case. */
  uuid(): string;
}

/** The clock of the host. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/** The random source of the host. */
export const systemRandom: Random = {
  uint64: () => randomBytes(8).readBigUInt64LE(),
  below: (bound) => randomInt(bound),
  uuid: () => randomUUID(),
};
