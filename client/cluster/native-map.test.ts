// OsdMap -> NativeMap: acting sets as the placement rules give them, and no CRUSH run too many.
import { describe, expect, it } from "vitest";
import type { PgId } from "../../common/units.js";
import { makeIncremental, type OsdMap } from "../../proto/osd-map.js";
import type { CrushMapper } from "../../proto/placement.js";
import { testMap } from "../testing/fake-cluster.js";
import { NativeMapBuilder } from "./native-map.js";

/** PG s is on the OSDs s, s + 1, s + 2 (modulo 3), leaving out those that weigh nothing. */
class RotatingCrush implements CrushMapper {
  runs = 0;
  mapPgs(...[, , , pgNum, size, weights]: Parameters<CrushMapper["mapPgs"]>): Int32Array {
    this.runs += 1;
    const rows = Array.from({ length: pgNum }, (_, seed) =>
      Array.from({ length: size }, (_, at) => (seed + at) % 3).map((osd) =>
        weights[osd] === 0 ? -1 : osd,
      ),
    );
    return Int32Array.from(rows.flat());
  }
}

function changed(map: OsdMap, id: number, change: Partial<OsdMap["osds"][number]>): OsdMap {
  const osds = map.osds.filter((osd) => osd.id === id).map((osd) => ({ ...osd, ...change }));
  return makeIncremental(map, { osds }, 1).map;
}

function setup() {
  const crush = new RotatingCrush();
  return { crush, builder: new NativeMapBuilder(crush, () => new Uint8Array()), map: testMap() };
}

describe("NativeMapBuilder", () => {
  it("gives rows of acting sets, and the OSDs that are up", () => {
    const { builder, map } = setup();
    const built = builder.build(map);
    expect(built).toMatchObject({ epoch: 1, paused: false });
    expect(built.pools).toHaveLength(1);
    expect(built.pools[0]).toMatchObject({ id: 1, pgNum: 8, size: 3 });
    expect([...(built.pools[0]?.acting ?? [])].slice(0, 6)).toEqual([0, 1, 2, 1, 2, 0]);
    expect(built.osds[2]).toEqual({
      osd: 2,
      address: { host: "127.0.0.1", port: 6802 },
      incarnation: 3n,
    });
  });

  it("moves up the rest when an OSD is down, without a CRUSH run", () => {
    const { crush, builder, map } = setup();
    builder.build(map);
    const built = builder.build(changed(map, 0, { up: false }));
    expect([...(built.pools[0]?.acting ?? [])].slice(0, 6)).toEqual([1, 2, -1, 1, 2, -1]);
    expect(built.osds.map(({ osd }) => osd)).toEqual([1, 2]);
    expect(crush.runs).toBe(1);
  });

  it("has the PGs of a split pool where their parents are, without a CRUSH run", () => {
    const { crush, builder, map } = setup();
    const before = builder.build(map).pools[0]?.acting ?? [];
    const split = map.pools.map((pool) => ({ ...pool, pgNum: 16, pgpNum: 8 }));
    const next = makeIncremental(map, { pools: split }, 1).map;
    expect(builder.build(next).pools[0]).toMatchObject({ id: 1, pgNum: 16, size: 3 });
    expect([...(builder.build(next).pools[0]?.acting ?? [])]).toEqual([...before, ...before]);
    expect(crush.runs).toBe(1);
    const pools = map.pools.map((pool) => ({ ...pool, pgNum: 16 }));
    const spread = builder.build(makeIncremental(next, { pools }, 2).map).pools[0]?.acting ?? [];
    expect(crush.runs).toBe(2);
    expect([...spread].slice(0, before.length)).toEqual([...before]);
    expect([...spread]).not.toEqual([...before, ...before]);
  });

  it("runs CRUSH again when a weight, the rule or the CRUSH map changes", () => {
    const { crush, builder, map } = setup();
    builder.build(map);
    const out = changed(map, 0, { in: false });
    expect([...(builder.build(out).pools[0]?.acting ?? [])].slice(0, 3)).toEqual([1, 2, -1]);
    expect(crush.runs).toBe(2);
    const newCrush = makeIncremental(out, { crush: "another" }, 2).map;
    builder.build(newCrush);
    expect(crush.runs).toBe(3);
    const pools = newCrush.pools.map((pool) => ({ ...pool, crushRule: 1 }));
    builder.build(makeIncremental(newCrush, { pools }, 3).map);
    expect(crush.runs).toBe(4);
  });

  it("follows pg_temp, the pause flag and removed pools", () => {
    const { builder, map } = setup();
    const pgTemp = { ["1.0" as PgId]: [2, 1] };
    const next = makeIncremental(map, { pgTemp, flags: ["pause"] }, 1).map;
    const built = builder.build(next);
    expect(built.paused).toBe(true);
    expect([...(built.pools[0]?.acting ?? [])].slice(0, 3)).toEqual([2, 1, -1]);
    const removed = makeIncremental(next, { removedPools: [1], pgTemp: { "1.0": [] } }, 2).map;
    expect(builder.build(removed).pools).toEqual([]);
  });
});
