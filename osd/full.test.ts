// When an OSD refuses writes that allocate.
import { expect, it } from "vitest";
import { testMap, testOsd } from "../proto/fixtures.js";
import type { FullState, OsdMap } from "../proto/osd-map.js";
import { refusesWrites } from "./full.js";

const levels = (...states: (FullState | undefined)[]): OsdMap =>
  testMap(states.length, {
    osds: states.map((state, id) => testOsd(id, state === undefined ? {} : { fullState: state })),
  });
const refuses = (map: OsdMap, usedRatio: number, acting: number[]) =>
  refusesWrites({ map, self: 0, usedRatio, intervals: [{ acting }] });

it("refuses at its own full ratio, whatever the map shows", () => {
  const map = levels(undefined, undefined);
  expect(refuses(map, 0.949, [0, 1])).toBe(false);
  expect(refuses(map, 0.95, [0, 1])).toBe(true);
});

it("refuses at the failsafe ratio, however high the full ratio is set", () => {
  const map = { ...levels(undefined, undefined), config: { "mon.full_ratio": "1" } };
  expect(refuses(map, 0.969, [0, 1])).toBe(false);
  expect(refuses(map, 0.97, [0, 1])).toBe(true);
});

it("refuses when the map shows it or a member of a PG that it leads as full", () => {
  expect(refuses(levels("full", undefined, undefined), 0.1, [1, 2])).toBe(true);
  expect(refuses(levels(undefined, undefined, "full"), 0.1, [0, 2])).toBe(true);
  expect(refuses(levels(undefined, undefined, "full"), 0.1, [2, 0])).toBe(false);
  expect(refuses(levels(undefined, undefined, "full"), 0.1, [0, 1])).toBe(false);
  expect(refuses(levels("nearfull", "backfillfull", undefined), 0.1, [0, 1])).toBe(false);
});
