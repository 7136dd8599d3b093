// What counts as a fencing violation, and what only looks like one.
import { describe, expect, it } from "vitest";
import type { BlockOperation } from "../checkers/linearizability.js";
import { type FencedOperation, findFencingViolations } from "./fencing.js";

const pending = Number.POSITIVE_INFINITY;

function operation(
  kind: "read" | "write",
  value: string,
  startNs: number,
  endNs: number,
): BlockOperation {
  return { client: 0, block: "f0/0", kind, value, startNs, endNs };
}

function under(token: number, of: BlockOperation, object = "f0"): FencedOperation {
  return { operation: of, object, token };
}

/** The new holder's first operation, answered at 20. */
const takeOver = under(2, operation("write", "b", 10, 20));
const reads = (...values: string[]) =>
  values.map((value, index) => operation("read", value, 30 + 10 * index, 35 + 10 * index));

function kindsOf(fenced: FencedOperation[], history: BlockOperation[] = []): string[] {
  return findFencingViolations(fenced, history).map((text) => text.split(":")[0] ?? "");
}

describe("fencing violations", () => {
  it("an operation that begins behind the answer of a higher token must not be served", () => {
    const late = under(1, operation("write", "a", 21, 25));
    expect(kindsOf([takeOver, late])).toEqual(["stale_token"]);
    expect(kindsOf([takeOver, under(1, operation("read", "b", 21, 25))])).toEqual(["stale_token"]);
  });

  it("one that began before, was refused, or is of another object may be", () => {
    expect(kindsOf([takeOver, under(1, operation("write", "a", 20, 25))])).toEqual([]);
    expect(kindsOf([takeOver, under(1, operation("write", "a", 21, pending))])).toEqual([]);
    expect(kindsOf([takeOver, under(1, operation("write", "a", 21, 25), "f1")])).toEqual([]);
    expect(kindsOf([takeOver, under(2, operation("write", "a", 21, 25))])).toEqual([]);
    const unanswered = under(2, operation("write", "b", 10, pending));
    expect(kindsOf([unanswered, under(1, operation("write", "a", 21, 25))])).toEqual([]);
  });

  it("an old write that shows behind a read without it took effect too late", () => {
    const old = under(1, operation("write", "a", 5, pending));
    expect(kindsOf([takeOver, old], reads("b", "a"))).toEqual(["late_effect"]);
    expect(kindsOf([takeOver, old], reads("a", "b"))).toEqual([]);
    expect(kindsOf([takeOver, old], reads("b", "b"))).toEqual([]);
    expect(kindsOf([old], reads("b", "a"))).toEqual([]);
  });

  it("a read that began before the lock was taken over proves nothing", () => {
    const old = under(1, operation("write", "a", 5, pending));
    const early = operation("read", "0", 15, 22);
    expect(kindsOf([takeOver, old], [early, ...reads("a")])).toEqual([]);
  });
});
