// The numeric settings of the cluster: kept in the map's config, so that all daemons see the same
// value; here their defaults and what values they take. Pure.
import type { OsdMap } from "./osd-map.js";

/** What a value has to be, and how it is told to the operator. */
export interface NumberKind {
  expects: string;
  accepts(value: string): boolean;
}

const ratio: NumberKind = {
  expects: "from 0 to 1",
  accepts: (value) => /^(0(\.[0-9]+)?|1(\.0+)?)$/.test(value),
};
const durationMs: NumberKind = {
  expects: "milliseconds, 0 for never",
  accepts: (value) => /^[0-9]{1,12}$/.test(value),
};
const hours: NumberKind = {
  expects: "hours, such as 24 or 0.5; 0 for never",
  accepts: (value) => /^[0-9]{1,6}(\.[0-9]{1,6})?$/.test(value),
};
const bytesPerSecond: NumberKind = {
  expects: "bytes per second, 0 for no limit",
  accepts: (value) => /^[0-9]{1,12}$/.test(value),
};
const objectsPerSecond: NumberKind = {
  expects: "objects per second, 0 for no limit",
  accepts: (value) => /^[0-9]{1,9}$/.test(value),
};

export const numberSettings = {
  /** a down OSD is marked out after this long */
  "mon.down_out_interval_ms": { kind: durationMs, otherwise: 600_000 },
  /** none is marked out automatically when fewer than this share is in */
  "mon.min_in_ratio": { kind: ratio, otherwise: 0.75 },
  /** shares of an OSD's size: a warning; no backfill to it; no writes that allocate */
  "mon.nearfull_ratio": { kind: ratio, otherwise: 0.85 },
  "mon.backfillfull_ratio": { kind: ratio, otherwise: 0.9 },
  "mon.full_ratio": { kind: ratio, otherwise: 0.95 },
  /** an OSD refuses writes that allocate by itself from here on, whatever the map says */
  "osd.failsafe_full_ratio": { kind: ratio, otherwise: 0.97 },
  /** an OSD whose commits take this long, and far longer than its peers', is slow */
  "mon.slow_osd_latency_ms": { kind: durationMs, otherwise: 15 },
  /** operations older than this are named in health */
  "osd.op_complaint_ms": { kind: durationMs, otherwise: 30_000 },
  "client.op_complaint_ms": { kind: durationMs, otherwise: 30_000 },
  /** from one scrub of a PG to the next; from one that reads all data to the next */
  "osd.scrub_interval": { kind: hours, otherwise: 24 },
  "osd.deep_scrub_interval": { kind: hours, otherwise: 168 },
  /** how fast each member of a PG reads for a scrub */
  "osd.scrub_bytes_per_second": { kind: bytesPerSecond, otherwise: 50 << 20 },
  /** how many objects each OSD rids of removed snapshots */
  "osd.snap_trim_objects_per_second": { kind: objectsPerSecond, otherwise: 500 },
} as const satisfies Record<string, { kind: NumberKind; otherwise: number }>;

export type NumberSetting = keyof typeof numberSettings;

/** Every setting that is no log level of a single daemon. */
export const settingNames = [
  "log_level",
  "mon.log_level",
  "osd.log_level",
  "client.log_level",
  ...Object.keys(numberSettings),
  "crush.failure_domain",
] as readonly string[];

/** The value that the map sets, else the default. */
export function numberSetting(map: Pick<OsdMap, "config">, name: NumberSetting): number {
  const value = map.config[name];
  return value === undefined ? numberSettings[name].otherwise : Number(value);
}

/** A limit in milliseconds where 0 stands for never. */
export function limitMs(map: Pick<OsdMap, "config">, name: NumberSetting): number {
  return numberSetting(map, name) || Number.POSITIVE_INFINITY;
}
