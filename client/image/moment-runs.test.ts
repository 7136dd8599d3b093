// Runs of moments against a byte by byte account.
import { expect, it } from "vitest";
import { merged, type Ranges, runsOf } from "./moment-runs.js";

it("joins ranges that meet, and drops empty ones", () => {
  expect(
    merged([
      [4, 6],
      [0, 2],
      [2, 3],
      [5, 9],
      [12, 12],
    ]),
  ).toEqual([
    [0, 3],
    [4, 9],
  ]);
});

it("gives one run where nothing differs", () => {
  expect(runsOf([[], []], 10)).toEqual([{ first: 0, last: 2, ranges: [[0, 10]] }]);
});

it("covers every moment of every place once, and no run goes over a difference", () => {
  let seed = 1;
  const below = (limit: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * limit);
  };
  for (let round = 0; round < 200; round += 1) {
    const end = 1 + below(30);
    const changes: Ranges[] = Array.from({ length: below(5) }, () =>
      merged(Array.from({ length: below(4) }, () => [below(30), below(40)] as const)),
    );
    const seen = new Map<string, number>();
    for (const { first, last, ranges } of runsOf(changes, end)) {
      for (const [from, to] of ranges) {
        for (let place = from; place < to; place += 1) {
          for (let moment = first; moment <= last; moment += 1) {
            seen.set(`${place} ${moment}`, (seen.get(`${place} ${moment}`) ?? 0) + 1);
            const changed = (changes[moment - 1] ?? []).some(([a, b]) => a <= place && place < b);
            if (moment > first) expect(changed).toBe(false);
            else if (moment > 0) expect(changed).toBe(true);
          }
        }
      }
    }
    expect(seen.size).toBe(end * (changes.length + 1));
    expect([...seen.values()].every((times) => times === 1)).toBe(true);
  }
});
