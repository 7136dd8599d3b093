// The settings of scrubbing, from the cluster map. Pure.
import { hasFlag } from "../../proto/map-flags.js";
import type { OsdMap } from "../../proto/osd-map.js";
import { numberSetting } from "../../proto/settings.js";

const hourMs = 3_600_000;

export interface ScrubSettings {
  /** between light, and between deep scrubs of a PG; 0: none by themselves */
  intervalMs: number;
  deepIntervalMs: number;
  /** of each member's reading; 0: no limit */
  bytesPerSecond: number;
  /** no scrub begins by itself (flag noscrub), no deep one (nodeep-scrub) */
  noScrub: boolean;
  noDeepScrub: boolean;
}

/** The settings that a map makes. */
export function scrubSettings(map: Pick<OsdMap, "config" | "flags">): ScrubSettings {
  return {
    intervalMs: numberSetting(map, "osd.scrub_interval") * hourMs,
    deepIntervalMs: numberSetting(map, "osd.deep_scrub_interval") * hourMs,
    bytesPerSecond: numberSetting(map, "osd.scrub_bytes_per_second"),
    noScrub: hasFlag(map, "noscrub"),
    noDeepScrub: hasFlag(map, "nodeep-scrub"),
  };
}
