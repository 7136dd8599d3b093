// Which past intervals matter, and what several OSDs know of them together.
import { describe, expect, it } from "vitest";
import { maxPastIntervals, type PastInterval } from "../../proto/peering.js";
import {
  appended,
  blockingIntervals,
  finishedInterval,
  holders,
  mergeHistories,
  type OsdViews,
} from "./past-intervals.js";

function views(upThru: Record<number, number>): OsdViews {
  return new Map(Object.entries(upThru).map(([osd, value]) => [+osd, { up: true, upThru: value }]));
}

function known(first: number, last: number, acting: number[], maybeActive = true): PastInterval {
  return { first, last, acting, maybeActive };
}

describe("an interval", () => {
  it.each([
    ["had minSize members and its primary was alive in it", [0, 1], { 0: 5 }, true],
    ["had too few members", [0], { 0: 5 }, false],
    ["its primary was not recorded alive in it", [0, 1], { 0: 4, 1: 9 }, false],
    ["nobody acted", [], {}, false],
  ])("may have been active: %s", (_why, acting, upThru, expected) => {
    expect(finishedInterval(5, 8, acting, 2, views(upThru)).maybeActive).toBe(expected);
  });
});

describe("merging", () => {
  it("takes the newest clean time, and drops what was before it", () => {
    const merged = mergeHistories(
      [
        { since: 2, intervals: [known(2, 4, [0]), known(5, 9, [1])] },
        { since: 5, intervals: [known(5, 9, [1])] },
      ],
      10,
    );
    expect(merged).toEqual({ since: 5, intervals: [known(5, 9, [1])] });
  });

  it("fills what one does not know with what another knows; the rest is unknown", () => {
    const merged = mergeHistories(
      [
        { since: 2, intervals: [{ ...known(2, 9, []), unknown: true }] },
        { since: 2, intervals: [known(4, 6, [1])] },
      ],
      10,
    );
    expect(merged.intervals).toMatchObject([
      { first: 2, last: 3, unknown: true },
      { first: 4, last: 6, acting: [1] },
      { first: 7, last: 9, unknown: true },
    ]);
  });

  it("ignores intervals that begin with the present one or later", () => {
    const merged = mergeHistories(
      [{ since: 9, intervals: [known(9, 9, [0]), known(10, 11, [1])] }],
      10,
    );
    expect(merged.intervals).toEqual([known(9, 9, [0])]);
  });
});

describe("blocking", () => {
  it("ends when any member of the interval has been heard", () => {
    const history = { since: 2, intervals: [known(2, 9, [0, 1])] };
    const osds = views({ 0: 9, 1: 9 });
    expect(blockingIntervals(history, osds, new Set([2]))).toMatchObject([{ waitingFor: [0, 1] }]);
    expect(blockingIntervals(history, osds, new Set([1]))).toEqual([]);
  });

  it("does not come from an interval that was never active", () => {
    const history = { since: 2, intervals: [known(2, 9, [0, 1], false)] };
    expect(blockingIntervals(history, views({}), new Set())).toEqual([]);
    expect([...holders(history, views({}))]).toEqual([]);
  });

  it("of an unknown range ends when all who may have been primary in it have been heard", () => {
    const range: PastInterval = { ...known(5, 9, []), unknown: true };
    const history = { since: 5, intervals: [range] };
    const osds = views({ 0: 4, 1: 5, 2: 30 });
    expect([...holders(history, osds)]).toEqual([1, 2]);
    expect(blockingIntervals(history, osds, new Set([1]))).toMatchObject([{ waitingFor: [2] }]);
    expect(blockingIntervals(history, osds, new Set([1, 2]))).toEqual([]);
  });
});

it("a long history is folded into an unknown range: that demands more, not less", () => {
  let history: ReturnType<typeof appended> = { since: 1, intervals: [] };
  for (let at = 1; at <= maxPastIntervals + 5; at++) {
    history = appended(history, known(at, at, [at % 3], false));
  }
  expect(history.intervals).toHaveLength(maxPastIntervals);
  expect(history.intervals[0]).toMatchObject({ first: 1, last: 6, unknown: true });
});
