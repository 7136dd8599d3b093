// What pools can still hold, against a search over all amounts.
import { expect, it } from "vitest";
import { storableBytes } from "./storable.js";

const osds = (free: readonly number[]) =>
  free.map((bytes) => ({ in: true, sizeBytes: 1000, usedBytes: 1000 - bytes }));

/** The most that can be placed: a copy of a byte goes to the OSDs with the most free space. */
function placed(free: readonly number[], copies: number): number {
  const left = [...free];
  for (let amount = 0; ; amount += 1) {
    left.sort((a, b) => b - a);
    for (let copy = 0; copy < Math.min(copies, left.length); copy += 1) {
      const space = left[copy] ?? 0;
      if (space < 1) return amount;
      left[copy] = space - 1;
    }
  }
}

it.each([
  [[10, 10, 10], 3],
  [[10, 10, 2], 3],
  [[10, 10, 2], 2],
  [[30, 4, 2], 2],
  [[30, 4, 2], 1],
  [[5, 5, 5, 5, 40], 3],
  [[0, 7, 9, 9], 3],
  [[6, 8], 3],
])("free %j, %i copies", (free, copies) => {
  expect(storableBytes(osds(free), copies, 1)).toBe(placed(free, copies));
});

it("an OSD that is out or beyond the ratio has no space; one without a report is empty", () => {
  const some = [
    { in: true, sizeBytes: 1000, usedBytes: 950 },
    { in: false, sizeBytes: 1000, usedBytes: 0 },
    { in: true, sizeBytes: 1000 },
    { in: true, sizeBytes: 1000, usedBytes: 100 },
  ];
  expect(storableBytes(some, 2, 0.9)).toBe(800);
  expect(storableBytes(some, 3, 0.9)).toBe(0);
  expect(storableBytes([], 3, 0.9)).toBe(0);
});
