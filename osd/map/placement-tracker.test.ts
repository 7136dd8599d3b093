// Intervals from maps: when one begins, what is remembered of the last one, what a gap leaves.
import { describe, expect, it } from "vitest";
import { epoch, type PgId, pgId } from "../../common/units.js";
import { emptyMap, testOsd, testPool } from "../../proto/fixtures.js";
import { firstEpochOf } from "../../proto/generation.js";
import {
  findOsd,
  type Incremental,
  type MapChanges,
  makeIncremental,
  type OsdInfo,
  type OsdMap,
  sealed,
} from "../../proto/osd-map.js";
import { mapsAfter } from "./map-chain.js";
import { decodePgRecord, encodePgRecord } from "./pg-record.js";
import { type CrushPort, PlacementTracker } from "./placement-tracker.js";

const pg = pgId(1, 0);

/** CRUSH that puts every PG on the same OSDs, and counts how often it is asked. */
class FixedCrush implements CrushPort {
  asked = 0;
  compiled = 0;
  order = [0, 1, 2];
  compile = () => {
    this.compiled += 1;
    return new Uint8Array();
  };
  mapper = {
    mapPgs: (_crush: Uint8Array, _rule: number, _pool: number, pgNum: number) => {
      this.asked += 1;
      return Int32Array.from(Array.from({ length: pgNum }, () => this.order).flat());
    },
  };
}

function firstMap(): OsdMap {
  const osds = [0, 1, 2].map((id) => testOsd(id));
  return emptyMap({ maxOsd: 3, osds });
}

function changed(map: OsdMap, changes: MapChanges): OsdMap {
  return makeIncremental(map, changes, 0).map;
}

function withOsd(map: OsdMap, id: number, change: Partial<OsdInfo>): OsdMap {
  const osd = findOsd(map, id);
  if (osd === undefined) throw new Error(`no osd.${id}`);
  return changed(map, { osds: [{ ...osd, ...change }] });
}

/** A tracker of osd.1 that has seen the pool being made in epoch 2. */
function started() {
  const crush = new FixedCrush();
  const tracker = new PlacementTracker(1, crush);
  tracker.advance(firstMap(), false);
  const map = changed(firstMap(), {
    pools: [testPool(1, { pgNum: 1, createdEpoch: epoch(2) })],
    nextPoolId: 2,
  });
  const advance = tracker.advance(map, true);
  return { crush, tracker, map, advance, record: (id: PgId = pg) => tracker.records.get(id) };
}

describe("a map that nothing can be placed by", () => {
  it("is refused, and leaves all as it was", () => {
    const { crush, tracker, map, record } = started();
    const before = record();
    const second = testPool(2, { pgNum: 1, createdEpoch: epoch(3), crushRule: 7 });
    const moved = testPool(1, { pgNum: 1, createdEpoch: epoch(2), size: 2 });
    const { mapPgs } = crush.mapper;
    crush.mapper.mapPgs = (bytes, rule, pool, pgNum) => {
      if (rule === 7) throw new Error("no rule 7");
      return mapPgs(bytes, rule, pool, pgNum);
    };
    crush.order = [0, 1];
    const bad = changed(map, { pools: [moved, second], nextPoolId: 3 });
    expect(() => tracker.advance(bad, true)).toThrow("map 3 cannot place pool pool2: no rule 7");
    expect(record()).toBe(before);
    // What the refused map would have changed is seen in the next one.
    const good = changed(map, { pools: [moved], nextPoolId: 3 });
    expect([...tracker.advance(good, true).changed]).toEqual([pg]);
    expect(record()?.interval).toMatchObject({ first: 3, size: 2 });
  });
});

describe("an interval", () => {
  it("of a new pool begins with its epoch and has no past", () => {
    const { advance, record } = started();
    expect([...advance.changed]).toEqual([pg]);
    expect(record()).toMatchObject({
      interval: { first: 2, acting: [0, 1, 2] },
      history: { since: 2, intervals: [] },
    });
  });

  it("goes on through maps that do not concern it, and CRUSH is not asked", () => {
    const { crush, tracker, map, record } = started();
    const before = record();
    const { asked } = crush;
    const next = withOsd(map, 0, { upThru: epoch(2) });
    expect(tracker.advance(next, true).changed.size).toBe(0);
    expect(record()).toBe(before);
    expect(crush.asked).toBe(asked);
  });

  it("ends when a member goes down; the past one may have been active if up_thru says so", () => {
    const { tracker, map, record } = started();
    const alive = withOsd(map, 0, { upThru: epoch(2) });
    tracker.advance(alive, true);
    tracker.advance(withOsd(alive, 2, { up: false }), true);
    expect(record()).toMatchObject({
      interval: { first: 4, acting: [0, 1] },
      history: {
        since: 2,
        intervals: [{ first: 2, last: 3, acting: [0, 1, 2], maybeActive: true }],
      },
    });
    const { tracker: other, map: same } = started();
    other.advance(withOsd(same, 2, { up: false }), true);
    expect(other.records.get(pg)?.history.intervals[0]?.maybeActive).toBe(false);
  });

  it("ends when a member is a new incarnation, though the set is the same", () => {
    const { tracker, map, record } = started();
    tracker.advance(withOsd(map, 2, { incarnation: "77", upFrom: epoch(3) }), true);
    expect(record()?.interval).toMatchObject({ first: 3, acting: [0, 1, 2] });
  });

  it("ends when the pool's size or min_size changes, or pg_temp is set", () => {
    const { tracker, map, record } = started();
    const pool = testPool(1, { pgNum: 1, createdEpoch: epoch(2), minSize: 1 });
    const smaller = changed(map, { pools: [pool] });
    tracker.advance(smaller, true);
    expect(record()?.interval).toMatchObject({ first: 3, minSize: 1 });
    tracker.advance(changed(smaller, { pgTemp: { [pg]: [1, 0] } as Record<PgId, number[]> }), true);
    expect(record()?.interval).toMatchObject({ first: 4, up: [0, 1, 2], acting: [1, 0] });
  });

  it("of a PG that comes here later has an unknown past", () => {
    const { crush, tracker, map } = started();
    const late = new PlacementTracker(5, crush);
    late.advance(map, false);
    expect(late.records.size).toBe(0);
    crush.order = [0, 1, 5];
    const moved = changed(map, { osds: [testOsd(5)], maxOsd: 6 });
    late.advance(moved, true);
    tracker.advance(moved, true);
    expect(late.records.get(pg)).toMatchObject({
      interval: { first: 3 },
      history: { since: 2, intervals: [{ first: 2, last: 2, unknown: true }] },
    });
    expect(tracker.records.get(pg)?.history.intervals).toMatchObject([
      { first: 2, last: 2, acting: [0, 1, 2] },
    ]);
  });
});

describe("a gap in the maps", () => {
  it("ends the interval where it was last seen; its successor's beginning is told later", () => {
    const { tracker, map, record } = started();
    let later = map;
    for (let i = 0; i < 5; i++) later = withOsd(later, 0, { upThru: epoch(2 + i) });
    tracker.advance(later, false);
    expect(record()).toMatchObject({ interval: { first: 0 }, unknownFrom: 3 });
    tracker.tell(pg, 6);
    expect(record()).toMatchObject({
      interval: { first: 6 },
      history: {
        since: 2,
        intervals: [
          { first: 2, last: 2, acting: [0, 1, 2] },
          { first: 3, last: 5, unknown: true },
        ],
      },
    });
  });

  it("that nobody tells about becomes unknown as a whole", () => {
    const { tracker, map, record } = started();
    const later = withOsd(withOsd(map, 0, { upThru: epoch(2) }), 0, { upThru: epoch(3) });
    tracker.advance(later, false);
    tracker.advance(withOsd(later, 2, { up: false }), true);
    expect(record()).toMatchObject({
      interval: { first: 5 },
      history: {
        intervals: [
          { first: 2, last: 2 },
          { first: 3, last: 4, unknown: true },
        ],
      },
    });
  });
});

describe("restart", () => {
  it("goes on with the stored records", () => {
    const { crush, map, record } = started();
    const stored = decodePgRecord(encodePgRecord(record() as never));
    const again = new PlacementTracker(1, crush);
    again.restore(map, new Map([[pg, stored]]));
    expect(again.advance(withOsd(map, 0, { upThru: epoch(2) }), true).changed.size).toBe(0);
    expect(again.records.get(pg)).toEqual(record());
  });

  it("without a record knows nothing of the past", () => {
    const { crush, map } = started();
    const again = new PlacementTracker(1, crush);
    again.restore(map, new Map());
    again.adopt(pg);
    expect(again.records.get(pg)).toMatchObject({ interval: { first: 0 }, unknownFrom: 2 });
  });

  it("refuses a damaged record", () => {
    expect(() => decodePgRecord('{"history":1}')).toThrow(
      expect.objectContaining({ code: "corrupt" }),
    );
  });
});

it("a removed pool takes its PGs along", () => {
  const { tracker, map } = started();
  const { removed } = tracker.advance(changed(map, { removedPools: [1] }), true);
  expect([...removed]).toEqual([pg]);
  expect(tracker.records.size).toBe(0);
});

describe("the map chain", () => {
  const first = firstMap();
  const made: Incremental[] = [];
  let newest = first;
  for (let i = 1; i <= 3; i++) {
    const next = makeIncremental(newest, { config: { log_level: `${i}` } }, i);
    made.push(next.incremental);
    newest = next.map;
  }
  const maps = (incrementals: Incremental[], full?: OsdMap) =>
    ({ kind: "maps", incrementals, ...(full === undefined ? {} : { full }) }) as const;

  it("passes over what is known, and goes on in order", () => {
    const steps = mapsAfter(first, maps(made));
    expect(steps.map(({ map, contiguous }) => [map.epoch, contiguous])).toEqual([
      [2, true],
      [3, true],
      [4, true],
    ]);
    expect(mapsAfter(newest, maps(made, first))).toEqual([]);
  });

  it("says when a full map leaves a gap", () => {
    expect(mapsAfter(undefined, maps([], newest))).toEqual([{ map: newest, contiguous: false }]);
    expect(mapsAfter(first, maps([], newest))).toMatchObject([{ contiguous: false }]);
  });

  it.each([
    ["a gap", () => mapsAfter(first, maps(made.slice(1)))],
    ["a fork", () => mapsAfter(changed(first, { flags: ["pause"] }), maps(made.slice(1)))],
    ["no full map", () => mapsAfter(undefined, maps(made))],
    ["a wrong hash", () => mapsAfter(undefined, maps([], { ...newest, maxOsd: 9 }))],
  ])("refuses %s", (_what, run) => {
    expect(run).toThrow(expect.objectContaining({ code: "corrupt" }));
  });

  const rebuiltFrom = (map: OsdMap, epochs = 0) => {
    const fromEpoch = epoch(map.epoch + epochs);
    const rebuilds = [{ generation: 1, fromEpoch, fromHash: map.hash }];
    return sealed({ ...map, epoch: firstEpochOf(1), rebuilds });
  };

  it("jumps to a new generation, as over a gap", () => {
    const rebuilt = rebuiltFrom(newest);
    expect(mapsAfter(newest, maps([], rebuilt))).toEqual([{ map: rebuilt, contiguous: false }]);
    expect(mapsAfter(first, maps([], rebuilt))).toHaveLength(1);
  });

  it.each([
    ["made without what we have", () => mapsAfter(newest, maps([], rebuiltFrom(newest, -1)))],
    ["older than our generation", () => mapsAfter(rebuiltFrom(newest), maps([], newest))],
  ])("refuses for good a map %s", (_what, run) => {
    expect(run).toThrow(expect.objectContaining({ code: "wrong_cluster" }));
  });
});

describe("more PGs of a pool", () => {
  const grown = (map: OsdMap, pgNum: number, changes: MapChanges = {}) =>
    changed(map, { pools: [testPool(1, { pgNum, createdEpoch: epoch(2) })], ...changes });

  it("begin where their parent is, with its past", () => {
    const { tracker, map, record } = started();
    const alive = withOsd(map, 0, { upThru: epoch(2) });
    tracker.advance(alive, true);
    const { changed: touched } = tracker.advance(grown(alive, 4), true);
    expect([...touched].sort()).toEqual([0, 1, 2, 3].map((seed) => pgId(1, seed)));
    for (const seed of [0, 1, 2, 3]) {
      expect(record(pgId(1, seed))).toMatchObject({
        interval: { first: 4, acting: [0, 1, 2] },
        history: { since: 2, intervals: [{ first: 2, last: 3, acting: [0, 1, 2] }] },
      });
      expect(tracker.pgNums.get(pgId(1, seed))).toBe(4);
    }
  });

  it("are followed by a copy that serves nobody: it has their objects", () => {
    const { crush, tracker, map, record } = started();
    crush.order = [0, 2, -1];
    const without = changed(map, { crush: "another" });
    tracker.advance(without, true);
    tracker.advance(grown(without, 2), true);
    const intervals = [{ first: 2, last: 2, acting: [0, 1, 2] }, { first: 3 }];
    expect(record(pgId(1, 1))).toMatchObject({ interval: { first: 4 }, history: { intervals } });
  });

  it("behind a gap have the same past as their parent", () => {
    const { tracker, map, record } = started();
    const later = grown(withOsd(map, 0, { upThru: epoch(2) }), 2);
    tracker.advance(later, false);
    expect(record(pgId(1, 1))).toEqual(record());
    expect(record()?.interval.first).toBe(0);
  });

  it("are placed anew when pgp_num follows", () => {
    const { crush, tracker, map, record } = started();
    const pool = testPool(1, { pgNum: 2, pgpNum: 1, createdEpoch: epoch(2) });
    const split = changed(map, { pools: [pool] });
    tracker.advance(split, true);
    const { mapPgs } = crush.mapper;
    crush.mapper.mapPgs = (bytes, rule, id, pgNum) =>
      pgNum === 1 ? mapPgs(bytes, rule, id, pgNum) : Int32Array.of(0, 1, 2, 1, 2, 0);
    const { pgpNum, ...spread } = pool;
    expect(pgpNum).toBe(1);
    expect([...tracker.advance(changed(split, { pools: [spread] }), true).changed]).toEqual([
      pgId(1, 1),
    ]);
    expect(record(pgId(1, 1))?.interval.acting).toEqual([1, 2, 0]);
  });

  it("that were made and are gone again stay gone", () => {
    const { tracker, map } = started();
    const four = grown(map, 4);
    tracker.advance(four, true);
    tracker.forget(pgId(1, 3));
    const next = withOsd(four, 2, { upThru: epoch(4) });
    tracker.advance(next, true);
    expect(tracker.records.has(pgId(1, 3))).toBe(false);
  });
});
