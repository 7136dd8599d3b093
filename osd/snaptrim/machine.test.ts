// Which PGs are trimmed when, what an interruption costs, and what is reported.
import { describe, expect, it } from "vitest";
import { type PgId, pgId } from "../../common/units.js";
import type { PoolSnaps } from "../../proto/pool-snaps.js";
import {
  failedRetryMs,
  initialTrimState,
  maxTrims,
  reportOf,
  step,
  type TrimCandidate,
  type TrimEffect,
  type TrimEvent,
  type TrimState,
} from "./machine.js";
import { trimmedPools, trimSettings } from "./settings.js";

const [a, b, c] = [pgId(1, 0), pgId(1, 1), pgId(1, 2)];
const settings = trimSettings({ config: {}, flags: [] });

/** A machine, its clock, and all effects since they were last taken. */
class Runner {
  state: TrimState = initialTrimState;
  now = 1000;
  private effects: TrimEffect[] = [];

  handle(event: TrimEvent): void {
    const made = step(this.state, event, this.now);
    this.state = made.state;
    this.effects.push(...made.effects);
  }

  /** Removals `removals - removed.length + 1` to `removals` are under way. */
  map(removed: number[], removals: number, more: Partial<typeof settings> = {}): void {
    const pools = new Map<number, PoolSnaps>([[1, { seq: 99, removed, removals, purged: [] }]]);
    this.handle({ kind: "map", pools, settings: { ...settings, ...more } });
  }

  pgs(...pgs: (Partial<TrimCandidate> & { pgid: PgId })[]): void {
    const base = { interval: 5, isReady: true };
    this.handle({ kind: "pgs", pgs: pgs.map((pg) => ({ ...base, ...pg })) });
  }

  done(trim: number, code?: string): void {
    this.handle({ kind: "done", trim, ...(code === undefined ? {} : { code }) });
  }

  take<Kind extends TrimEffect["kind"]>(kind: Kind): Extract<TrimEffect, { kind: Kind }>[] {
    const taken = this.effects.filter((effect) => effect.kind === kind);
    this.effects = this.effects.filter((effect) => effect.kind !== kind);
    return taken as Extract<TrimEffect, { kind: Kind }>[];
  }

  report(pgid: PgId): [number | undefined, string | undefined] {
    const report = reportOf(this.state, pgid);
    return [report?.trimmedTo, report?.text];
  }
}

describe("trimming", () => {
  it("goes over the PGs, a few at a time, and says how far each is", () => {
    const run = new Runner();
    run.pgs({ pgid: a }, { pgid: b }, { pgid: c });
    expect(run.report(a)).toEqual([0, undefined]);
    run.map([7, 4], 6);
    const started = run.take("start");
    expect(started).toHaveLength(maxTrims);
    const { pgid, interval, trim, removed, objectsPerSecond } = started[0] ?? {};
    expect([pgid, interval, trim, removed]).toEqual([a, 5, 1, [7, 4]]);
    expect(objectsPerSecond).toBe(settings.objectsPerSecond / maxTrims);
    expect([a, b, c].map((one) => run.report(one))).toEqual([
      [4, "snaptrim"],
      [4, "snaptrim"],
      [4, "snaptrim_wait"],
    ]);
    run.done(1);
    expect(run.take("start")).toMatchObject([{ pgid: c, trim: 3 }]);
    expect(run.report(a)).toEqual([6, undefined]);
    expect(run.take("changed")).not.toEqual([]);
    run.done(2);
    run.done(3);
    expect(run.take("start")).toEqual([]);
    run.map([], 6);
    expect(run.take("start")).toEqual([]);
  });

  it("looks only for what came since, when more is removed", () => {
    const run = new Runner();
    run.pgs({ pgid: a });
    run.map([7], 1);
    run.map([7, 4], 2);
    expect(run.take("start")).toMatchObject([{ removed: [7] }]);
    run.done(1);
    expect(run.take("start")).toMatchObject([{ trim: 2, removed: [4] }]);
    expect(run.report(a)).toEqual([1, "snaptrim"]);
    run.map([4, 8], 3);
    run.done(2);
    expect(run.take("start")).toMatchObject([{ trim: 3, removed: [8] }]);
  });

  it("waits for PGs that are not whole, and stops when one is not whole any more", () => {
    const run = new Runner();
    run.pgs({ pgid: a, isReady: false });
    run.map([7], 1);
    expect(run.take("start")).toEqual([]);
    expect(run.report(a)).toEqual([0, "snaptrim_wait"]);
    run.pgs({ pgid: a });
    expect(run.take("start")).toHaveLength(1);
    run.pgs({ pgid: a, isReady: false });
    run.pgs({ pgid: a, isReady: false });
    expect(run.take("stop")).toEqual([{ kind: "stop", pgid: a, interval: 5 }]);
    run.pgs({ pgid: a });
    expect(run.take("start")).toEqual([]);
    run.done(1, "canceled");
    expect(run.take("start")).toMatchObject([{ trim: 2 }]);
    expect(run.take("log")).toEqual([]);
  });

  it("leaves the disk to clients as long as they use it, but for a part", () => {
    const run = new Runner();
    const load = (clientOpsPerSecond: number) => run.handle({ kind: "load", clientOpsPerSecond });
    const rates = () =>
      run.take("start").map(({ trim, objectsPerSecond }) => [trim, objectsPerSecond]);
    run.pgs({ pgid: a }, { pgid: b }, { pgid: c });
    load(200);
    run.map([7], 1);
    expect(rates()).toEqual([
      [1, 150],
      [2, 150],
    ]);
    load(210);
    expect(rates()).toEqual([]);
    load(5000);
    expect(rates()).toEqual([
      [1, 25],
      [2, 25],
    ]);
    run.done(1);
    expect(rates()).toEqual([[3, 25]]);
    load(0);
    expect(rates()).toEqual([
      [2, 250],
      [3, 250],
    ]);
    run.map([7], 1, { isUrgent: true });
    load(5000);
    expect(rates()).toEqual([]);
  });

  it("is paused by the flag", () => {
    const run = new Runner();
    run.pgs({ pgid: a });
    run.map([7], 1);
    run.map([7], 1, { isPaused: true });
    expect(run.take("stop")).toHaveLength(1);
    run.done(1, "canceled");
    run.handle({ kind: "tick" });
    expect(run.take("start")).toHaveLength(1);
    expect(run.report(a)).toEqual([0, "snaptrim_wait"]);
    run.map([7], 1);
    expect(run.take("start")).toHaveLength(1);
  });

  it("begins again in a new interval, of which nothing is known", () => {
    const run = new Runner();
    run.pgs({ pgid: a }, { pgid: b });
    run.map([7], 1);
    run.done(1);
    expect(run.report(a)).toEqual([1, undefined]);
    run.take("start");
    run.pgs({ pgid: a, interval: 6 }, { pgid: b, interval: 6 });
    expect(run.report(a)).toEqual([0, "snaptrim"]);
    expect(run.take("start")).toMatchObject([
      { pgid: a, interval: 6, trim: 3 },
      { pgid: b, interval: 6, trim: 4 },
    ]);
    // The end of a trim of the interval before says nothing.
    run.done(2);
    expect(run.report(b)).toEqual([0, "snaptrim"]);
  });

  it("forgets the PGs that another OSD leads", () => {
    const run = new Runner();
    run.pgs({ pgid: a });
    run.map([7], 1);
    run.pgs();
    run.done(1);
    expect(run.report(a)).toEqual([undefined, undefined]);
  });

  it("tries again later when it has failed", () => {
    const run = new Runner();
    run.pgs({ pgid: a });
    run.map([7], 1);
    run.take("start");
    run.done(1, "io_error");
    expect(run.take("log")).toMatchObject([{ level: "warn", fields: { pgid: a } }]);
    run.now += failedRetryMs - 1;
    run.handle({ kind: "tick" });
    expect(run.take("start")).toEqual([]);
    run.now += 1;
    run.handle({ kind: "tick" });
    expect(run.take("start")).toHaveLength(1);
  });
});

describe("the settings", () => {
  it("come from the map", () => {
    const config = { "osd.snap_trim_objects_per_second": "12" };
    expect(trimSettings({ config, flags: ["nosnaptrim"] })).toEqual({
      objectsPerSecond: 12,
      isPaused: true,
      isUrgent: false,
    });
    expect(trimmedPools({ pools: [] })).toEqual(new Map());
  });
});
