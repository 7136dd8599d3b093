// The config service: settings that are kept in the map, and so reach every daemon and outlive
// the monitor. Pure.
import { type LogLevel, logLevels } from "../../common/config.js";
import { StorageError } from "../../common/errors.js";
import type { MapChanges, OsdMap } from "../../proto/osd-map.js";

/** Fault domains that the built CRUSH map has bucket types for. */
export const failureDomains = ["osd", "host"] as const;

interface Setting {
  pattern: RegExp;
  /** what a value has to be, for the message */
  expects: string;
  accepts(value: string): boolean;
}

const isRatio = (value: string) => /^(0(\.[0-9]+)?|1(\.0+)?)$/.test(value);

const settings: readonly Setting[] = [
  {
    pattern: /^((mon|osd|client)(\.[a-z0-9_]+)?\.)?log_level$/,
    expects: `one of ${logLevels.join(", ")}`,
    accepts: (value) => (logLevels as readonly string[]).includes(value),
  },
  {
    pattern: /^mon\.down_out_interval_ms$/,
    expects: "milliseconds, 0 for never",
    accepts: (value) => /^[0-9]{1,12}$/.test(value),
  },
  { pattern: /^mon\.(nearfull|full)_ratio$/, expects: "from 0 to 1", accepts: isRatio },
  {
    pattern: /^osd\.(deep_)?scrub_interval$/,
    expects: "hours, such as 24 or 0.5; 0 for never",
    accepts: (value) => /^[0-9]{1,6}(\.[0-9]{1,6})?$/.test(value),
  },
  {
    pattern: /^osd\.scrub_bytes_per_second$/,
    expects: "bytes per second, 0 for no limit",
    accepts: (value) => /^[0-9]{1,12}$/.test(value),
  },
  {
    pattern: /^crush\.failure_domain$/,
    expects: `one of ${failureDomains.join(", ")}`,
    accepts: (value) => (failureDomains as readonly string[]).includes(value),
  },
];

/**
 * The change that sets a setting; an empty value removes it.
 * @throws invalid_argument when there is no such setting or the value does not fit
 */
export function planConfigSet(name: string, value: string): MapChanges {
  const setting = settings.find(({ pattern }) => pattern.test(name));
  if (setting === undefined) {
    throw new StorageError("invalid_argument", `there is no setting "${name}"`, {
      remedy:
        "Known are log_level (for all daemons), mon.log_level, osd.log_level, osd.ID.log_level, " +
        "client.log_level, mon.down_out_interval_ms, mon.nearfull_ratio, mon.full_ratio, " +
        "osd.scrub_interval, osd.deep_scrub_interval, osd.scrub_bytes_per_second and " +
        "crush.failure_domain.",
    });
  }
  if (value !== "" && !setting.accepts(value)) {
    throw new StorageError("invalid_argument", `${name} is ${setting.expects}, not "${value}"`);
  }
  return { config: { [name]: value } };
}

/**
 * The log level that the map sets for a daemon; undefined: its own configuration's.
 * @param daemon "mon", "osd.3", "client.vm1": the most specific setting wins
 */
export function logLevelFor(map: OsdMap, daemon: string): LogLevel | undefined {
  const kind = daemon.split(".", 1)[0] ?? daemon;
  const names = [`${daemon}.log_level`, `${kind}.log_level`, "log_level"];
  const value = names.map((name) => map.config[name]).find((text) => text !== undefined);
  return logLevels.find((level) => level === value);
}

/** A numeric setting of the map, or its default. */
export function numberSetting(map: OsdMap, name: string, otherwise: number): number {
  const value = map.config[name];
  return value === undefined ? otherwise : Number(value);
}

/** Over what the copies of a PG are spread: "host" unless the map's config says otherwise. */
export function failureDomainOf(config: OsdMap["config"]): string {
  return config["crush.failure_domain"] || "host";
}
