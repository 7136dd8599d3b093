// Table of the pool service: what is created, and what is refused and why.
import { describe, expect, it } from "vitest";
import { pgId } from "../../common/units.js";
import { testMap, testPool } from "../../proto/fixtures.js";
import { applyChanges } from "../../proto/osd-map.js";
import { planPoolCreate, planPoolRemove, planPoolSet } from "./pool-service.js";

const rules = [{ id: 0, name: "replicated_rule" }];
const map = testMap(3, { pools: [testPool(4, { name: "old" })], nextPoolId: 5 });

describe("pool create", () => {
  it("takes the defaults: 3 copies, 2 needed, about 100 PGs an OSD", () => {
    const { pool, changes } = planPoolCreate(map, { name: "rbd" }, rules);
    expect(pool).toEqual({
      id: 5,
      name: "rbd",
      pgNum: 128,
      size: 3,
      minSize: 2,
      crushRule: 0,
      createdEpoch: map.epoch,
      application: "rbd",
    });
    expect(changes).toEqual({ pools: [pool], nextPoolId: 6 });
  });

  it.each([
    [1, 1],
    [2, 1],
    [3, 2],
    [4, 2],
    [5, 3],
  ])("of size %i needs %i copies by default", (size, minSize) => {
    expect(planPoolCreate(map, { name: "a", size, pgNum: 8 }, rules).pool.minSize).toBe(minSize);
  });

  it.each([
    [{ name: "" }, "invalid_argument", /no pool name/],
    [{ name: "a/b" }, "invalid_argument", /no pool name/],
    [{ name: "old" }, "already_exists", /"old" already/],
    [{ name: "a", pgNum: 12 }, "invalid_argument", /power of two/],
    [{ name: "a", pgNum: 0 }, "invalid_argument", /power of two/],
    [{ name: "a", pgNum: 131_072 }, "invalid_argument", /power of two from 1 to 65536/],
    [{ name: "a", size: 0 }, "invalid_argument", /size is from 1 to 16/],
    [{ name: "a", size: 17 }, "invalid_argument", /size is from 1 to 16/],
    [{ name: "a", size: 2, minSize: 3 }, "invalid_argument", /min_size/],
    [{ name: "a", minSize: 0 }, "invalid_argument", /min_size/],
    [{ name: "a", crushRule: 7 }, "invalid_argument", /no rule 7/],
    [{ name: "a", pgNum: 1024 }, "out_of_range", /3096 copies of PGs on 3 OSDs/],
  ] as const)("refuses %j", (args, code, message) => {
    expect(() => planPoolCreate(map, args, rules)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});

describe("pool rm", () => {
  it("removes the pool and its acting-set overrides", () => {
    const temps = { [pgId(4, 1)]: [0], [pgId(9, 1)]: [1] };
    const changes = planPoolRemove(testMap(3, { pools: map.pools, pgTemp: temps }), "old");
    expect(changes).toEqual({ removedPools: [4], pgTemp: { "4.1": [] } });
  });

  it("takes the schedules of the pool's trash with it", () => {
    const config = {
      "trash.purge.1d/old": "1",
      "trash.purge.6h/old/ns": "2",
      "trash.purge.1d/older": "3",
      "trash.purge.1d/": "4",
    };
    const changes = planPoolRemove(testMap(3, { pools: map.pools, config }), "old");
    expect(changes.config).toEqual({ "trash.purge.1d/old": "", "trash.purge.6h/old/ns": "" });
  });

  it("refuses a pool that is not there", () => {
    expect(() => planPoolRemove(map, "new")).toThrow(/no pool "new"/);
  });
});

describe("pool set", () => {
  it("changes one setting and keeps the others", () => {
    const before = map.pools[0];
    const args = { name: "old", setting: "min_size", value: "1" } as const;
    const { pool, changes } = planPoolSet(map, args, rules);
    expect(pool).toEqual({ ...before, minSize: 1 });
    expect(changes).toEqual({ pools: [pool] });
  });

  it("drops acting sets of the old size", () => {
    const temps = testMap(3, { pools: map.pools, pgTemp: { [pgId(4, 1)]: [0, 1] } });
    const { changes } = planPoolSet(temps, { name: "old", setting: "size", value: "2" }, rules);
    expect(changes.pgTemp).toEqual({ "4.1": [] });
  });

  it("splits and spreads PGs", () => {
    const temps = testMap(3, { pools: map.pools, pgTemp: { [pgId(4, 1)]: [0, 1] } });
    const split = planPoolSet(temps, { name: "old", setting: "pg_num", value: "16" }, rules);
    expect(split.pool).toMatchObject({ pgNum: 16, pgpNum: 8, splitEpoch: temps.epoch });
    expect(split.changes).toEqual({ pools: [split.pool], pgTemp: { "4.9": [0, 1] } });
    const later = applyChanges(temps, split.changes, 1);
    const spread = planPoolSet(later, { name: "old", setting: "pgp_num", value: "16" }, rules);
    expect(spread.changes).toEqual({ pools: [spread.pool] });
    expect(spread.pool).toEqual({ ...map.pools[0], pgNum: 16, splitEpoch: temps.epoch });
  });

  it("has no more PGs than the OSDs can have", () => {
    expect(() => planPoolSet(map, { name: "old", setting: "pg_num", value: "512" }, rules)).toThrow(
      expect.objectContaining({
        code: "out_of_range",
        message: expect.stringMatching(/1536 copies of PGs on 3 OSDs/),
      }),
    );
  });

  it.each([
    ["old", "pg_num", "4", /PGs cannot be merged/],
    ["old", "pgp_num", "16", /above pg_num/],
    ["old", "pgp_num", "4", /pgp_num can only be raised/],
    ["new", "size", "2", /no pool "new"/],
    ["old", "size", "1", /min_size is from 1 to the size 1/],
    ["old", "size", "two", /size is a whole number, not "two"/],
    ["old", "crush_rule", "7", /no rule 7/],
    ["old", "application", "a b", /no application name/],
  ] as const)("refuses %s %s %s", (name, setting, value, message) => {
    expect(() => planPoolSet(map, { name, setting, value }, rules)).toThrow(message);
  });
});
