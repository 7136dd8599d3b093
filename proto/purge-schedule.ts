// When the trash of pools and namespaces is purged: schedules as settings of the map's config, each
// under a name of its own, so that no two commands overwrite each other's. Pure.
import { StorageError } from "../common/errors.js";
import type { OsdMap } from "./osd-map.js";

const minuteMs = 60_000;
const dayMs = 86_400_000;
const unitsMs: Readonly<Record<string, number>> = { m: minuteMs, h: 3_600_000, d: dayMs };
const maxIntervalMs = 365 * dayMs;
const keyPrefix = "trash.purge.";

/** What schedules are of: all pools, a pool, or a namespace of it. */
export interface PurgeLevel {
  /** undefined: all pools */
  pool?: string | undefined;
  /** "": the pool with all its namespaces */
  namespace: string;
}

export interface PurgeTimes {
  /** "90m", "1d" */
  interval: string;
  /** of the day, UTC: "13:55:00"; undefined: midnight */
  start?: string | undefined;
}

export interface PurgeSchedule extends PurgeLevel, PurgeTimes {
  /** milliseconds since 1970 */
  addedAtMs: number;
}

/** @returns as it is stored. @throws invalid_argument */
export function checkInterval(text: string): string {
  const match = /^([1-9][0-9]{0,6})([mhd])$/.exec(text);
  if (match !== null && intervalMs(text) <= maxIntervalMs) return text;
  throw new StorageError("invalid_argument", `"${text}" is no interval`, {
    remedy: "Write minutes, hours or days, up to 365d: 30m, 12h, 1d.",
  });
}

/**
 * "13:55", "13:55:10", with Z or an offset such as +02:00.
 * @returns UTC
 * @throws invalid_argument
 */
export function checkStart(text: string): string {
  const match = /^T?([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?(Z|[+-]\d{2}:?\d{2})?$/.exec(text);
  if (match === null) {
    throw new StorageError("invalid_argument", `"${text}" is no time of the day`, {
      remedy: "Write hours and minutes, in UTC if nothing else is said: 13:55, 13:55+02:00.",
    });
  }
  const [, hours, minutes, seconds = "0", zone = "Z"] = match;
  const [offsetHours, offsetMinutes] = [zone.slice(1, 3), zone.slice(-2)].map(Number);
  const eastMinutes = zone === "Z" ? 0 : (offsetHours ?? 0) * 60 + (offsetMinutes ?? 0);
  const offset = zone.startsWith("-") ? -eastMinutes : eastMinutes;
  const at = Number(hours) * 60 + Number(minutes) - offset;
  const ofDay = (at + 2 * 24 * 60) % (24 * 60);
  return [Math.floor(ofDay / 60), ofDay % 60, Number(seconds)]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

function intervalMs(interval: string): number {
  return Number(interval.slice(0, -1)) * (unitsMs[interval.slice(-1)] ?? 0);
}

function startMs({ start = "00:00:00" }: PurgeTimes): number {
  const [hours = 0, minutes = 0, seconds = 0] = start.split(":").map(Number);
  return ((hours * 60 + minutes) * 60 + seconds) * 1000;
}

/** The name of the setting; its value is when it was added. */
export function scheduleKey({ pool = "", namespace, interval, start }: PurgeLevel & PurgeTimes) {
  const times = start === undefined ? interval : `${interval}@${start}`;
  return `${keyPrefix}${times}/${pool}${namespace === "" ? "" : `/${namespace}`}`;
}

/** undefined: it is no schedule's name. */
function parseKey(key: string): (PurgeLevel & PurgeTimes) | undefined {
  const match = /^([0-9]+[mhd])(?:@([0-9]{2}:[0-9]{2}:[0-9]{2}))?\/([^/]*)(?:\/([^/]+))?$/.exec(
    key.startsWith(keyPrefix) ? key.slice(keyPrefix.length) : "",
  );
  if (match === null) return undefined;
  const [, interval = "", start, pool = "", namespace = ""] = match;
  if (pool === "" && namespace !== "") return undefined;
  return {
    interval,
    namespace,
    ...(start === undefined ? {} : { start }),
    ...(pool === "" ? {} : { pool }),
  };
}

/** Whether the monitor takes a setting of this name as a schedule. */
export function isScheduleKey(key: string): boolean {
  const parsed = parseKey(key);
  if (parsed === undefined) return false;
  try {
    checkInterval(parsed.interval);
    return parsed.start === undefined || checkStart(parsed.start) === parsed.start;
  } catch {
    return false;
  }
}

/** The schedules of the map, by name. */
export function schedulesOf({ config }: Pick<OsdMap, "config">): PurgeSchedule[] {
  return Object.entries(config)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([key, value]) => {
      const parsed = parseKey(key);
      return parsed === undefined ? [] : [{ ...parsed, addedAtMs: Number(value) }];
    });
}

/** Those that hold for a pool or namespace: its own, else its pool's, else those of all pools. */
export function schedulesFor(
  all: readonly PurgeSchedule[],
  place: { pool: string; namespace: string },
): PurgeSchedule[] {
  const levels: PurgeLevel[] = [place, { pool: place.pool, namespace: "" }, { namespace: "" }];
  for (const { pool, namespace } of levels) {
    const own = all.filter((one) => one.pool === pool && one.namespace === namespace);
    if (own.length > 0) return own;
  }
  return [];
}

/** The newest moment that is due by then, of those since a schedule was added. */
export function lastDueMs(schedules: readonly PurgeSchedule[], nowMs: number): number | undefined {
  const due = schedules
    .map((schedule) => ({ dueMs: dueBefore(schedule, nowMs), addedAtMs: schedule.addedAtMs }))
    .filter(({ dueMs, addedAtMs }) => dueMs > addedAtMs);
  return due.length === 0 ? undefined : Math.max(...due.map(({ dueMs }) => dueMs));
}

/** The next moment that is due after that; undefined: there is no schedule. */
export function nextDueMs(schedules: readonly PurgeSchedule[], nowMs: number): number | undefined {
  if (schedules.length === 0) return undefined;
  return Math.min(...schedules.map((one) => dueBefore(one, nowMs) + intervalMs(one.interval)));
}

/** Moments are counted from midnight of 1 January 1970. */
function dueBefore(schedule: PurgeSchedule, nowMs: number): number {
  const [stepMs, firstMs] = [intervalMs(schedule.interval), startMs(schedule)];
  return firstMs + Math.floor((nowMs - firstMs) / stepMs) * stepMs;
}
