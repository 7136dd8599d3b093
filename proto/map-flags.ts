// The flags of the cluster map: switches of the operator that hold the cluster back from something
// that it would do by itself. Who obeys which: docs/operating/flags.md. Pure.
import { Type } from "@sinclair/typebox";

/** Sorted, as in the map. */
export const mapFlags = [
  "nobackfill",
  "nodeep-scrub",
  "nodown",
  "noin",
  "noout",
  "norebalance",
  "norecover",
  "noscrub",
  "nosnaptrim",
  "noup",
  "pause",
] as const;
export type MapFlag = (typeof mapFlags)[number];

export const MapFlagSchema = Type.Unsafe<MapFlag>(
  Type.Union(mapFlags.map((flag) => Type.Literal(flag))),
);
export const MapFlagsSchema = Type.Array(MapFlagSchema, { maxItems: mapFlags.length });

/** Each of them holds back spreading PGs that were split: it is data that moves. */
export const spreadHolds: readonly MapFlag[] = ["nobackfill", "norebalance"];

/** True when that flag is set in the map. */
export function hasFlag(map: { flags: readonly MapFlag[] }, flag: MapFlag): boolean {
  return map.flags.includes(flag);
}

/** The flags with that one set or not; sorted, each once. */
export function withFlag(flags: readonly MapFlag[], flag: MapFlag, isSet: boolean): MapFlag[] {
  return mapFlags.filter((one) => (one === flag ? isSet : flags.includes(one)));
}
