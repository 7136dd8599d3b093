// Which member of an up set leads: primary affinity and slow OSDs.
import { describe, expect, it } from "vitest";
import { pgId } from "../common/units.js";
import { testMap, testOsd } from "./fixtures.js";
import { placementOf, upOsds } from "./placement.js";

const seeds = Array.from({ length: 1000 }, (_, seed) => seed);

/** The primaries of 1000 PGs that all are on the OSDs 0, 1, 2. */
function primaries(...changes: Parameters<typeof testOsd>[1][]): number[] {
  const map = testMap(3, { osds: changes.map((change, id) => testOsd(id, change)) });
  return seeds.map((seed) => placementOf(pgId(1, seed), [0, 1, 2], map, upOsds(map)).primary);
}
const led = (by: number, all: number[]) => all.filter((osd) => osd === by).length;

describe("primary affinity", () => {
  it("changes nothing where nobody has less than all of it", () => {
    expect(led(0, primaries({}, {}, {}))).toBe(1000);
  });

  it("takes a share of the PGs away, always the same ones", () => {
    const quarter = primaries({ primaryAffinity: 0x4000 }, {}, {});
    expect(led(0, quarter)).toBeGreaterThan(200);
    expect(led(0, quarter)).toBeLessThan(300);
    expect(led(0, quarter) + led(1, quarter)).toBe(1000);
    expect(primaries({ primaryAffinity: 0x4000 }, {}, {})).toEqual(quarter);
  });

  it("keeps the PGs away from an OSD with 0, and from a slow one, if another can lead", () => {
    expect(led(1, primaries({ primaryAffinity: 0 }, {}, {}))).toBe(1000);
    expect(led(2, primaries({ slow: true }, { slow: true }, {}))).toBe(1000);
    expect(led(0, primaries({ slow: true }, { slow: true }, { slow: true }))).toBe(1000);
  });

  it("keeps the others in their order, and all of them in the set", () => {
    const map = testMap(4, { osds: [0, 1, 2, 3].map((id) => testOsd(id, { slow: id === 3 })) });
    expect(placementOf(pgId(1, 0), [3, 1, 0, 2], map, upOsds(map))).toMatchObject({
      up: [1, 3, 0, 2],
      acting: [1, 3, 0, 2],
    });
  });
});
