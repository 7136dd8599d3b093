// What `cairn diff` and `cairn du` make of extents and figures.
import { expect, it } from "vitest";
import { addExtent, type DiffRow, totalOf } from "./diff.js";

const joined = (withZeros: boolean) => {
  const rows: DiffRow[] = [];
  const extents = [
    { offset: 0, length: 4096, state: "data" },
    { offset: 4096, length: 4096, state: "data" },
    { offset: 8192, length: 4096, state: "zero" },
    { offset: 12_288, length: 4096, state: "absent" },
    { offset: 65_536, length: 4096, state: "data" },
  ] as const;
  for (const extent of extents) addExtent(rows, extent, withZeros);
  return rows.map(({ offset, length, exists }) => [offset, length, exists]);
};

it("joins parts that touch, and says what is zero now", () => {
  expect(joined(true)).toEqual([
    [0, 8192, true],
    [8192, 8192, false],
    [65_536, 4096, true],
  ]);
});

it("leaves zeros out when nothing is compared with", () => {
  expect(joined(false)).toEqual([
    [0, 8192, true],
    [65_536, 4096, true],
  ]);
});

it("counts an image once in what is provisioned", () => {
  const head = { name: "a", provisionedBytes: 100, usedBytes: 10 };
  const snap = { ...head, snapshot: "s", usedBytes: 5 };
  expect(totalOf([snap, head])).toEqual({ totalProvisionedBytes: 100, totalUsedBytes: 15 });
  expect(totalOf([snap])).toEqual({ totalProvisionedBytes: 100, totalUsedBytes: 5 });
});
