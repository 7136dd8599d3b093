// Whether this OSD refuses writes that allocate. Pure. Deletes, discards and zeroing are never
// refused: they are what makes room. docs/operating/full.md
import type { OsdMap } from "../proto/osd-map.js";
import { numberSetting } from "../proto/settings.js";
import type { Interval } from "./peering/state.js";

export interface FullInput {
  map: OsdMap;
  self: number;
  /** share of the store that is used, reserved space included */
  usedRatio: number;
  /** of the PGs here */
  intervals: Iterable<Pick<Interval, "acting">>;
}

/**
 * True when a write may not be taken: this store is at the full or the failsafe ratio (the second
 * one holds although no map could tell, without a monitor too), or the map shows it or a member of
 * a PG that it leads as full: a write goes to all members.
 */
export function refusesWrites({ map, self, usedRatio, intervals }: FullInput): boolean {
  const limit = Math.min(
    numberSetting(map, "mon.full_ratio"),
    numberSetting(map, "osd.failsafe_full_ratio"),
  );
  if (usedRatio >= limit) return true;
  const full = new Set(map.osds.filter((osd) => osd.fullState === "full").map(({ id }) => id));
  if (full.size === 0) return false;
  if (full.has(self)) return true;
  for (const { acting } of intervals) {
    if (acting[0] === self && acting.some((osd) => full.has(osd))) return true;
  }
  return false;
}
