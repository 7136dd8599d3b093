// Changes of single OSD records that several services make. An OSD goes up or down at most once
// in an epoch: an interval of a PG is told by the epochs at which that happened.
import type { Epoch } from "../../common/units.js";
import type { OsdBoot } from "../../proto/messages.js";
import type { OsdInfo, OsdMap } from "../../proto/osd-map.js";

/** The record of an OSD that goes down in the map being made. */
export function downRecord(osd: OsdInfo, epoch: Epoch): OsdInfo {
  return { ...osd, up: false, downAt: epoch };
}

/** True when the map being made already changes whether that OSD is up. */
export function changesUp(osd: OsdInfo, map: OsdMap): boolean {
  return osd.upFrom === map.epoch || osd.downAt === map.epoch;
}

/** True when that flag is set in the map. */
export function hasFlag(map: OsdMap, flag: string): boolean {
  return map.flags.includes(flag);
}

/**
 * True when an OSD boots that the map shows down, or another life of it, although it was alive all
 * the time: with the same incarnation, or with the next one of the same process.
 */
export function wasAlive(boot: OsdBoot, known: OsdInfo | undefined): boolean {
  const before = known?.incarnation;
  return before !== undefined && [boot.incarnation, boot.previousIncarnation].includes(before);
}
