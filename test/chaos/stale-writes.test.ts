// What counts as a stale write that was accepted: histories made by hand.
import { describe, expect, it } from "vitest";
import type { RecordedOperation } from "./histories.js";
import { type Freeze, judgeStaleWrites } from "./stale-writes.js";

/** A value of a session: what a client's history job makes of its number. */
const value = (session: number, counter: number) =>
  String((BigInt(session) << 40n) | BigInt(counter));

function operation(
  client: number,
  kind: "read" | "write",
  written: string,
  [startNs, endNs]: [number, number],
  fenced = false,
): RecordedOperation {
  return { client, block: "disk/0", kind, value: written, startNs, endNs, fenced };
}

const freeze: Freeze = { client: 7, heldAtNs: 100, wokenNs: 200, takenOver: true };
const before = operation(7, "write", value(7, 1), [10, 20]);
const byNewHolder = operation(8, "write", value(8, 1), [150, 160]);
const refused = (startNs: number) => operation(7, "write", value(7, 2), [startNs, 230], true);

describe("writes under a token that is no longer in force", () => {
  it("are refused, and nobody sees them", () => {
    const judged = judgeStaleWrites([before, byNewHolder, refused(210)], [freeze]);
    expect(judged).toMatchObject({ refused: 1, accepted: [] });
    expect(judged.operations[2]?.endNs).toBe(Number.POSITIVE_INFINITY);
  });

  it("are found when they were answered as done", () => {
    const acked = operation(7, "write", value(7, 3), [205, 215]);
    const judged = judgeStaleWrites([before, byNewHolder, acked, refused(210)], [freeze]);
    expect(judged.accepted).toEqual([acked]);
  });

  it("are found when they were refused and yet read", () => {
    const read = operation(8, "read", value(7, 2), [240, 250]);
    const judged = judgeStaleWrites([before, byNewHolder, refused(210), read], [freeze]);
    expect(judged.accepted).toEqual([refused(210)]);
  });

  it("have happened before the new holder was served, when they were on their way by then", () => {
    const read = operation(8, "read", value(7, 2), [130, 140]);
    const judged = judgeStaleWrites([before, read, byNewHolder, refused(90)], [freeze]);
    expect(judged).toMatchObject({ refused: 1, accepted: [] });
    expect(judged.operations[3]?.endNs).toBe(140);
  });

  it("of a client that nobody took over from, or of another session, are none", () => {
    const operations = [before, byNewHolder, refused(210)];
    expect(judgeStaleWrites(operations, [{ ...freeze, takenOver: false }]).refused).toBe(0);
    const later = operation(7, "write", value(1007, 1), [300, 310]);
    const read = operation(8, "read", value(1007, 1), [320, 330]);
    const judged = judgeStaleWrites([...operations, later, read], [freeze]);
    expect(judged).toMatchObject({ refused: 1, accepted: [] });
  });

  it("are not those of the session after one that ended by a refused read", () => {
    const later = operation(7, "write", value(1007, 1), [300, 310]);
    const refusedLater = operation(7, "write", value(1007, 2), [510, 520], true);
    const judged = judgeStaleWrites([before, byNewHolder, later, refusedLater], [freeze]);
    expect(judged).toMatchObject({ refused: 0, accepted: [] });
  });

  it("are found when the frozen session is never refused anything", () => {
    const acked = operation(7, "write", value(7, 3), [205, 215]);
    expect(judgeStaleWrites([before, byNewHolder, acked], [freeze]).accepted).toEqual([acked]);
  });
});
