// What the cluster log says of changes of the map and of health.
import { describe, expect, it } from "vitest";
import type { Health, HealthLevel } from "../../proto/commands.js";
import { emptyMap, testOsd, testPool } from "../../proto/fixtures.js";
import { healthEvents, mapEvents } from "./cluster-events.js";

const messages = (before: Parameters<typeof emptyMap>[0], after: typeof before) =>
  mapEvents(emptyMap(before), emptyMap(after)).map(({ level, message }) => `${level}: ${message}`);

describe("mapEvents", () => {
  it("says nothing of a map that shows nothing new", () => {
    const same = { osds: [testOsd(0)], pools: [testPool(1)] };
    expect(messages(same, same)).toEqual([]);
  });

  it("tells of OSDs that come, go, fail and fill up", () => {
    const up = testOsd(0);
    const host = up.host;
    expect(messages({}, { osds: [up] })).toEqual([
      `info: osd.0 (host ${host}) is new`,
      "info: osd.0 is up",
    ]);
    expect(messages({ osds: [up] }, { osds: [{ ...up, up: false }] })).toEqual([
      "warn: osd.0 is down",
    ]);
    const out = { ...up, up: false, in: false, autoOut: true };
    expect(messages({ osds: [{ ...up, up: false }] }, { osds: [out] })).toEqual([
      "warn: osd.0 is out (down for too long)",
    ]);
    expect(messages({ osds: [out] }, { osds: [{ ...up, in: true }] })).toEqual([
      "info: osd.0 is up",
      "info: osd.0 is in again",
    ]);
    const failed = { ...up, failed: { code: "io_error", message: "the disk is gone" } };
    expect(messages({ osds: [up] }, { osds: [failed] })).toEqual([
      "error: osd.0 has failed: the disk is gone",
    ]);
    expect(messages({ osds: [up] }, { osds: [{ ...up, fullState: "full" }] })).toEqual([
      "error: osd.0 is full",
    ]);
  });

  it("tells of pools, flags and settings", () => {
    const pool = testPool(1);
    expect(messages({}, { pools: [pool], flags: ["noout"] })).toEqual([
      `info: pool ${pool.name} (1) created: size ${pool.size}, ${pool.pgNum} PGs`,
      "info: flag noout is set",
    ]);
    expect(messages({ pools: [pool] }, { pools: [{ ...pool, minSize: 1 }] })).toEqual([
      `info: pool ${pool.name}: minSize is 1, was ${pool.minSize}`,
    ]);
    const split = { ...pool, pgNum: 16, pgpNum: 8 };
    expect(messages({ pools: [pool] }, { pools: [split] })).toEqual([
      `info: pool ${pool.name}: pg_num 8 -> 16`,
    ]);
    expect(messages({ pools: [split] }, { pools: [{ ...pool, pgNum: 16 }] })).toEqual([
      `info: pool ${pool.name}: pgp_num 8 -> 16`,
    ]);
    expect(messages({ pools: [pool], config: { log_level: "debug" } }, {})).toEqual([
      `info: pool ${pool.name} (1) removed`,
      "info: setting log_level is taken away",
    ]);
  });
});

describe("healthEvents", () => {
  const health = (status: HealthLevel, ...checks: [name: string, summary: string][]): Health => ({
    status,
    checks: checks.map(([name, summary]) => ({
      name,
      severity: status,
      summary,
      remedy: "",
      detail: [],
    })),
  });

  it("tells of checks that begin and cease to fail, not of their figures", () => {
    const fine = health("HEALTH_OK");
    const one = health("HEALTH_WARN", ["PG_DEGRADED", "1 PG"]);
    const two = health("HEALTH_WARN", ["PG_DEGRADED", "2 PGs"]);
    const texts = (before: Health, after: Health) =>
      healthEvents(before, after).map(({ level, message }) => `${level}: ${message}`);
    expect(texts(fine, one)).toEqual([
      "warn: PG_DEGRADED: 1 PG",
      "warn: health is HEALTH_WARN, was HEALTH_OK",
    ]);
    expect(texts(one, two)).toEqual([]);
    expect(texts(two, fine)).toEqual([
      "info: PG_DEGRADED has cleared",
      "info: health is HEALTH_OK, was HEALTH_WARN",
    ]);
  });
});
