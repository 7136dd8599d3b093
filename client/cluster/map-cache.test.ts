// The map cache: only what follows is applied, everything else is fetched anew.
import { describe, expect, it } from "vitest";
import { firstEpochOf } from "../../proto/generation.js";
import type { Maps } from "../../proto/messages.js";
import { makeIncremental, type OsdMap, sealed } from "../../proto/osd-map.js";
import { testMap } from "../testing/fake-cluster.js";
import { MapCache } from "./map-cache.js";

const first = testMap();
const second = makeIncremental(first, { flags: ["noout"] }, 1);
const third = makeIncremental(second.map, { flags: [] }, 2);
const fourth = makeIncremental(third.map, { flags: ["noup"] }, 3);
/** Epoch 3 of a history that parted from ours after epoch 1. */
const forkedThird = makeIncremental(makeIncremental(first, { flags: ["pause"] }, 4).map, {}, 5);

function full(map: OsdMap): Maps {
  return { kind: "maps", full: map, incrementals: [] };
}
function incrementals(...list: { incremental: Maps["incrementals"][number] }[]): Maps {
  return { kind: "maps", incrementals: list.map(({ incremental }) => incremental) };
}

describe("MapCache", () => {
  it("begins with a full map and follows incrementals", () => {
    const cache = new MapCache();
    expect(cache.subscription()).toEqual({ kind: "subscribe", fromEpoch: 0 });
    expect(cache.take(full(first))).toEqual({ kind: "newer", map: first });
    expect(cache.take(incrementals(second, third))).toEqual({ kind: "newer", map: third.map });
    expect(cache.subscription()).toEqual({
      kind: "subscribe",
      fromEpoch: 4,
      haveHash: third.map.hash,
    });
  });

  it("takes no notice of what it has", () => {
    const cache = new MapCache();
    cache.take(full(second.map));
    expect(cache.take(incrementals(second))).toEqual({ kind: "unchanged" });
    expect(cache.take(full(first))).toEqual({ kind: "unchanged" });
    expect(cache.newest()).toBe(second.map);
  });

  it.each([
    ["a gap", incrementals(fourth)],
    ["a fork", incrementals(forkedThird)],
    ["a map whose hash is not its own", full({ ...third.map, flags: ["noin"] })],
  ])("fetches anew after %s", (_what, maps) => {
    const cache = new MapCache();
    cache.take(full(first));
    cache.take(incrementals(second));
    expect(cache.take(maps).kind).toBe("refetch");
    expect(cache.subscription()).toEqual({ kind: "subscribe", fromEpoch: 0 });
  });

  it("goes on to a newer generation whatever it has, and never back to an older one", () => {
    const cache = new MapCache();
    cache.take(full(third.map));
    const rebuilt = sealed({ ...first, epoch: firstEpochOf(1) });
    expect(cache.take(full(rebuilt))).toEqual({ kind: "newer", map: rebuilt });
    cache.forget();
    expect(cache.take(full(third.map))).toEqual({ kind: "unchanged" });
    expect(cache.newest()).toBeUndefined();
    expect(cache.take(full(rebuilt)).kind).toBe("newer");
  });
});
