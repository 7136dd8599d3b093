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

/**
 * True when an OSD boots that was shown down although it ran: it proves that it lives, with the
 * incarnation that is down, or with the one that the same process has begun after it.
 */
export function isReturn(before: OsdInfo | undefined, boot: OsdBoot): boolean {
  if (before === undefined || before.up) return false;
  return [boot.incarnation, boot.previousIncarnation].includes(before.incarnation);
}
