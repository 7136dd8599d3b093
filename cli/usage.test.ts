// The figures of `cairn df` and `cairn osd df`.
import { expect, it } from "vitest";
import type { OsdRow, PgRow } from "../proto/commands.js";
import { testPool } from "../proto/fixtures.js";
import { clusterUsage, osdUsage } from "./usage.js";

const osd = (id: number, usedBytes: number | undefined, isIn = true): OsdRow =>
  ({
    id,
    up: isIn,
    in: isIn,
    weight: 1,
    deviceClass: "ssd",
    sizeBytes: 1000,
    ...(usedBytes === undefined ? {} : { usedBytes }),
  }) as OsdRow;

const pg = (pool: string, bytes: number, acting: number[]): PgRow =>
  ({ pool, bytes, acting, objects: bytes / 10 }) as PgRow;

it("adds up what pools store, and what is left for them", () => {
  const pools = [{ ...testPool(1), name: "rbd", size: 2, pgNum: 8 }];
  const pgs = [pg("rbd", 100, [0, 1]), pg("rbd", 50, [1]), pg("other", 1000, [0])];
  const usage = clusterUsage(pools, pgs, [osd(0, 400), osd(1, 600), osd(2, 999, false)], 0.9);
  expect(usage.raw).toEqual({ sizeBytes: 2000, usedBytes: 1000, availBytes: 1000, usedShare: 0.5 });
  expect(usage.pools).toEqual([
    {
      pool: "rbd",
      id: 1,
      pgs: 8,
      storedBytes: 150,
      usedBytes: 250,
      objects: 15,
      // 500 and 300 up to the full ratio: each takes one of the two copies
      maxAvailBytes: 300,
      usedShare: 150 / 450,
    },
  ]);
});

it("shows OSDs beside their mean; one without a report has no figures", () => {
  const rows = osdUsage(
    [osd(0, 750), osd(1, 250), osd(2, undefined, false)],
    [pg("rbd", 1, [0, 1]), pg("rbd", 1, [0])],
  );
  expect(rows.map(({ usedShare, variance, pgs }) => [usedShare, variance, pgs])).toEqual([
    [0.75, 1.5, 2],
    [0.25, 0.5, 1],
    [undefined, undefined, 0],
  ]);
});
