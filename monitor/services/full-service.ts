// The full service: puts into the map which OSDs are nearfull, backfillfull or full, by what they
// report of themselves. Pure, without a state of its own: what was is in the map.
//
// An OSD takes a level when its use reaches that level's ratio, and leaves it only when its use is
// clearly below: each change is an epoch for everybody.
import {
  type FullState,
  findOsd,
  fullStates,
  type OsdInfo,
  type OsdMap,
} from "../../proto/osd-map.js";
import { numberSetting } from "../../proto/settings.js";
import { type Effect, logEffect, type MonitorEvent, type StepContext } from "./events.js";

/** So much of its size an OSD must be below a level's ratio to leave the level. */
export const fullHysteresis = 0.01;

/** The share of its size from which on an OSD is at a level. */
export function fullRatio(map: OsdMap, state: FullState): number {
  return numberSetting(map, `mon.${state}_ratio`);
}

/** @returns the change, when a report shows an OSD at another level than the map */
export function stepFull(event: MonitorEvent, { map }: StepContext): Effect[] {
  if (event.kind !== "osdStats" || event.totalBytes === 0) return [];
  const osd = findOsd(map, event.osd);
  if (osd === undefined || !osd.up) return [];
  const usedRatio = event.usedBytes / event.totalBytes;
  const after = levelOf(usedRatio, osd.fullState, map);
  if (after === osd.fullState) return [];
  const { fullState: _, ...rest } = osd;
  const record: OsdInfo = after === undefined ? rest : { ...rest, fullState: after };
  const fields = { osd: osd.id, usedRatio, before: osd.fullState, after };
  return [
    { kind: "change", changes: { osds: [record] } },
    logEffect(after === undefined ? "info" : "warn", "an OSD's level of use has changed", fields),
  ];
}

function levelOf(
  usedRatio: number,
  before: FullState | undefined,
  map: OsdMap,
): FullState | undefined {
  const rank = before === undefined ? -1 : fullStates.indexOf(before);
  return fullStates.findLast((state, index) => {
    const ratio = fullRatio(map, state);
    return usedRatio >= (index <= rank ? ratio - fullHysteresis : ratio);
  });
}
