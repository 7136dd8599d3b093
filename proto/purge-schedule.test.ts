// Schedules: what is understood, which one holds where, and when it is due.
import { describe, expect, it } from "vitest";
import {
  checkInterval,
  checkStart,
  isScheduleKey,
  lastDueMs,
  nextDueMs,
  type PurgeSchedule,
  scheduleKey,
  schedulesFor,
  schedulesOf,
} from "./purge-schedule.js";

const at = (text: string) => Date.parse(text);
const daily: PurgeSchedule = { namespace: "", interval: "1d", start: "13:55:00", addedAtMs: 0 };

describe("a schedule", () => {
  it.each([
    ["13:55", "13:55:00"],
    ["3:05:07", "03:05:07"],
    ["13:55Z", "13:55:00"],
    ["13:55+02:00", "11:55:00"],
    ["00:30+0100", "23:30:00"],
    ["23:30-01:00", "00:30:00"],
  ])("starts at %s, which is %s", (text, utc) => {
    expect(checkStart(text)).toBe(utc);
  });

  it.each(["24:00", "12:60", "noon", "12", "", "12:00x"])("does not start at %j", (text) => {
    expect(() => checkStart(text)).toThrow(/no time of the day/);
  });

  it.each(["0m", "1s", "1", "d", "366d", "1w", "-1d", "1.5h"])("has no interval %j", (text) => {
    expect(() => checkInterval(text)).toThrow(/no interval/);
  });

  it("is a setting of its own for each place and time", () => {
    const levels = [
      { namespace: "" },
      { pool: "rbd", namespace: "" },
      { pool: "a.b", namespace: "team" },
    ];
    const config: Record<string, string> = { log_level: "info" };
    const times = [{ interval: "90m" }, { interval: "1d", start: "13:55:00" }];
    const wanted = levels.flatMap((level) => times.map((time) => ({ ...level, ...time })));
    for (const one of wanted) {
      expect(isScheduleKey(scheduleKey(one))).toBe(true);
      config[scheduleKey(one)] = "1234";
    }
    const found = schedulesOf({ config });
    expect(found).toHaveLength(6);
    for (const one of wanted) expect(found).toContainEqual({ ...one, addedAtMs: 1234 });
    for (const key of ["trash.purge.1s/rbd", "trash.purge.1d@25:00:00/rbd", "trash.purge.1d//ns"]) {
      expect(isScheduleKey(key)).toBe(false);
    }
  });

  it("of a namespace comes before its pool's, and that before the one of all", () => {
    const everywhere = daily;
    const pools = { ...daily, pool: "rbd", interval: "2d" };
    const own = { ...daily, pool: "rbd", namespace: "ns", interval: "3d" };
    const all = [everywhere, pools, own];
    expect(schedulesFor(all, { pool: "rbd", namespace: "ns" })).toEqual([own]);
    expect(schedulesFor(all, { pool: "rbd", namespace: "other" })).toEqual([pools]);
    expect(schedulesFor(all, { pool: "fast", namespace: "" })).toEqual([everywhere]);
    expect(schedulesFor([own], { pool: "fast", namespace: "" })).toEqual([]);
  });

  it("is due on its grid, and not for the time before it was added", () => {
    const now = at("2026-03-01T14:00:00Z");
    expect(lastDueMs([daily], now)).toBe(at("2026-03-01T13:55:00Z"));
    expect(nextDueMs([daily], now)).toBe(at("2026-03-02T13:55:00Z"));
    const late = { ...daily, addedAtMs: at("2026-03-01T13:56:00Z") };
    expect(lastDueMs([late], now)).toBeUndefined();
    expect(nextDueMs([late], now)).toBe(at("2026-03-02T13:55:00Z"));
    const often = { ...daily, interval: "30m", start: undefined };
    expect(nextDueMs([late, often], now)).toBe(at("2026-03-01T14:30:00Z"));
    expect(lastDueMs([late, often], now)).toBe(now);
    expect(nextDueMs([], now)).toBeUndefined();
  });
});
