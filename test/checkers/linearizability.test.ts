// The zone check: each kind of violation by hand, and thousands of small random histories against a
// search over all orders.
import { describe, expect, it } from "vitest";
import { type BlockOperation, findViolations, type ViolationKind } from "./linearizability.js";

const pending = Number.POSITIVE_INFINITY;

/** "w a 0 5" is a write of a in [0, 5]; an end of * is pending. */
function history(...lines: string[]): BlockOperation[] {
  return lines.map((line, client) => {
    const [kind, value = "", start, end] = line.split(" ");
    return {
      client,
      block: "object/0",
      kind: kind === "w" ? "write" : "read",
      value,
      startNs: Number(start),
      endNs: end === "*" ? pending : Number(end),
    };
  });
}

/** Tries every order that real time allows. */
function hasOrder(operations: readonly BlockOperation[], held: string): boolean {
  const certain = operations.filter(({ kind, endNs }) => kind === "write" || endNs !== pending);
  if (certain.every(({ endNs }) => endNs === pending)) return true;
  return certain.some((next) => {
    const others = certain.filter((other) => other !== next);
    if (others.some(({ endNs }) => endNs < next.startNs)) return false;
    if (next.kind === "read" && next.value !== held) return false;
    return hasOrder(others, next.kind === "write" ? next.value : held);
  });
}

/** A generator with a seed (mulberry32). */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function randomHistory(below: (limit: number) => number): BlockOperation[] {
  const length = 2 + below(6);
  const names = ["zero", "a", "b", "c", "d"];
  let written = 0;
  return Array.from({ length }, (_, client): BlockOperation => {
    const write = written < 4 && below(2) === 0;
    const startNs = below(12);
    const value = write ? (names[++written] ?? "") : (names[below(4)] ?? "");
    const endNs = below(8) === 0 ? pending : startNs + below(8);
    return { client, block: "b", kind: write ? "write" : "read", value, startNs, endNs };
  });
}

describe("histories that are linearizable", () => {
  const valid: Record<string, string[]> = {
    "nothing happened": [],
    "zeros, then a value": ["r zero 0 1", "w a 2 3", "r a 4 5"],
    "a read while the write is under way sees the old value": ["w a 0 9", "r zero 1 2", "r a 3 4"],
    "concurrent writes, in either order": ["w a 0 9", "w b 0 9", "r b 10 11", "r b 12 13"],
    "a write that no read has seen, between two reads": ["w a 0 9", "w b 1 8", "r a 10 11"],
    "a pending write that is never seen": ["w a 0 1", "w b 2 *", "r a 90 91"],
    "a pending write that is seen late": ["w a 0 1", "w b 2 *", "r a 80 81", "r b 90 91"],
    "a pending read": ["w a 0 1", "r b 2 *"],
    "an end and a start at the same moment": ["w a 0 5", "w b 5 9", "r a 9 10"],
  };
  for (const [what, lines] of Object.entries(valid)) {
    it(what, () => expect(findViolations(history(...lines), "zero")).toEqual([]));
  }

  it("blocks are independent", () => {
    const [write, read] = history("w a 0 1", "r zero 5 6");
    if (write === undefined || read === undefined) throw new Error("two operations");
    expect(findViolations([write, { ...read, block: "object/1" }], "zero")).toEqual([]);
    expect(findViolations([write, read], "zero")).toHaveLength(1);
  });
});

describe("histories that are not", () => {
  const invalid: Record<string, [ViolationKind, string[]]> = {
    "an acked write is lost": ["overlapping_values", ["w a 0 1", "r a 2 3", "r zero 4 5"]],
    "an acked write is lost before anybody saw it": ["stale_value", ["w a 1 2", "r zero 4 5"]],
    "a value from nowhere": ["value_never_written", ["w a 0 1", "r x 2 3"]],
    "a value from the future": ["read_before_its_write", ["r a 0 1", "w a 2 3"]],
    "a stale read": ["stale_value", ["w a 0 1", "w b 2 3", "r a 4 5"]],
    "two values in turns": [
      "overlapping_values",
      ["w a 0 1", "w b 0 1", "r a 2 3", "r b 4 5", "r a 6 7"],
    ],
    "a pending write that is seen and then gone": [
      "overlapping_values",
      ["w a 0 1", "w b 2 *", "r b 4 5", "r a 6 7", "r b 8 9"],
    ],
  };
  for (const [what, [kind, lines]] of Object.entries(invalid)) {
    it(what, () => {
      const found = findViolations(history(...lines), "zero");
      expect(found.map((violation) => violation.kind)).toEqual([kind]);
      expect(found[0]?.operations.length).toBeGreaterThan(0);
    });
  }

  it("a history that cannot be is refused", () => {
    expect(() => findViolations(history("w a 0 1", "w a 2 3"), "zero")).toThrow(/not unique/);
    expect(() => findViolations(history("w zero 0 1"), "zero")).toThrow(/not unique/);
    expect(() => findViolations(history("w a 2 1"), "zero")).toThrow(/before it starts/);
  });
});

describe("random small histories", () => {
  it("agrees with a search over all orders", () => {
    const counts = { good: 0, bad: 0 };
    for (let seed = 1; seed <= 20_000; ++seed) {
      const operations = randomHistory(seeded(seed));
      const good = hasOrder(operations, "zero");
      const found = findViolations(operations, "zero");
      expect(found.length === 0, `seed ${seed}: ${JSON.stringify(operations)}`).toBe(good);
      counts[good ? "good" : "bad"] += 1;
    }
    expect(counts.good).toBeGreaterThan(1000);
    expect(counts.bad).toBeGreaterThan(1000);
  });
});
