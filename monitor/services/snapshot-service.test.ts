// Table of the snapshot service: ids, removals, and when a removal is forgotten.
import { describe, expect, it } from "vitest";
import { type Epoch, pgId } from "../../common/units.js";
import type { PgRow } from "../../proto/commands.js";
import { testMap, testPool } from "../../proto/fixtures.js";
import { applyChanges, type PoolInfo } from "../../proto/osd-map.js";
import { maxRemovedSnaps, removedAfter, snapsOf } from "../../proto/pool-snaps.js";
import { planSnapAllocate, planSnapForget, planSnapRemove } from "./snapshot-service.js";

const mapWith = (pool: Partial<PoolInfo>) =>
  testMap(3, { pools: [testPool(1, { name: "rbd", pgNum: 2, ...pool })], nextPoolId: 2 });
const refusal = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe("ids", () => {
  it("begin at 1 and are never handed out twice", () => {
    const map = mapWith({});
    const first = planSnapAllocate(map, { pool: "rbd" });
    expect(first).toMatchObject({ id: 1, count: 1 });
    const next = applyChanges(map, first.changes, 1);
    const several = planSnapAllocate(next, { pool: "rbd", count: 5 });
    expect(several).toMatchObject({ id: 2, count: 5 });
    expect(several.changes.pools).toMatchObject([{ name: "rbd", snapSeq: 6 }]);
  });

  it("end where numbers do", () => {
    const map = mapWith({ snapSeq: Number.MAX_SAFE_INTEGER - 1 });
    expect(planSnapAllocate(map, { pool: "rbd" }).id).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => planSnapAllocate(map, { pool: "rbd", count: 2 })).toThrow(
      refusal("out_of_range", /used up/),
    );
  });

  it("are of a pool that exists", () => {
    expect(() => planSnapAllocate(mapWith({}), { pool: "x" })).toThrow(
      refusal("not_found", /no pool "x"/),
    );
  });
});

describe("removal", () => {
  const map = mapWith({ snapSeq: 9, removedSnaps: [4, 2], snapRemovals: 7 });

  it("keeps the order, and each id once", () => {
    const changes = planSnapRemove(map, { pool: "rbd", ids: [8, 2, 3, 8] });
    expect(changes?.pools).toEqual([
      { ...map.pools[0], removedSnaps: [4, 2, 8, 3], snapRemovals: 9 },
    ]);
  });

  it("changes nothing when it has begun already", () => {
    expect(planSnapRemove(map, { pool: "rbd", ids: [2, 4] })).toBeUndefined();
  });

  it("is refused for ids that were never handed out, and beyond the limit", () => {
    expect(() => planSnapRemove(map, { pool: "rbd", ids: [3, 10] })).toThrow(
      refusal("invalid_argument", /no snapshot 10: its newest one is 9/),
    );
    expect(() => planSnapRemove(map, { pool: "x", ids: [3] })).toThrow(/no pool "x"/);
    const removedSnaps = Array.from({ length: maxRemovedSnaps }, (_, index) => index + 1);
    const full = mapWith({ snapSeq: 99_999, removedSnaps, snapRemovals: maxRemovedSnaps });
    expect(() => planSnapRemove(full, { pool: "rbd", ids: [99_999] })).toThrow(
      refusal("busy", /still removing 16384/),
    );
    expect(planSnapRemove(full, { pool: "rbd", ids: [5] })).toBeUndefined();
  });
});

describe("forgetting", () => {
  // Removals 6, 7 and 8.
  const map = mapWith({ snapSeq: 9, removedSnaps: [4, 2, 5], snapRemovals: 8 });
  const row = (seed: number, snapTrimmed?: number, more: Partial<PgRow> = {}): PgRow => ({
    pgid: pgId(1, seed),
    pool: "rbd",
    primary: 0,
    state: "active+clean",
    epoch: 3 as Epoch,
    up: [0],
    acting: [0],
    lastUpdate: { epoch: 0 as Epoch, number: 0 },
    objects: 0,
    bytes: 0,
    missing: 0,
    degraded: 0,
    misplaced: 0,
    unfound: 0,
    ...(snapTrimmed !== undefined && { snapTrimmed }),
    ...more,
  });
  const left = (rows: PgRow[]) => planSnapForget(map, rows)?.pools?.map((pool) => snapsOf(pool));

  it("takes away what all PGs are through with, the number of removals stays", () => {
    expect(left([row(0, 8), row(1, 7)])).toMatchObject([{ seq: 9, removed: [5], removals: 8 }]);
    expect(left([row(0, 8), row(1, 8, { state: "active+undersized+degraded" })])).toMatchObject([
      { seq: 9, removed: [], removals: 8 },
    ]);
  });

  it("keeps the ids for those who have not heard of it", () => {
    const all = [row(0, 8), row(1, 8)];
    const first = planSnapForget(map, all);
    expect(first?.pools?.[0]?.purgedSnaps).toEqual([
      [2, 2],
      [4, 5],
    ]);
    const later = applyChanges(map, first ?? {}, 1);
    const removed = applyChanges(
      later,
      planSnapRemove(later, { pool: "rbd", ids: [3, 9] }) ?? {},
      2,
    );
    const trimmed = [row(0, 10), row(1, 10)];
    const [pool] = planSnapForget(removed, trimmed)?.pools ?? [];
    expect(pool?.purgedSnaps).toEqual([
      [2, 5],
      [9, 9],
    ]);
  });

  it.each([
    ["a PG is not through with the oldest one", [row(0, 8), row(1, 5)]],
    ["a PG has not said yet", [row(0, 8), row(1)]],
    ["a PG is down", [row(0, 8), row(1, 8, { primary: -1, state: "stale+active+clean" })]],
    ["a PG is not active", [row(0, 8), row(1, 8, { state: "peering" })]],
    ["its primary has not reported", [row(0, 8), row(1, 8, { state: "unknown" })]],
    ["a PG is not there", [row(0, 8)]],
    ["the other PG is of another pool", [row(0, 8), row(1, 8, { pool: "other" })]],
  ])("takes nothing away when %s", (_, rows) => {
    expect(left(rows)).toBeUndefined();
  });

  it("tells a PG which ids it still has to look for", () => {
    const snaps = snapsOf(map.pools[0] as PoolInfo);
    expect([0, 5, 6, 7, 8, 9].map((number) => removedAfter(snaps, number))).toEqual([
      [4, 2, 5],
      [4, 2, 5],
      [2, 5],
      [5],
      [],
      [],
    ]);
  });
});
