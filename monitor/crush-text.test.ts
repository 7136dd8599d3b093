// Tests of the CRUSH maps that the monitor makes, and of their mapping by the native core.
import { describe, expect, it } from "vitest";
import { testMap, testOsd, testPool } from "../proto/fixtures.js";
import { poolPlacements } from "../proto/placement.js";
import { crushText } from "./crush-text.js";

const tib = 2 ** 40;
const osds = [
  testOsd(0, { host: "a", sizeBytes: tib }),
  testOsd(1, { host: "b", sizeBytes: 2 * tib }),
  testOsd(2, { host: "a", sizeBytes: 20 * 2 ** 30, deviceClass: "hdd" }),
];

describe("crushText", () => {
  it("makes a map for no OSDs at all", () => {
    const text = crushText.build([], "host");
    expect(crushText.rules(text)).toEqual([{ id: 0, name: "replicated_rule" }]);
    expect(crushText.nodes(text)).toMatchObject([{ name: "default", type: "root", weight: 0 }]);
    expect(crushText.compile(text).length).toBeGreaterThan(0);
  });

  it("lists roots, hosts and OSDs depth first, weighed by size in TiB", () => {
    const nodes = crushText.nodes(crushText.build(osds, "host"));
    expect(nodes.map(({ name, type, depth }) => [name, type, depth])).toEqual([
      ["default", "root", 0],
      ["a", "host", 1],
      ["osd.0", "osd", 2],
      ["osd.2", "osd", 2],
      ["b", "host", 1],
      ["osd.1", "osd", 2],
    ]);
    const weights = nodes.map(({ weight }) => Number(weight.toFixed(2)));
    expect(weights).toEqual([3.02, 1.02, 1, 0.02, 2, 2]);
  });

  it("gives the smallest and the largest OSD a weight that CRUSH takes", () => {
    const extremes = [testOsd(0, { sizeBytes: 1 }), testOsd(1, { sizeBytes: 500 * tib })];
    const nodes = crushText.nodes(crushText.build(extremes, "osd"));
    expect(nodes.find(({ id }) => id === 0)?.weight).toBeGreaterThan(0);
    expect(nodes.find(({ id }) => id === 1)?.weight).toBe(100);
  });

  it("refuses a host with the root's name", () => {
    expect(() => crushText.build([testOsd(0, { host: "default" })], "host")).toThrow(
      expect.objectContaining({ code: "invalid_argument" }),
    );
  });
});

describe("nativeCrush", () => {
  it("maps each PG to distinct hosts, and to OSDs on one host if that is asked for", async () => {
    const { nativeCrush } = await import("./native-crush.js");
    const pool = testPool(1, { pgNum: 64, size: 2, minSize: 1 });
    const three = [0, 1, 2].map((id) => testOsd(id, { host: `h${id}` }));
    const one = [0, 1, 2].map((id) => testOsd(id, { host: "h" }));
    for (const [members, domain] of [
      [three, "host"],
      [one, "osd"],
    ] as const) {
      const crush = nativeCrush.build(members, domain);
      const map = testMap(3, { osds: members, crush, pools: [pool] });
      const placed = poolPlacements(map, pool, nativeCrush.compile(crush), nativeCrush.mapper);
      expect(placed.every(({ up }) => new Set(up).size === 2)).toBe(true);
      const used = new Set(placed.map(({ primary }) => primary));
      expect(used).toEqual(new Set([0, 1, 2]));
    }
  });

  it("leaves a PG where it is when its pool is split, and spreads what was split off", async () => {
    const { nativeCrush } = await import("./native-crush.js");
    const osds = Array.from({ length: 8 }, (_, id) => testOsd(id));
    const crush = nativeCrush.build(osds, "host");
    const map = testMap(8, { osds, crush });
    const place = (counts: { pgNum: number; pgpNum?: number }) =>
      poolPlacements(map, testPool(1, counts), nativeCrush.compile(crush), nativeCrush.mapper).map(
        ({ acting }) => acting,
      );
    const before = place({ pgNum: 32 });
    expect(place({ pgNum: 64, pgpNum: 32 })).toEqual([...before, ...before]);
    const spread = place({ pgNum: 64 });
    expect(spread.slice(0, 32)).toEqual(before);
    const moved = spread.slice(32).filter((acting, seed) => acting.join() !== before[seed]?.join());
    expect(moved.length).toBeGreaterThan(24);
  });
});
