// The first map of a new generation: what it is made of, and what is refused.
import { describe, expect, it } from "vitest";
import { epoch, pgId } from "../common/units.js";
import { testClusterId, testMap, testOsd, testPool } from "../proto/fixtures.js";
import { checkFollows, firstEpochOf } from "../proto/generation.js";
import { checkHash, makeIncremental, noHash, type OsdMap } from "../proto/osd-map.js";
import { RecentMaps } from "./map-history.js";
import { planRebuild, type RebuildSource } from "./rebuild.js";

const older = testMap(3, { epoch: epoch(40), pools: [testPool(1)], nextPoolId: 2 });
const newer = makeIncremental(
  older,
  { config: { log_level: "debug" }, pgTemp: { [pgId(1, 0)]: [2] } },
  1,
).map;

const source = (osd: number, map: OsdMap, overrides: Partial<RebuildSource> = {}) => ({
  osd,
  storeId: testOsd(osd).uuid,
  clusterId: testClusterId,
  map,
  pools: [1],
  ...overrides,
});
const all = [source(0, older), source(1, newer), source(2, newer)];
const options = { without: [], acceptLoss: false, wallMs: 5 };
const refusal = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe("a rebuilt map", () => {
  const made = planRebuild(all, options);

  it("is the newest one of all, with all OSDs down, in the next generation", () => {
    checkHash(made.map);
    expect(made).toMatchObject({ fromEpoch: 41, fromOsds: [1, 2] });
    expect(made.map).toMatchObject({
      epoch: firstEpochOf(1),
      previousHash: noHash,
      config: { log_level: "debug" },
      pools: older.pools,
      pgTemp: {},
      rebuilds: [{ generation: 1, fromEpoch: 41, fromHash: newer.hash }],
    });
    for (const osd of made.map.osds) {
      expect(osd).toMatchObject({ up: false, in: true, downAt: firstEpochOf(1) });
    }
    expect(made.notRecovered).toEqual([expect.stringMatching(/changed after epoch 41$/)]);
  });

  it("leaves a pool that is being split as it was found", () => {
    const split = testPool(1, { pgNum: 16, pgpNum: 8, splitEpoch: epoch(41) });
    const map = makeIncremental(older, { pools: [split] }, 1).map;
    const rebuilt = planRebuild([source(0, map), source(1, map), source(2, older)], options);
    expect(rebuilt.map.pools).toMatchObject([split]);
  });

  it("may be followed by all who gave a map, and is served to them in full", () => {
    for (const { map } of all) expect(() => checkFollows(made.map, map)).not.toThrow();
    const recent = new RecentMaps({ base: made.map, incrementals: [] });
    expect(recent.since(42, newer.hash)).toMatchObject({ full: { epoch: firstEpochOf(1) } });
    const lost = makeIncremental(newer, { flags: ["noout"] }, 2).map;
    expect(() => recent.since(lost.epoch + 1, lost.hash)).toThrow(
      refusal("wrong_cluster", /epoch 42 is newer/),
    );
  });

  it("begins the generation after the highest one, and keeps the record of those before", () => {
    const again = planRebuild([...all.slice(0, 2), source(2, made.map)], options);
    expect(again.map.epoch).toBe(firstEpochOf(2));
    expect(again.map.rebuilds).toEqual([
      ...(made.map.rebuilds ?? []),
      { generation: 2, fromEpoch: made.map.epoch, fromHash: made.map.hash },
    ]);
  });
});

describe("snapshot ids", () => {
  const rebuilt = (snapSeq: number, generations: number) => {
    let map = testMap(1, {
      nextPoolId: 2,
      pools: [testPool(1, { snapSeq, removedSnaps: [2], snapRemovals: 4 })],
    });
    for (let n = 0; n < generations; n++) map = planRebuild([source(0, map)], options).map;
    return map.pools[0];
  };

  it("are above all that the lost monitor can have handed out, whatever map was found", () => {
    expect(rebuilt(7, 1)).toMatchObject({ snapSeq: 2 ** 32, removedSnaps: [2], snapRemovals: 4 });
    expect(rebuilt(7, 2)?.snapSeq).toBe(2 * 2 ** 32);
    expect(rebuilt(2 ** 32, 1)?.snapSeq).toBe(2 * 2 ** 32);
  });
});

describe("refused is", () => {
  it.each<[string, RebuildSource[], string, RegExp]>([
    ["nothing at all", [], "invalid_argument", /no OSD/],
    ["an OSD that was up missing", all.slice(1), "invalid_argument", /osd.0 ran/],
    [
      "another cluster",
      [source(0, older, { clusterId: testOsd(0).uuid }), ...all.slice(1)],
      "wrong_cluster",
      /two clusters/,
    ],
    [
      "a store that the map does not know",
      [source(0, older, { storeId: testOsd(7).uuid }), ...all.slice(1)],
      "wrong_daemon",
      /has the store/,
    ],
    [
      "a fork",
      [source(0, makeIncremental(older, { flags: ["pause"] }, 1).map), ...all.slice(1)],
      "corrupt",
      /osd.0 and osd.1 have different maps of epoch 41/,
    ],
    ["a damaged map", [source(0, { ...newer, flags: ["pause"] })], "corrupt", /hash/],
    [
      "data of a pool that no map names",
      [source(0, older, { pools: [1, 2] }), ...all.slice(1)],
      "precondition_failed",
      /osd.0 holds data of pool 2/,
    ],
  ])("%s", (_, sources, code, message) => {
    expect(() => planRebuild(sources, options)).toThrow(refusal(code, message));
  });

  it("nothing of that, when the operator says so; then it is listed", () => {
    const left = planRebuild(all.slice(1), { ...options, without: [0] });
    expect(left.notRecovered).toContainEqual(expect.stringMatching(/only osd.0 knew/));
    const sources = [source(0, older, { pools: [1, 7] }), ...all.slice(1)];
    const lossy = planRebuild(sources, { ...options, acceptLoss: true });
    expect(lossy.notRecovered).toContainEqual(expect.stringMatching(/pool 7/));
    expect(lossy.map.nextPoolId).toBe(8);
  });

  it("no OSD that was down: it is listed", () => {
    const map = testMap(0, { maxOsd: 2, osds: [testOsd(0), testOsd(1, { up: false })] });
    const { notRecovered } = planRebuild([source(0, map, { pools: [] })], options);
    expect(notRecovered).toContainEqual(expect.stringMatching(/osd.1 was down and was not asked/));
  });
});
