// Runs of the ids of removed snapshots.
import { describe, expect, it } from "vitest";
import { maxPurgedRuns, purgedWith, type SnapRun } from "./pool-snaps.js";

describe("the ids of snapshots that were removed", () => {
  it("join to runs, in whatever order they come", () => {
    expect(purgedWith([], [5, 3, 4, 9])).toEqual([
      [3, 5],
      [9, 9],
    ]);
    const runs: SnapRun[] = [
      [3, 5],
      [9, 9],
    ];
    expect(purgedWith(runs, [7, 4, 1])).toEqual([
      [1, 1],
      [3, 5],
      [7, 7],
      [9, 9],
    ]);
    expect(purgedWith(runs, [6, 8, 7])).toEqual([[3, 9]]);
    expect(runs[0]).toEqual([3, 5]);
  });

  it("are dropped from the lowest on when there are too many runs", () => {
    const ids = Array.from({ length: maxPurgedRuns + 2 }, (_, index) => 2 * index + 1);
    const runs = purgedWith([], ids);
    expect(runs).toHaveLength(maxPurgedRuns);
    expect(runs[0]).toEqual([5, 5]);
  });
});
