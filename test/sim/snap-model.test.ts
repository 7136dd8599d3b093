// The model of what the objects of simulated images may hold.
import { describe, expect, it } from "vitest";
import {
  absent,
  blockOf,
  type Contents,
  change,
  doesExist,
  fill,
  isLacking,
  shownBy,
  zeros,
} from "./snap-model.js";

const contentsOf = (blocks: Record<string, number[]>): Contents =>
  new Map(Object.entries(blocks).map(([key, values]) => [key, new Set(values)]));

describe("what blocks may hold", () => {
  it("is known after a change that was done, and one of two values after another", () => {
    const contents: Contents = new Map();
    change(contents, "a", 5, false);
    expect([...blockOf(contents, "a")]).toEqual([absent, 5]);
    change(contents, "a", zeros, true);
    expect([...blockOf(contents, "a")]).toEqual([zeros]);
    expect([...shownBy(blockOf(contents, "a"))]).toEqual([0]);
  });

  it("is filled only where nothing is", () => {
    const contents = contentsOf({ a: [3], b: [zeros], c: [absent, 4] });
    for (const key of ["a", "b", "c", "d"]) fill(contents, key, 9, true);
    expect([...blockOf(contents, "a")]).toEqual([3]);
    expect([...blockOf(contents, "b")]).toEqual([zeros]);
    expect([...blockOf(contents, "c")]).toEqual([4, 9]);
    expect([...blockOf(contents, "d")]).toEqual([9]);
    fill(contents, "e", 9, false);
    expect([...blockOf(contents, "e")]).toEqual([absent, 9]);
  });

  it("tells what is lacking, and what exists, where that is certain", () => {
    const some = contentsOf({ a: [3], b: [absent, 4], c: [zeros] });
    expect(isLacking([some], "a")).toBe(false);
    expect(isLacking([some], "b")).toBeUndefined();
    expect(isLacking([some], "c")).toBe(false);
    expect(isLacking([some, new Map()], "a")).toBe(true);
    expect(doesExist(some, ["a", "b"])).toBe(true);
    expect(doesExist(some, ["b"])).toBeUndefined();
    expect(doesExist(some, ["c", "d"])).toBeUndefined();
    expect(doesExist(some, ["d"])).toBe(false);
  });
});
