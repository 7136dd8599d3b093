// The words for a PG's state, and the report that the monitor accepts.
import { describe, expect, it } from "vitest";
import { epoch, pgId } from "../common/units.js";
import { decodeMessageToMonitor, encodeMessage } from "../proto/messages.js";
import { pgStateWords } from "../proto/pg-states.js";
import { initialPgState, type PgState, pgStateNames } from "./peering/state.js";
import { pgStateText, reportOf } from "./stats.js";

const interval = { first: 3, up: [0, 1, 2], acting: [0, 1, 2], size: 3, minSize: 2 };
const state: PgState = { ...initialPgState(pgId(1, 0), 0), name: "Active", interval };
const undersized = { ...state, interval: { ...interval, acting: [0, 1] } };

describe("the state text", () => {
  it.each([
    ["active+clean", { ...state, name: "Clean" as const }, false],
    ["active", state, false],
    ["active+undersized+degraded", undersized, false],
    [
      "active+recovering+degraded",
      { ...state, name: "Recovering" as const, missingCount: 2 },
      false,
    ],
    ["active+recovery_wait+degraded", { ...state, missingCount: 2 }, true],
    [
      "active+recovery_unfound+degraded",
      { ...state, missingCount: 1, unfound: new Set("o") },
      false,
    ],
    ["peering", { ...state, name: "GetLog" as const }, false],
    ["activating", { ...state, name: "Activating" as const }, false],
    ["down", { ...state, name: "Down" as const }, false],
    ["undersized+degraded+peered", { ...undersized, name: "Incomplete" as const }, false],
  ])("%s", (text, pg, waits) => {
    expect(pgStateText(pg, waits)).toBe(text);
    // By these words `pg ls --state` finds it.
    expect(pgStateWords).toEqual(expect.arrayContaining(text.split("+")));
  });

  it("says what a PG that waits is held by, if that is room", () => {
    const backfill = { ...state, missingCount: 2, backfilling: [1] };
    expect(pgStateText(backfill, true)).toBe("active+backfill_wait+degraded");
    expect(pgStateText(backfill, true, "nobackfill")).toBe("active+backfill_wait+degraded");
    expect(pgStateText(backfill, true, "backfill_toofull")).toContain("+backfill_toofull");
  });
});

describe("the report", () => {
  const status = {
    pool: 1,
    seed: 0,
    lastUpdate: [3, 9] as [number, number],
    logTail: 0,
    lastEpochStarted: 3,
    missingCount: 1,
    peerMissingCount: 4,
    objectCount: 12,
    storedBytes: 40_960,
    scrubRecord: "",
    interval: 3,
    acting: [0, 1, 2],
    role: "primary" as const,
    phase: "active" as const,
  };
  const histogram = { boundsNs: [1000, 2000], counts: [1, 2], count: 3, sumNs: 4500, maxNs: 2000 };
  const input = {
    osd: 0,
    epoch: epoch(5),
    states: pgStateNames.map((name, seed) => ({ ...state, name, pgid: pgId(1, seed) })),
    waitsForRecovery: () => false,
    snapTrimOf: () => undefined,
    scrubOf: () => undefined,
    recoveryHold: () => undefined,
    opComplaintMs: 30_000,
    statuses: [status],
    core: {
      counters: { writeBytes: 7 },
      histograms: { storeCommit: histogram },
      totalBytes: 100,
      usedBytes: 10,
      reservedBytes: 0,
      objects: 12,
      oldestOperationMs: 0,
      roundTripsNs: [],
    },
    rssBytes: 1,
    cpuSeconds: 1.5,
  };

  it("passes the monitor's check, whatever the states", () => {
    const report = reportOf(input);
    const decoded = decodeMessageToMonitor(encodeMessage(report));
    expect(decoded).toMatchObject({
      counters: { write_bytes: 7 },
      histograms: { store_commit: { counts: [1, 2, 0] } },
    });
    expect(report.pgs).toHaveLength(pgStateNames.length);
    expect(report.pgs[0]).toMatchObject({
      lastUpdate: { epoch: 3, number: 9 },
      objects: 12,
      bytes: 40_960,
      missing: 1,
      degraded: 5,
      misplaced: 0,
      unfound: 0,
    });
    expect(report.pgs[0]?.unfoundObjects).toBeUndefined();
  });

  it("counts the objects of a PG as misplaced while another OSD serves for one that is up", () => {
    const [first] = input.states;
    const withSets = (up: number[], acting: number[]) => {
      const states = [{ ...state, ...first, interval: { ...state.interval, up, acting } }];
      return reportOf({ ...input, states }).pgs[0]?.misplaced;
    };
    expect(withSets([0, 1, 3], [0, 1, 2])).toBe(12);
    expect(withSets([1, 0, 2], [0, 1, 2])).toBe(0);
    expect(withSets([0, 1, 2], [0, 1])).toBe(0);
  });

  it("names unfound objects, a bounded number of them, in order", () => {
    const [first] = input.states;
    const names = Array.from({ length: 150 }, (_, at) => `o${1000 + at}`);
    const states = [{ ...state, ...first, unfound: new Set(names.toReversed()) }];
    const report = reportOf({ ...input, states });
    expect(report.pgs[0]?.unfound).toBe(150);
    expect(report.pgs[0]?.unfoundObjects).toEqual(names.slice(0, 100));
    decodeMessageToMonitor(encodeMessage(report));
  });

  it("says of a PG that it is being scrubbed, and that copies are bad", () => {
    const never = { lastMs: 0, lastDeepMs: 0, objects: [], finished: [] };
    const scrub = { ...never, errors: 2, running: "repair" as const };
    const { pgs } = reportOf({ ...input, scrubOf: () => scrub });
    const stateOf = (name: string) =>
      pgs.find(({ pgid }) => input.states.some((pg) => pg.name === name && pg.pgid === pgid))
        ?.state;
    expect(stateOf("Clean")).toBe("active+clean+inconsistent+repair");
    expect(stateOf("GetLog")).toBe("peering");
    expect(stateOf("Incomplete")).toBe("undersized+degraded+peered");
  });

  it("says how far removed snapshots are trimmed", () => {
    const trim = { trimmedTo: 4, text: "snaptrim_wait" };
    const { pgs } = reportOf({ ...input, snapTrimOf: () => trim });
    const states = pgs.map(({ state: text }) => text);
    expect(states).toContain("active+clean+snaptrim_wait");
    expect(states).toContain("peering");
    expect(pgs.every(({ snapTrimmed }) => snapTrimmed === 4)).toBe(true);
  });

  it("has only the PGs whose primary it is", () => {
    expect(reportOf({ ...input, osd: 1 }).pgs).toEqual([]);
  });

  it("names an operation that hangs", () => {
    const core = { ...input.core, oldestOperationMs: 10_000 };
    const complaining = reportOf({ ...input, core, opComplaintMs: 10_000 });
    expect(complaining).toMatchObject({ slowOpCount: 1, slowOps: [{ ageMs: 10_000 }] });
    expect(reportOf({ ...input, core, opComplaintMs: 10_001 }).slowOpCount).toBe(0);
  });
});
