// What the monitor remembers of OSDs that could not start, and for how long health shows it.
import { describe, expect, it } from "vitest";
import { testMap, testOsd } from "../../proto/fixtures.js";
import type { OsdStartRefused } from "../../proto/messages.js";
import {
  initialStartRefusalState,
  noteStartRefused,
  observeStarts,
  shownStartRefusals,
  startRefusalShownMs,
} from "./start-refusals.js";

const nowMs = 1_000_000;
const down = testMap(3, { osds: [testOsd(0), testOsd(1), testOsd(2, { up: false })] });
const up = testMap(3);

function refused(overrides: Partial<OsdStartRefused> = {}): OsdStartRefused {
  const error = { code: "incompatible_version", message: "format version 2" } as const;
  return { kind: "osdStartRefused", osd: 2, host: "host2", error, ...overrides };
}

const corrupt = refused({ error: { code: "corrupt", message: "block 7" } });

function shownAfter(map: typeof down, isServed = false) {
  const state = initialStartRefusalState();
  noteStartRefused(state, refused(), { map, nowMs, isServed });
  return { state, ids: (at = map, atMs = nowMs) => idsOf(state, at, atMs) };
}

const idsOf = (...args: Parameters<typeof shownStartRefusals>) =>
  shownStartRefusals(...args).map(([id]) => id);

describe("a start that was refused", () => {
  it("is counted by OSD and code, and is news when the reason is another one", () => {
    const state = initialStartRefusalState();
    const context = { map: down, nowMs, isServed: false };
    const news = [refused(), refused(), corrupt].map((message) =>
      noteStartRefused(state, message, context),
    );
    expect(news).toEqual([true, false, true]);
    expect(state.counts.get(2)).toEqual(
      new Map([
        ["incompatible_version", 2],
        ["corrupt", 1],
      ]),
    );
    expect(shownStartRefusals(state, down, nowMs)).toMatchObject([
      [2, { host: "host2", error: { code: "corrupt" } }],
    ]);
  });

  it("is shown for a day at most", () => {
    const { ids } = shownAfter(down);
    expect(ids(down, nowMs + startRefusalShownMs - 1)).toEqual([2]);
    expect(ids(down, nowMs + startRefusalShownMs)).toEqual([]);
  });

  it("is forgotten when the OSD has booted, also if it goes down again", () => {
    const { state, ids } = shownAfter(down);
    observeStarts(state, down);
    expect(ids()).toEqual([2]);
    observeStarts(state, testMap(3, { osds: [testOsd(2, { incarnation: "77" })] }));
    expect(ids(down)).toEqual([]);
  });

  it("is forgotten when the OSD is removed", () => {
    const { state, ids } = shownAfter(down);
    observeStarts(state, testMap(2));
    expect(ids(down)).toEqual([]);
  });

  it("of an OSD that the map never had is counted, and news once", () => {
    const state = initialStartRefusalState();
    const message = refused({ osd: 9 });
    const news = [1, 2].map(() =>
      noteStartRefused(state, message, { map: down, nowMs, isServed: false }),
    );
    expect(news).toEqual([true, false]);
    expect(idsOf(state, down, nowMs)).toEqual([]);
    expect(state.counts.get(9)?.get("incompatible_version")).toBe(2);
  });

  it("comes before the OSD is seen to be down: shown from then on", () => {
    const { state, ids } = shownAfter(up);
    observeStarts(state, up);
    expect(ids(up)).toEqual([]);
    expect(ids(down)).toEqual([2]);
  });

  it("beside the OSD that runs is counted only", () => {
    const { state, ids } = shownAfter(up, true);
    expect(ids(down)).toEqual([]);
    expect(state.counts.get(2)?.get("incompatible_version")).toBe(1);
  });
});
