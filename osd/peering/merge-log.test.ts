// Authority, where logs part, and what a copy needs.

import { describe, expect, it } from "vitest";
import type { LogEntry, LogVersion, MissingObject, PgInfo } from "../../proto/peering.js";
import { testInfo } from "../testing/fixtures.js";
import { backfillPlan, chooseAuthority, joiningPlan, relate } from "./merge-log.js";

function info(lastUpdate: LogVersion, overrides: Partial<PgInfo> = {}): PgInfo {
  const [lastEpochStarted] = lastUpdate;
  return testInfo({ lastUpdate, lastEpochStarted, ...overrides });
}

function entries(...versions: LogVersion[]): LogEntry[] {
  return versions.map(([epoch, number]) => ({
    epoch,
    number,
    object: `o${number}`,
    removes: false,
    bytes: Uint8Array.of(epoch, number),
  }));
}

describe("authority", () => {
  const choose = (...infos: PgInfo[]) => chooseAuthority(new Map(infos.entries()), 0);

  it("is the copy that was activated last, even with an older log", () => {
    const activatedLate = info([5, 3], { lastEpochStarted: 9 });
    const longAlone = info([8, 90], { lastEpochStarted: 8 });
    expect(choose(longAlone, activatedLate)).toBe(1);
  });

  it("then the newest update, by epoch before number", () => {
    const same = { lastEpochStarted: 4 };
    expect(choose(info([3, 9], same), info([4, 2], same))).toBe(1);
    expect(choose(info([4, 2], same), info([4, 3], same))).toBe(1);
  });

  it("then one that lacks nothing, then the longest log, then itself", () => {
    expect(choose(info([4, 9], { missingCount: 1 }), info([4, 9], { logTail: 5 }))).toBe(1);
    expect(choose(info([4, 9], { logTail: 5 }), info([4, 9]))).toBe(1);
    expect(choose(info([4, 9]), info([4, 9]))).toBe(0);
  });
});

describe("relation", () => {
  const authority = info([7, 6], { logTail: 2 });
  const log = { after: 2, entries: entries([5, 3], [5, 4], [7, 5], [7, 6]) };

  it("of equal heads needs no log at all", () => {
    expect(relate(authority, undefined, info([7, 6]), undefined)).toMatchObject({
      kind: "joins",
      common: 6,
    });
  });

  it("of a copy that is behind needs the authority's log from that entry on", () => {
    const behind = info([5, 4]);
    expect(relate(authority, undefined, behind, undefined)).toEqual({
      kind: "needsAuthority",
      after: 3,
    });
    expect(
      relate(authority, { after: 3, entries: log.entries.slice(1) }, behind, undefined),
    ).toEqual({ kind: "joins", common: 4, divergent: [] });
  });

  it("of a copy at or behind the tail is apart: the tail's epoch is not known", () => {
    expect(relate(authority, log, info([5, 2]), undefined)).toEqual({ kind: "apart" });
    expect(relate(authority, log, info([0, 0]), undefined)).toEqual({ kind: "apart" });
  });

  it("of a copy with entries of its own needs both logs, and finds where they part", () => {
    const member = info([6, 6], { logTail: 3 });
    const part = { after: 5, entries: log.entries.slice(3) };
    expect(relate(authority, part, member, undefined)).toEqual({
      kind: "needsAuthority",
      after: 2,
    });
    expect(relate(authority, log, member, undefined)).toEqual({ kind: "needsLog", after: 3 });
    const own = { after: 3, entries: entries([5, 4], [6, 5], [6, 6]) };
    expect(relate(authority, log, member, own)).toMatchObject({
      kind: "joins",
      common: 4,
      divergent: [{ number: 5 }, { number: 6 }],
    });
  });

  it("of a copy that has more entries than the authority is found too", () => {
    const own = { after: 3, entries: entries([5, 4], [7, 5], [7, 6], [7, 7]) };
    expect(relate(authority, log, info([7, 7], { logTail: 3 }), own)).toMatchObject({
      kind: "joins",
      common: 6,
      divergent: [{ number: 7 }],
    });
  });

  it("of logs without a common entry is apart, unless both go back to the start", () => {
    const own = { after: 4, entries: entries([6, 5]) };
    expect(relate(authority, log, info([6, 5], { logTail: 4 }), own)).toEqual({ kind: "apart" });
    const young = info([3, 1]);
    const youngLog = { after: 0, entries: entries([3, 1]) };
    expect(
      relate(young, youngLog, info([2, 1]), { after: 0, entries: entries([2, 1]) }),
    ).toMatchObject({ kind: "joins", common: 0, divergent: [{ epoch: 2 }] });
  });

  it("joins at the head of an authority whose log is empty", () => {
    const reset = info([7, 6], { logTail: 6 });
    const own = { after: 5, entries: entries([7, 6], [6, 7]) };
    expect(
      relate(reset, { after: 6, entries: [] }, info([6, 7], { logTail: 5 }), own),
    ).toMatchObject({ kind: "joins", common: 6 });
  });
});

describe("plans", () => {
  it("name what is appended, what diverged, and what was missing before", () => {
    const log = { after: 2, entries: entries([5, 3], [7, 4], [7, 5]) };
    const divergent = entries([6, 4], [6, 9]);
    // What it needs of divergent entries ("y") nobody has.
    const lacks: MissingObject[] = [
      ["x", [2, 2], true],
      ["o4", [0, 0], false],
      ["y", [6, 5], false],
    ];
    expect(joiningPlan(log, { kind: "joins", common: 3, divergent }, lacks)).toEqual({
      rewindTo: 3,
      entries: [Uint8Array.of(7, 4), Uint8Array.of(7, 5)],
      missing: [
        ["o4", [7, 4], false],
        ["o9", [0, 0], false],
        ["x", [2, 2], true],
        ["y", [0, 0], false],
        ["o5", [7, 5], false],
      ],
    });
  });

  it("of a log with entries of objects that a split gave away: nothing of those", () => {
    const [mine, theirs] = entries([7, 3], [7, 4]);
    const [kept, gone] = entries([6, 3], [6, 4]);
    if (!mine || !theirs || !kept || !gone) throw new Error("four entries");
    const plan = joiningPlan(
      { after: 2, entries: [mine, { ...theirs, object: "" }] },
      { kind: "joins", common: 2, divergent: [kept, { ...gone, object: "" }] },
      [],
    );
    expect(plan.entries).toHaveLength(2);
    expect(plan.missing).toEqual([["o3", [7, 3], false]]);
  });

  const authority = info([7, 4], { logTail: 2 });
  const horizon = Uint8Array.of(1);
  const log = { after: 2, entries: entries([7, 3], [7, 4]), horizon };
  const base = { authority, log, sourceLacks: [], targetLacks: [] };

  it("of a backfill compare names and versions both ways", () => {
    const plan = backfillPlan({
      ...base,
      source: new Map<string, LogVersion>([
        ["equal", [1, 1]],
        ["changed", [7, 3]],
        ["new", [7, 4]],
      ]),
      target: new Map<string, LogVersion>([
        ["equal", [1, 1]],
        ["changed", [6, 3]],
        ["deleted", [1, 2]],
      ]),
    });
    expect(plan).toMatchObject({ resetLogTo: [0, 2], rewindTo: 2, horizon });
    expect(plan.entries).toHaveLength(2);
    expect([...plan.missing].sort()).toEqual([
      ["changed", [7, 3], false],
      ["deleted", [7, 4], true],
      ["new", [7, 4], false],
    ]);
  });

  it("of a backfill never trust a copy that is known to be incomplete", () => {
    const versions = new Map<string, LogVersion>([["o", [1, 1]]]);
    const input = { ...base, source: versions, target: versions };
    const lack: MissingObject = ["o", [0, 0], false];
    const missing = (lacks: object) => backfillPlan({ ...input, ...lacks }).missing;
    expect(missing({ targetLacks: [lack] })).toEqual([["o", [1, 1], false]]);
    expect(missing({ sourceLacks: [lack] })).toEqual([lack]);
    // What the source needs is not what both have.
    expect(missing({ sourceLacks: [["o", [2, 9], false]] })).toEqual([["o", [2, 9], false]]);
    expect(missing({ sourceLacks: [["o", [2, 9], true]] })).toEqual([["o", [2, 9], true]]);
    expect(missing({ sourceLacks: [["o", [1, 1], false]] })).toEqual([]);
  });

  it("of a backfill see by the log that the target has what the source lacks", () => {
    const target = new Map<string, LogVersion>([["o3", [7, 3]]]);
    const plan = backfillPlan({
      ...base,
      source: new Map(),
      target,
      sourceLacks: [["o3", [0, 0], false]],
    });
    expect(plan.missing).toEqual([]);
  });

  it("start an empty log at the head", () => {
    const plan = backfillPlan({
      ...base,
      log: { after: 4, entries: [], horizon },
      source: new Map(),
      target: new Map(),
    });
    expect(plan.resetLogTo).toEqual([7, 4]);
  });
});
