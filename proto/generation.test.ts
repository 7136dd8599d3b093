// Generations of the map: who may follow a map that was made anew.
import { describe, expect, it } from "vitest";
import { epoch } from "../common/units.js";
import { emptyMap } from "./fixtures.js";
import { checkFollows, firstEpochOf, generationOf } from "./generation.js";

const hash = (digit: string) => digit.repeat(64);
const first = firstEpochOf(1);
const second = firstEpochOf(2);

describe("epochs", () => {
  it("of a generation begin at multiples of 2^26", () => {
    expect([1, first - 1, first, second - 1, second].map(generationOf)).toEqual([0, 0, 1, 1, 2]);
    expect(firstEpochOf(63)).toBe(63 * 2 ** 26);
    expect(() => firstEpochOf(64)).toThrow(expect.objectContaining({ code: "out_of_range" }));
  });
});

describe("a map of a newer generation", () => {
  const rebuilds = [
    { generation: 1, fromEpoch: epoch(50), fromHash: hash("a") },
    { generation: 2, fromEpoch: epoch(first + 9), fromHash: hash("b") },
  ];
  const map = emptyMap({ epoch: epoch(second + 3), rebuilds });
  const refused = (held: Parameters<typeof checkFollows>[1], message: RegExp, of = map) =>
    expect(() => checkFollows(of, held)).toThrow(
      expect.objectContaining({ code: "wrong_cluster", message: expect.stringMatching(message) }),
    );

  it("is followed by whoever holds nothing newer than it was made from", () => {
    for (const held of [
      { epoch: 1 },
      { epoch: 50, hash: hash("a") },
      { epoch: first },
      { epoch: first + 9, hash: hash("b") },
      { epoch: second + 1, hash: hash("c") },
      { epoch: second + 8 },
    ]) {
      expect(() => checkFollows(map, held)).not.toThrow();
    }
  });

  it("is refused by whoever knows more, or something else, of the generation before it", () => {
    refused({ epoch: 51 }, /epoch 51 is newer than epoch 50/);
    refused({ epoch: first + 10 }, /is newer/);
    refused({ epoch: 50, hash: hash("b") }, /another one/);
    refused({ epoch: first + 9, hash: hash("a") }, /another one/);
  });

  it("is refused when it is of an older generation, or does not say what it was made from", () => {
    refused({ epoch: firstEpochOf(3) }, /older generation/);
    refused({ epoch: 7 }, /does not say/, emptyMap({ epoch: first }));
  });
});
