// Table of the split service: what is split and how, what is refused, and when PGs are spread.
import { describe, expect, it } from "vitest";
import { type Epoch, pgId } from "../../common/units.js";
import type { PgRow } from "../../proto/commands.js";
import { testMap, testPool } from "../../proto/fixtures.js";
import type { MapFlag } from "../../proto/map-flags.js";
import type { PoolInfo } from "../../proto/osd-map.js";
import { planAutoSpread, planSplit, planSpread } from "./split-service.js";

const refusal = (message: RegExp) =>
  expect.objectContaining({ code: "invalid_argument", message: expect.stringMatching(message) });

describe("a split", () => {
  const pool = testPool(1, { name: "rbd", pgNum: 8 });
  const map = testMap(3, { pools: [pool], epoch: 20 as Epoch });

  it("raises pgNum, leaves the placement as it is, and is dated", () => {
    expect(planSplit(map, pool, 16)).toEqual({
      pool: { ...pool, pgNum: 16, pgpNum: 8, splitEpoch: 20 },
      pgTemp: {},
    });
  });

  it("may come before the one before it has been spread", () => {
    const split = { ...pool, pgNum: 16, pgpNum: 8, splitEpoch: 12 as Epoch };
    expect(planSplit(map, split, 64).pool).toEqual({ ...split, pgNum: 64, splitEpoch: 20 });
  });

  it("changes nothing when the pool has as many PGs", () => {
    expect(planSplit(map, pool, 8)).toEqual({ pool, pgTemp: {} });
  });

  it("gives the children of each PG its pg_temp, those of no other pool", () => {
    const pgTemp = { [pgId(1, 0)]: [2, 1], [pgId(1, 7)]: [0], [pgId(2, 3)]: [1] };
    expect(planSplit({ ...map, pgTemp }, pool, 32).pgTemp).toEqual({
      [pgId(1, 8)]: [2, 1],
      [pgId(1, 16)]: [2, 1],
      [pgId(1, 24)]: [2, 1],
      [pgId(1, 15)]: [0],
      [pgId(1, 23)]: [0],
      [pgId(1, 31)]: [0],
    });
  });

  it.each([
    [4, /^PGs cannot be merged: pool "rbd" has 8, not to be made 4$/],
    [12, /^pg_num is a power of two from 1 to 65536, not 12$/],
    [0, /power of two/],
    [131_072, /power of two/],
    [999_999_999, /power of two/],
  ])("into %i PGs is refused", (pgNum, message) => {
    expect(() => planSplit(map, pool, pgNum)).toThrow(refusal(message));
  });
});

describe("pgp_num by hand", () => {
  const pool = testPool(1, { name: "rbd", pgNum: 32, pgpNum: 8, splitEpoch: 5 as Epoch });

  it("is raised up to pg_num, and is not written where it says nothing", () => {
    const { pgpNum: _, ...whole } = pool;
    expect(planSpread(pool, 8)).toEqual(pool);
    expect(planSpread(pool, 16)).toEqual({ ...pool, pgpNum: 16 });
    expect(planSpread(pool, 32)).toEqual(whole);
    expect(planSpread(whole, 32)).toEqual(whole);
  });

  it.each([
    [4, /^pgp_num can only be raised: of pool "rbd" it is 8$/],
    [64, /^pgp_num 64 is above pg_num: pool "rbd" has 32 PGs$/],
    [24, /^pgp_num is a power of two/],
  ])("is refused as %i", (pgpNum, message) => {
    expect(() => planSpread(pool, pgpNum)).toThrow(refusal(message));
  });
});

describe("spreading by itself", () => {
  const split = testPool(1, { name: "rbd", pgNum: 4, pgpNum: 2, splitEpoch: 9 as Epoch });
  const row = (seed: number, more: Partial<PgRow> = {}): PgRow => ({
    pgid: pgId(1, seed),
    pool: "rbd",
    primary: 0,
    state: "active+clean",
    epoch: 9 as Epoch,
    up: [0],
    acting: [0],
    lastUpdate: { epoch: 0 as Epoch, number: 0 },
    objects: 0,
    bytes: 0,
    missing: 0,
    degraded: 0,
    misplaced: 0,
    unfound: 0,
    ...more,
  });
  const plan = (rows: PgRow[], pools: PoolInfo[] = [split], flags: MapFlag[] = []) =>
    planAutoSpread(testMap(3, { pools, flags }), rows)?.pools;
  const clean = [row(0), row(1), row(2, { state: "active+clean+scrubbing+deep" }), row(3)];
  const { pgpNum: _, ...spread } = split;

  it("begins when all PGs of the pool are clean", () => {
    expect(plan(clean)).toEqual([spread]);
  });

  it.each<[string, PgRow[]]>([
    ["one is degraded", [...clean.slice(0, 3), row(3, { state: "active+degraded" })]],
    ["one is not active", [...clean.slice(0, 3), row(3, { state: "peering" })]],
    ["one is not known", [...clean.slice(0, 3), row(3, { state: "unknown" })]],
    ["one was reported before the split", [row(0, { epoch: 8 as Epoch }), ...clean.slice(1)]],
    ["nobody serves one", [...clean.slice(0, 3), row(3, { primary: -1 })]],
    ["one has no row", clean.slice(0, 3)],
    ["the fourth row is another pool's", [...clean.slice(0, 3), row(3, { pool: "other" })]],
  ])("waits while %s", (_what, rows) => {
    expect(plan(rows)).toBeUndefined();
  });

  it.each<MapFlag>(["norebalance", "nobackfill"])("waits while %s is set", (flag) => {
    expect(plan(clean, [split], [flag])).toBeUndefined();
    expect(plan(clean, [split], ["noout"])).toEqual([spread]);
  });

  it("leaves pools alone that are spread, or still being split", () => {
    const other = testPool(2, { name: "other", pgNum: 2, pgpNum: 1, splitEpoch: 9 as Epoch });
    expect(plan(clean, [testPool(1, { name: "rbd", pgNum: 4 })])).toBeUndefined();
    expect(plan(clean, [split, other])).toEqual([spread]);
  });
});
