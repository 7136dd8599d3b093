// Schedules: replayed by their seed, every kind in turn, never more at once than promised.
import { describe, expect, it } from "vitest";
import { makeSchedule, maxSplits, monitorKinds, stormKinds } from "./schedule.js";

const options = { kinds: stormKinds, osds: 4, loadMs: 120_000, mode: "storm" } as const;

describe("a storm", () => {
  it("is the same for the same seed, and another one for another", () => {
    expect(makeSchedule({ ...options, seed: 7 })).toEqual(makeSchedule({ ...options, seed: 7 }));
    expect(makeSchedule({ ...options, seed: 7 })).not.toEqual(
      makeSchedule({ ...options, seed: 8 }),
    );
  });

  it("brings every kind, and at most two at a time", () => {
    for (let seed = 1; seed <= 100; ++seed) {
      const faults = makeSchedule({ ...options, seed });
      expect(new Set(faults.map(({ kind }) => kind)).size, `seed ${seed}`).toBe(stormKinds.length);
      // A split takes nobody away.
      const failures = faults.filter(({ kind }) => kind !== "split");
      for (const fault of failures) {
        const beside = failures.filter(
          (other) =>
            other !== fault &&
            other.atMs < fault.atMs + fault.durationMs &&
            fault.atMs < other.atMs + other.durationMs,
        );
        const alone = fault.kind === "bridge" || fault.kind === "blackout";
        expect(beside.length, `seed ${seed}`).toBeLessThanOrEqual(alone ? 0 : 2);
        expect(beside.every(({ osd }) => osd !== fault.osd)).toBe(true);
        const ofMonitor = [fault, ...beside].filter(({ kind }) => monitorKinds.has(kind));
        if (monitorKinds.has(fault.kind)) expect(ofMonitor).toEqual([fault]);
        expect(fault.atMs + fault.durationMs).toBeLessThan(options.loadMs);
      }
    }
  });
});

it("splits come one after the other beside failures, and only so often", () => {
  const kinds = ["split", "kill"] as const;
  for (const mode of ["storm", "single"] as const) {
    const faults = makeSchedule({ ...options, kinds, mode, seed: 11 });
    const splits = faults.filter(({ kind }) => kind === "split");
    expect(splits.length).toBe(maxSplits);
    for (const [at, { atMs }] of splits.entries()) {
      const before = splits[at - 1];
      if (before !== undefined) expect(atMs).toBeGreaterThan(before.atMs + before.durationMs);
    }
    expect(faults.length).toBeGreaterThan(2 * maxSplits);
  }
});

it("single faults do not touch each other", () => {
  const kinds = ["kill", "stop", "oneway"] as const;
  const faults = makeSchedule({ ...options, kinds, mode: "single", seed: 3 });
  expect(faults.length).toBe(18);
  expect(faults.slice(0, 3).map(({ kind }) => kind)).toEqual(kinds);
  for (const [at, fault] of faults.entries()) {
    const next = faults[at + 1];
    if (next !== undefined)
      expect(next.atMs - fault.atMs - fault.durationMs).toBeGreaterThanOrEqual(2000);
  }
});
