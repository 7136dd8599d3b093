// What the map says of trimming removed snapshots. Pure.
import { hasFlag } from "../../proto/map-flags.js";
import type { OsdMap } from "../../proto/osd-map.js";
import { type PoolSnaps, snapsOf } from "../../proto/pool-snaps.js";
import { numberSetting } from "../../proto/settings.js";

export interface TrimSettings {
  /** of all PGs of this OSD together; 0: no limit */
  objectsPerSecond: number;
  /** flag nosnaptrim */
  isPaused: boolean;
  /** space is short: that goes before the clients' operations */
  isUrgent: boolean;
}

/** The settings that a map makes. */
export function trimSettings(
  map: Pick<OsdMap, "config" | "flags">,
  isUrgent = false,
): TrimSettings {
  return {
    objectsPerSecond: numberSetting(map, "osd.snap_trim_objects_per_second"),
    isPaused: hasFlag(map, "nosnaptrim"),
    isUrgent,
  };
}

/** The snapshots of the pools that have ever had one removed, by the pool's id. */
export function trimmedPools(map: Pick<OsdMap, "pools">): Map<number, PoolSnaps> {
  const pools = map.pools.map((pool): [number, PoolSnaps] => [pool.id, snapsOf(pool)]);
  return new Map(pools.filter(([, { removals }]) => removals > 0));
}
