// The settings of scrubbing, from the cluster map. Pure.
import type { OsdMap } from "../../proto/osd-map.js";

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

export const defaultScrubSettings: ScrubSettings = {
  intervalMs: 24 * hourMs,
  deepIntervalMs: 7 * 24 * hourMs,
  bytesPerSecond: 50 << 20,
  noScrub: false,
  noDeepScrub: false,
};

/** The settings that a map makes. */
export function scrubSettings({ config, flags }: Pick<OsdMap, "config" | "flags">): ScrubSettings {
  const number = (name: string, factor: number, otherwise: number) => {
    const text = config[name];
    return text === undefined ? otherwise : Number(text) * factor;
  };
  const base = defaultScrubSettings;
  return {
    intervalMs: number("osd.scrub_interval", hourMs, base.intervalMs),
    deepIntervalMs: number("osd.deep_scrub_interval", hourMs, base.deepIntervalMs),
    bytesPerSecond: number("osd.scrub_bytes_per_second", 1, base.bytesPerSecond),
    noScrub: flags.includes("noscrub"),
    noDeepScrub: flags.includes("nodeep-scrub"),
  };
}
