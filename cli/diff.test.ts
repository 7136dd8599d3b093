// What `cairn diff` and `cairn du` make of extents and figures.
import { expect, it } from "vitest";
import { joined, totalOf } from "./diff.js";

const rowsOf = async (withZeros: boolean) => {
  const extents = [
    { offset: 0, length: 4096, state: "data" },
    { offset: 4096, length: 4096, state: "data" },
    { offset: 8192, length: 4096, state: "zero" },
    { offset: 12_288, length: 4096, state: "absent" },
    { offset: 65_536, length: 4096, state: "data" },
  ] as const;
  const rows: [number, number, boolean][] = [];
  for await (const { offset, length, exists } of joined(extents, withZeros)) {
    rows.push([offset, length, exists]);
  }
  return rows;
};

it("joins parts that touch, and says what is zero now", async () => {
  expect(await rowsOf(true)).toEqual([
    [0, 8192, true],
    [8192, 8192, false],
    [65_536, 4096, true],
  ]);
});

it("leaves zeros out when nothing is compared with", async () => {
  expect(await rowsOf(false)).toEqual([
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
