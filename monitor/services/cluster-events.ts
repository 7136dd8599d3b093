// What the cluster log says of changes: of the map between two epochs, and of health. Pure.
import type { Health, LogEntryLevel } from "../../proto/commands.js";
import { type OsdInfo, type OsdMap, type PoolInfo, pgpNumOf } from "../../proto/osd-map.js";

export interface ClusterEvent {
  level: LogEntryLevel;
  message: string;
}

const event = (level: LogEntryLevel, message: string): ClusterEvent => ({ level, message });

/** What has happened between two maps. */
export function mapEvents(before: OsdMap, after: OsdMap): ClusterEvent[] {
  const osds = new Map(before.osds.map((osd) => [osd.id, osd]));
  const pools = new Map(before.pools.map((pool) => [pool.id, pool]));
  const remaining = new Set(after.pools.map(({ id }) => id));
  const set = after.flags.filter((flag) => !before.flags.includes(flag));
  const unset = before.flags.filter((flag) => !after.flags.includes(flag));
  return [
    ...after.osds.flatMap((osd) => osdEvents(osds.get(osd.id), osd)),
    ...after.pools.flatMap((pool) => poolEvents(pools.get(pool.id), pool)),
    ...before.pools
      .filter(({ id }) => !remaining.has(id))
      .map(({ name, id }) => event("info", `pool ${name} (${id}) removed`)),
    ...set.map((flag) => event("info", `flag ${flag} is set`)),
    ...unset.map((flag) => event("info", `flag ${flag} is taken away`)),
    ...configEvents(before.config, after.config),
  ];
}

function osdEvents(before: OsdInfo | undefined, after: OsdInfo): ClusterEvent[] {
  const name = `osd.${after.id}`;
  const found: ClusterEvent[] = [];
  if (before === undefined) found.push(event("info", `${name} (host ${after.host}) is new`));
  if (after.up && (before?.up !== true || before.upFrom !== after.upFrom)) {
    found.push(event("info", `${name} is up`));
  }
  if (before?.up === true && !after.up) found.push(event("warn", `${name} is down`));
  if (before?.in === true && !after.in) {
    const why = after.autoOut ? " (down for too long)" : "";
    found.push(event("warn", `${name} is out${why}`));
  }
  if (before?.in === false && after.in) found.push(event("info", `${name} is in again`));
  if (after.failed !== undefined && before?.failed === undefined) {
    found.push(event("error", `${name} has failed: ${after.failed.message}`));
  }
  if (after.slow !== undefined && before?.slow === undefined) {
    found.push(event("warn", `${name} is slow`));
  }
  if (after.fullState !== before?.fullState && after.fullState !== undefined) {
    const level = after.fullState === "full" ? "error" : "warn";
    found.push(event(level, `${name} is ${after.fullState}`));
  }
  return found;
}

function poolEvents(before: PoolInfo | undefined, after: PoolInfo): ClusterEvent[] {
  if (before === undefined) {
    const { name, id, size, pgNum } = after;
    return [event("info", `pool ${name} (${id}) created: size ${size}, ${pgNum} PGs`)];
  }
  const changed = (["name", "size", "minSize", "crushRule", "application"] as const).filter(
    (key) => before[key] !== after[key],
  );
  return [
    ...changed.map((key) =>
      event("info", `pool ${after.name}: ${key} is ${after[key]}, was ${before[key]}`),
    ),
    ...pgCountEvents(before, after),
  ];
}

function pgCountEvents(before: PoolInfo, after: PoolInfo): ClusterEvent[] {
  const counts = [
    ["pg_num", before.pgNum, after.pgNum],
    ["pgp_num", pgpNumOf(before), pgpNumOf(after)],
  ] as const;
  return counts
    .filter(([, from, to]) => from !== to)
    .map(([name, from, to]) => event("info", `pool ${after.name}: ${name} ${from} -> ${to}`));
}

type Config = OsdMap["config"];

function configEvents(before: Config, after: Config): ClusterEvent[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names
    .filter((name) => before[name] !== after[name])
    .map((name) => event("info", `setting ${name} is ${after[name] ?? "taken away"}`));
}

const levels = { HEALTH_OK: "info", HEALTH_WARN: "warn", HEALTH_ERR: "error" } as const;

/** Checks that have begun or ended to fail; their figures may change without an event. */
export function healthEvents(before: Health, after: Health): ClusterEvent[] {
  const failed = new Map(before.checks.map((check) => [check.name, check.severity]));
  const failing = new Set(after.checks.map(({ name }) => name));
  const begun = after.checks
    .filter(({ name, severity }) => failed.get(name) !== severity)
    .map(({ name, severity, summary }) => event(levels[severity], `${name}: ${summary}`));
  const ended = before.checks
    .filter(({ name }) => !failing.has(name))
    .map(({ name }) => event("info", `${name} has cleared`));
  const status =
    before.status === after.status
      ? []
      : [event(levels[after.status], `health is ${after.status}, was ${before.status}`)];
  return [...begun, ...ended, ...status];
}
