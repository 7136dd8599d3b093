// What is scrubbed when, what an interruption keeps, and how findings are counted.
import { describe, expect, it } from "vitest";
import { type PgId, pgId } from "../../common/units.js";
import {
  busyRetryMs,
  dueMs,
  failedRetryMs,
  initialScrubState,
  type ScrubCandidate,
  type ScrubEffect,
  type ScrubEvent,
  type ScrubState,
  step,
} from "./machine.js";
import { newScrubRecord, noFindings, recordAfter, type ScrubRecord, withFound } from "./record.js";
import { type ScrubSettings, scrubSettings } from "./settings.js";

const a = pgId(1, 0);
const b = pgId(1, 1);
const start = 1_000_000_000;
const dayMs = 24 * 3_600_000;
const defaultScrubSettings = scrubSettings({ config: {}, flags: [] });

/** A machine, its clock, and all effects since they were last taken. */
class Runner {
  state: ScrubState = initialScrubState;
  now = start;
  settings: ScrubSettings = defaultScrubSettings;
  private effects: ScrubEffect[] = [];

  handle(event: ScrubEvent): void {
    const made = step(this.state, event, this.now);
    this.state = made.state;
    this.effects.push(...made.effects);
  }

  pgs(...pgs: (Partial<ScrubCandidate> & { pgid: PgId })[]): void {
    const base = { interval: 5, isWhole: true, record: newScrubRecord(start), owns: () => true };
    this.handle({ kind: "pgs", pgs: pgs.map((pg) => ({ ...base, ...pg })) });
  }

  tick(): void {
    this.handle({ kind: "tick", settings: this.settings });
  }

  ask(pgid: PgId, request: number, mode: "scrub" | "deep-scrub" | "repair" = "scrub"): void {
    this.handle({ kind: "command", pgid, mode, request });
  }

  take<Kind extends ScrubEffect["kind"]>(kind: Kind): Extract<ScrubEffect, { kind: Kind }>[] {
    const taken = this.effects.filter((effect) => effect.kind === kind);
    this.effects = this.effects.filter((effect) => effect.kind !== kind);
    return taken as Extract<ScrubEffect, { kind: Kind }>[];
  }

  done(scrub: number, code?: string): void {
    this.handle({ kind: "done", scrub, ...(code === undefined ? {} : { code }) });
  }
}

function found(scrub: number, object: string, badBlocks: number[], repaired = false): ScrubEvent {
  const bad = [{ osd: 1, problem: "none" as const, badBlocks }];
  return { kind: "object", scrub, found: { object, repaired, good: [0, 2], bad } };
}

const badBlock = (object: string, badBlocks: number[]) => ({
  object,
  repaired: false,
  good: [0],
  bad: [{ osd: 1, problem: "none" as const, badBlocks }],
});
const bothFound = [badBlock("mine", [1]), badBlock("childs", [2])].reduce(withFound, noFindings);

const record = (times: Partial<ScrubRecord>): ScrubRecord => ({
  ...newScrubRecord(start - 30 * dayMs),
  ...times,
});

describe("what is asked for by hand", () => {
  it("is started at once, one scrub at a time, in order", () => {
    const run = new Runner();
    run.pgs({ pgid: a }, { pgid: b });
    run.ask(a, 7, "repair");
    run.ask(b, 8);
    run.tick();
    run.tick();
    expect(run.take("start")).toEqual([
      {
        kind: "start",
        pgid: a,
        interval: 5,
        scrub: 1,
        mode: "repair",
        after: "",
        bytesPerSecond: defaultScrubSettings.bytesPerSecond,
      },
    ]);
    run.done(1);
    run.tick();
    expect(run.take("start")).toMatchObject([{ pgid: b, scrub: 2, mode: "scrub" }]);
    run.done(2);
    expect(run.state.pgs.get(b)?.finished).toMatchObject([{ request: 8, errors: 0 }]);
    run.tick();
    expect(run.take("start")).toEqual([]);
  });

  it("is done once, however often it is asked for", () => {
    const run = new Runner();
    run.pgs({ pgid: a });
    run.ask(a, 7);
    run.ask(a, 7);
    run.tick();
    run.ask(a, 7);
    run.done(1);
    run.ask(a, 7);
    run.tick();
    expect(run.take("start")).toHaveLength(1);
  });

  it("waits until nothing of the PG is missing, and goes past noscrub", () => {
    const run = new Runner();
    run.settings = { ...defaultScrubSettings, noScrub: true };
    run.pgs({ pgid: a, isWhole: false });
    run.ask(a, 7);
    run.tick();
    expect(run.take("start")).toEqual([]);
    run.pgs({ pgid: a });
    run.tick();
    expect(run.take("start")).toHaveLength(1);
  });

  it.each([
    ["busy", busyRetryMs],
    ["timed_out", failedRetryMs],
  ])("is tried again after %s", (code, waitMs) => {
    const run = new Runner();
    run.pgs({ pgid: a });
    run.ask(a, 7);
    run.tick();
    run.done(1, code);
    run.now += waitMs - 1;
    run.tick();
    expect(run.take("start")).toHaveLength(1);
    run.now += 1 + (code === "busy" ? busyRetryMs : 0);
    run.tick();
    expect(run.take("start")).toMatchObject([{ pgid: a, scrub: 2 }]);
  });
});

describe("a scrub that a new interval interrupts", () => {
  it("goes on behind the last object compared, and counts nothing twice", () => {
    const run = new Runner();
    run.pgs({ pgid: a });
    run.ask(a, 7, "repair");
    run.tick();
    run.handle(found(1, "o1", [1, 2]));
    run.handle({ kind: "progress", scrub: 1, after: "o16", objects: 16, bytes: 100 });
    run.handle(found(1, "o17", [3]));
    run.handle(found(1, "o18", [4], true));
    run.pgs({ pgid: a, interval: 6 });
    run.done(1);
    run.tick();
    expect(run.take("start")).toMatchObject([
      { scrub: 1 },
      { scrub: 2, interval: 6, after: "o16", mode: "repair" },
    ]);
    run.handle(found(2, "o17", [3]));
    run.handle({ kind: "progress", scrub: 2, after: "", objects: 4, bytes: 10 });
    run.done(2);
    expect(run.state.pgs.get(a)?.finished).toEqual([
      { request: 7, objects: 20, bytes: 110, errors: 4, repaired: 1 },
    ]);
    expect(run.state.pgs.get(a)?.record).toMatchObject({ blockErrors: 3, copyErrors: 0 });
  });

  it("is forgotten when another OSD leads the PG", () => {
    const run = new Runner();
    run.pgs({ pgid: a }, { pgid: b });
    run.ask(a, 7);
    run.tick();
    run.pgs({ pgid: b });
    run.done(1);
    run.ask(b, 8);
    run.tick();
    expect(run.take("start")).toMatchObject([{ pgid: a }, { pgid: b }]);
  });
});

describe("the schedule", () => {
  it("follows the settings and flags of the map", () => {
    const config = { "osd.scrub_interval": "0.5", "osd.scrub_bytes_per_second": "7" };
    expect(scrubSettings({ config, flags: ["nodeep-scrub"] })).toEqual({
      intervalMs: 1_800_000,
      deepIntervalMs: 7 * dayMs,
      bytesPerSecond: 7,
      noScrub: false,
      noDeepScrub: true,
    });
  });

  it("keeps a new PG's beginning, and has it due an interval later, not all at once", () => {
    const run = new Runner();
    run.pgs({ pgid: a, record: undefined });
    expect(run.take("store")).toMatchObject([{ pgid: a, record: { sinceMs: start, lastMs: 0 } }]);
    const seeds = Array.from({ length: 64 }, (_, seed) => pgId(1, seed));
    const dues = seeds.map((pgid) =>
      dueMs(pgid, newScrubRecord(start), "scrub", defaultScrubSettings),
    );
    expect(Math.min(...dues)).toBeGreaterThanOrEqual(start + dayMs);
    expect(Math.max(...dues)).toBeLessThanOrEqual(start + 1.25 * dayMs);
    expect(new Set(dues).size).toBe(64);
  });

  it("takes the one that is overdue most, deep scrubs weekly", () => {
    const run = new Runner();
    const times = (lastMs: number, lastDeepMs: number) => record({ lastMs, lastDeepMs });
    run.pgs(
      { pgid: a, record: times(start - 2 * dayMs, start - 3 * dayMs) },
      { pgid: b, record: times(start - 2 * dayMs, start - 10 * dayMs) },
    );
    run.tick();
    expect(run.take("start")).toMatchObject([{ pgid: b, mode: "deep-scrub" }]);
    run.done(1);
    expect(run.take("store")).toMatchObject([
      { pgid: b, record: { lastMs: start, lastDeepMs: start } },
    ]);
    run.tick();
    expect(run.take("start")).toMatchObject([{ pgid: a, mode: "scrub" }]);
    run.done(2);
    run.tick();
    expect(run.take("start")).toEqual([]);
  });

  it.each([
    [{ noScrub: true }, []],
    [{ noDeepScrub: true }, [{ mode: "scrub" }]],
    [{ deepIntervalMs: 0 }, [{ mode: "scrub" }]],
    [{ intervalMs: 0, deepIntervalMs: 0 }, []],
  ])("heeds %j", (settings, starts) => {
    const run = new Runner();
    run.settings = { ...defaultScrubSettings, ...settings };
    run.pgs({ pgid: a, record: record({}) });
    run.tick();
    expect(run.take("start")).toMatchObject(starts);
  });

  it("stops what has begun by itself when the flag is set, and goes on later", () => {
    const run = new Runner();
    run.pgs({ pgid: a, record: record({}) });
    run.tick();
    run.handle({ kind: "progress", scrub: 1, after: "o9", objects: 9, bytes: 1 });
    run.settings = { ...defaultScrubSettings, noScrub: true };
    run.tick();
    expect(run.take("stop")).toEqual([{ kind: "stop", pgid: a, interval: 5 }]);
    run.done(1, "canceled");
    run.now += 2 * busyRetryMs;
    run.tick();
    run.settings = defaultScrubSettings;
    run.tick();
    expect(run.take("start")).toMatchObject([{ after: "" }, { after: "o9" }]);
  });

  it("believes a stored record that is newer: another OSD has scrubbed", () => {
    const run = new Runner();
    run.pgs({ pgid: a });
    const newer = record({ lastMs: start + 5, lastDeepMs: start + 5, blockErrors: 2 });
    run.pgs({ pgid: a, record: newer });
    expect(run.state.pgs.get(a)?.record).toEqual(newer);
    run.pgs({ pgid: a, record: record({ lastMs: start + 1 }) });
    expect(run.state.pgs.get(a)?.record).toEqual(newer);
  });
});

it("a split leaves each PG what was found of its own objects", () => {
  const run = new Runner();
  run.pgs({ pgid: a });
  run.ask(a, 7, "deep-scrub");
  run.tick();
  const [first] = run.take("start");
  run.handle(found(first?.scrub ?? 0, "childs", [1]));
  run.handle({ kind: "progress", scrub: first?.scrub ?? 0, after: "m", objects: 5, bytes: 0 });
  const isMine = (object: string) => object === "mine";
  run.pgs({ pgid: a, interval: 6, owns: isMine });
  run.tick();
  const [second] = run.take("start");
  expect(second).toMatchObject({ pgid: a, interval: 6, after: "m" });
  run.handle(found(second?.scrub ?? 0, "mine", [2, 3]));
  run.done(second?.scrub ?? 0);
  const [stored] = run.take("store");
  expect(stored?.record).toMatchObject({ blockErrors: 2, objects: [{ object: "mine" }] });
  expect(run.state.pgs.get(a)?.finished).toMatchObject([{ request: 7, errors: 2, repaired: 0 }]);
  // The child has the record of before the split.
  const both = recordAfter(newScrubRecord(start), bothFound, true, start + 1);
  run.pgs({ pgid: b, interval: 6, record: both, owns: (object) => !isMine(object) });
  expect(run.state.pgs.get(b)?.record).toMatchObject({
    lastDeepMs: start + 1,
    blockErrors: 1,
    objects: [{ object: "childs" }],
  });
});
