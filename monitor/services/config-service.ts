// The config service: settings that are kept in the map, and so reach every daemon and outlive
// the monitor. Pure.
import { type LogLevel, logLevels } from "../../common/config.js";
import { StorageError } from "../../common/errors.js";
import { globalOptionOf } from "../../proto/image-options.js";
import type { MapChanges, OsdMap } from "../../proto/osd-map.js";
import { isScheduleKey } from "../../proto/purge-schedule.js";
import {
  type NumberKind,
  type NumberSetting,
  numberSettings,
  settingNames,
} from "../../proto/settings.js";

/** Fault domains that the built CRUSH map has bucket types for. */
export const failureDomains = ["osd", "host"] as const;

interface TextSetting extends NumberKind {
  pattern: RegExp;
}

const settings: readonly TextSetting[] = [
  {
    pattern: /^((mon|osd|client)(\.[a-z0-9_]+)?\.)?log_level$/,
    expects: `one of ${logLevels.join(", ")}`,
    accepts: (value) => (logLevels as readonly string[]).includes(value),
  },
  {
    pattern: /^crush\.failure_domain$/,
    expects: `one of ${failureDomains.join(", ")}`,
    accepts: (value) => (failureDomains as readonly string[]).includes(value),
  },
];

/** What others than people set: an image's option, when a schedule was added. */
const wholeNumber: NumberKind = {
  expects: "a whole number",
  accepts: (value) => /^[0-9]{1,16}$/.test(value),
};

function settingOf(name: string): NumberKind | undefined {
  if (globalOptionOf(name) !== undefined || isScheduleKey(name)) return wholeNumber;
  if (Object.hasOwn(numberSettings, name)) return numberSettings[name as NumberSetting].kind;
  return settings.find(({ pattern }) => pattern.test(name));
}

/**
 * The change that sets a setting; an empty value removes it.
 * @throws invalid_argument when there is no such setting or the value does not fit
 */
export function planConfigSet(name: string, value: string): MapChanges {
  const setting = settingOf(name);
  if (setting === undefined) {
    throw new StorageError("invalid_argument", `there is no setting "${name}"`, {
      remedy: `Known are ${settingNames.join(", ")}, osd.ID.log_level, global.OPTION of images.`,
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

/** Over what the copies of a PG are spread: "host" unless the map's config says otherwise. */
export function failureDomainOf(config: OsdMap["config"]): string {
  return config["crush.failure_domain"] || "host";
}
