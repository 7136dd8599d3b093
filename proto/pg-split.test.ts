// Which PGs come of which.
import { describe, expect, it } from "vitest";
import { childSeeds } from "./pg-split.js";

describe("childSeeds", () => {
  it("names what a PG is divided into, by one doubling and by several", () => {
    expect(childSeeds(1, 4, 8)).toEqual([5]);
    expect(childSeeds(3, 4, 16)).toEqual([7, 11, 15]);
    expect(childSeeds(0, 1, 4)).toEqual([1, 2, 3]);
    expect(childSeeds(0, 4, 4)).toEqual([]);
  });

  it("gives each new PG one parent", () => {
    const children = [0, 1, 2, 3].flatMap((seed) => childSeeds(seed, 4, 32));
    expect(children.sort((a, b) => a - b)).toEqual(Array.from({ length: 28 }, (_, i) => i + 4));
  });
});
