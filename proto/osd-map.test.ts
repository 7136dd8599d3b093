// Tests of the cluster map: the hash chain, diff and apply, placement.
import { describe, expect, it } from "vitest";
import { type Epoch, pgId } from "../common/units.js";
import { emptyMap, testMap, testOsd, testPool } from "./fixtures.js";
import {
  applyIncremental,
  checkHash,
  diff,
  hashOf,
  type Incremental,
  type MapChanges,
  makeIncremental,
  type OsdMap,
  sealed,
} from "./osd-map.js";
import { allPlacements, type CrushMapper, crushWeights, placementOf } from "./placement.js";

const corrupt = (message: RegExp) =>
  expect.objectContaining({ code: "corrupt", message: expect.stringMatching(message) });

describe("the map chain", () => {
  const map = testMap(3);
  const one = makeIncremental(map, { flags: ["noout"] }, 5);
  const two = makeIncremental(one.map, { osds: [testOsd(1, { up: false })] }, 6);

  it("leads from map to map", () => {
    expect(applyIncremental(map, one.incremental)).toEqual(one.map);
    expect(applyIncremental(one.map, two.incremental)).toEqual(two.map);
    expect(two.map).toMatchObject({ epoch: 3, previousHash: one.map.hash, modifiedAt: 6 });
  });

  it("refuses a gap, a repetition, a fork", () => {
    expect(() => applyIncremental(map, two.incremental)).toThrow(corrupt(/gap/));
    expect(() => applyIncremental(one.map, one.incremental)).toThrow(corrupt(/gap/));
    const other = makeIncremental(map, { flags: ["nodown"] }, 5);
    expect(() => applyIncremental(other.map, two.incremental)).toThrow(corrupt(/fork/));
  });

  it("refuses changes that do not give the named hash", () => {
    const forged: Incremental = { ...one.incremental, changes: { flags: ["pause"] } };
    expect(() => applyIncremental(map, forged)).toThrow(corrupt(/hash/));
    expect(() => checkHash({ ...map, flags: ["pause"] })).toThrow(corrupt(/hash/));
  });

  it("hashes values, not the order of keys", () => {
    const turned = Object.fromEntries(Object.entries(map).reverse()) as unknown as OsdMap;
    expect(hashOf(turned)).toBe(map.hash);
    expect(hashOf({ ...map, epoch: 2 as Epoch })).not.toBe(map.hash);
  });
});

describe("diff", () => {
  const full = testMap(3, {
    pools: [testPool(1), testPool(2)],
    nextPoolId: 3,
    pgTemp: { [pgId(1, 0)]: [0, 1] },
    config: { log_level: "info" },
  });
  const variants: [string, Partial<OsdMap>, (keyof MapChanges)[]][] = [
    ["nothing", {}, []],
    ["flags", { flags: ["noout"] }, ["flags"]],
    ["the CRUSH map", { crush: "# other\n" }, ["crush"]],
    ["an OSD", { osds: [testOsd(0), testOsd(1, { up: false }), testOsd(2)] }, ["osds"]],
    ["an OSD gone", { osds: [testOsd(0), testOsd(2)] }, ["removedOsds"]],
    ["an OSD more", { maxOsd: 4, osds: [...full.osds, testOsd(3)] }, ["maxOsd", "osds"]],
    ["a pool gone", { pools: [testPool(2)] }, ["removedPools"]],
    ["a pool renamed", { pools: [testPool(1, { name: "x" }), testPool(2)] }, ["pools"]],
    ["pg_temp", { pgTemp: { [pgId(1, 1)]: [2] } }, ["pgTemp"]],
    ["a setting gone", { config: {} }, ["config"]],
    ["all of it", { ...emptyMap(), maxOsd: 0 }, []],
  ];
  it.each(variants)("of %s leads from one to the other", (_, overrides, keys) => {
    const to = sealed({ ...full, ...overrides });
    const changes = diff(full, to);
    if (keys.length > 0 || Object.keys(overrides).length === 0) {
      expect(Object.keys(changes).sort()).toEqual([...keys].sort());
    }
    const made = makeIncremental(full, changes, full.modifiedAt).map;
    const same = { ...to, epoch: made.epoch, previousHash: full.hash, createdAt: full.createdAt };
    expect(made).toEqual(sealed({ ...same, modifiedAt: made.modifiedAt }));
  });
});

describe("placement", () => {
  const isUp = new Set([0, 2, 3]);
  const map = testMap(4);

  it("leaves out holes and OSDs that are down, keeping the order", () => {
    const placed = placementOf(pgId(1, 0), [2, 1, 0x7fffffff, 0], map, isUp);
    expect(placed).toEqual({ pgid: "1.0", up: [2, 0], acting: [2, 0], primary: 2 });
  });

  it("takes pg_temp as the acting set, unless all of it is down", () => {
    const temp = testMap(4, { pgTemp: { [pgId(1, 0)]: [3, 1], [pgId(1, 1)]: [1] } });
    expect(placementOf(pgId(1, 0), [2, 0], temp, isUp)).toMatchObject({
      up: [2, 0],
      acting: [3],
      primary: 3,
    });
    expect(placementOf(pgId(1, 1), [2, 0], temp, isUp)).toMatchObject({ acting: [2, 0] });
  });

  it("has no primary when no OSD is up", () => {
    expect(placementOf(pgId(1, 0), [1], map, isUp)).toMatchObject({ acting: [], primary: -1 });
  });

  it("weighs OSDs that are out or unknown as 0, and asks CRUSH once for each pool", () => {
    const osds = [testOsd(0), testOsd(2, { in: false }), testOsd(3, { weight: 0x8000 })];
    const some = testMap(0, { osds, maxOsd: 4, pools: [testPool(1), testPool(7, { size: 2 })] });
    expect([...crushWeights(some)]).toEqual([0x10000, 0, 0, 0x8000]);
    const asked: unknown[] = [];
    const mapper: CrushMapper = {
      mapPgs(_compiled, ruleId, poolId, pgNum, size) {
        asked.push([ruleId, poolId, pgNum, size]);
        return new Int32Array(pgNum * size).map((_, at) => (at % 2 === 0 ? 3 : 0));
      },
    };
    const placed = allPlacements(some, new Uint8Array(), mapper);
    expect(asked).toEqual([
      [0, 1, 8, 3],
      [0, 7, 8, 2],
    ]);
    expect(placed.size).toBe(16);
    expect(placed.get(pgId(7, 5))).toMatchObject({ up: [3, 0], primary: 3 });
  });
});
