// The health service: named checks over map, PGs and reports. Pure; asked for, never pushed.
import type { Health, HealthCheck, HealthLevel, PgRow } from "../../proto/commands.js";
import type { OsdMap } from "../../proto/osd-map.js";
import { hasState, type StatsState } from "./pg-stats.js";

export interface HealthInput {
  map: OsdMap;
  pgs: readonly PgRow[];
  stats: StatsState;
  /** monotonic */
  nowMs: number;
  /** reports older than this are stale */
  statsStaleMs: number;
  nearfullRatio: number;
  fullRatio: number;
}

/** A check: what it found, one line each; none: it is fine. */
interface CheckKind {
  name: string;
  severity: Exclude<HealthLevel, "HEALTH_OK">;
  summary(count: number): string;
  find(input: HealthInput): string[];
}

const maxDetails = 50;

const plural = (count: number, one: string, many = `${one}s`) =>
  `${count} ${count === 1 ? one : many}`;

const poolByName = ({ map }: HealthInput, name: string) =>
  map.pools.find((pool) => pool.name === name);

const pgLine = (pg: PgRow) => `pg ${pg.pgid} is ${pg.state}, acting [${pg.acting.join(",")}]`;

/** PGs that serve nothing, split by whether waiting may help. */
function inactive(input: HealthInput, hopeless: boolean): string[] {
  return input.pgs
    .filter((pg) => !hasState(pg, "active"))
    .filter((pg) => {
      const minSize = poolByName(input, pg.pool)?.minSize ?? 1;
      const stuck = pg.acting.length < minSize || hasState(pg, "down");
      return (stuck || hasState(pg, "incomplete")) === hopeless;
    })
    .map(pgLine);
}

function fuller(input: HealthInput, from: number, to: number): string[] {
  return [...input.stats.osds.values()]
    .map(({ stats }) => ({ osd: stats.osd, ratio: stats.usedBytes / (stats.totalBytes || 1) }))
    .filter(({ ratio }) => ratio >= from && ratio < to)
    .map(({ osd, ratio }) => `osd.${osd} is ${(ratio * 100).toFixed(1)} % full`);
}

const checkKinds: readonly CheckKind[] = [
  {
    name: "NO_OSDS",
    severity: "HEALTH_WARN",
    summary: () => "no OSD has booted yet",
    find: ({ map }) => (map.osds.length === 0 ? ["start one with `cairn osd`"] : []),
  },
  {
    name: "OSD_DOWN",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "OSD")} down`,
    find: ({ map }) =>
      map.osds
        .filter((osd) => osd.in && !osd.up)
        .map((osd) => `osd.${osd.id} (host ${osd.host}) is down since epoch ${osd.downAt}`),
  },
  {
    name: "OSDMAP_FLAGS",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "flag")} set`,
    find: ({ map }) => map.flags.map((flag) => `${flag} is set`),
  },
  {
    name: "POOL_NO_OSDS",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "pool")} without an OSD that is up and in`,
    find: ({ map }) =>
      map.osds.some((osd) => osd.up && osd.in) ? [] : map.pools.map(({ name }) => `pool ${name}`),
  },
  {
    name: "POOL_TOO_FEW_OSDS",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "pool")} with more copies than there are OSDs`,
    find: ({ map }) => {
      const inCount = map.osds.filter((osd) => osd.in).length;
      return map.pools
        .filter(({ size }) => size > inCount)
        .map(({ name, size }) => `pool ${name} wants ${size} copies on ${inCount} OSDs`);
    },
  },
  {
    name: "PG_UNAVAILABLE",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "PG")} cannot serve: too few OSDs`,
    find: (input) => inactive(input, true),
  },
  {
    name: "PG_INACTIVE",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "PG")} not active yet`,
    find: (input) => inactive(input, false),
  },
  {
    name: "PG_UNDERSIZED",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "PG")} with fewer OSDs than copies`,
    find: (input) =>
      input.pgs
        .filter((pg) => hasState(pg, "active"))
        .filter((pg) => pg.acting.length < (poolByName(input, pg.pool)?.size ?? 0))
        .map(pgLine),
  },
  {
    name: "PG_DEGRADED",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "PG")} with copies of objects missing`,
    find: ({ pgs }) =>
      pgs
        .filter((pg) => pg.degraded > 0 || hasState(pg, "degraded"))
        .map((pg) => `${pgLine(pg)}, ${plural(pg.degraded, "copy", "copies")} missing`),
  },
  {
    name: "OBJECT_UNFOUND",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "PG")} with objects that no OSD has`,
    find: ({ pgs }) =>
      pgs.filter((pg) => pg.unfound > 0).map((pg) => `${pgLine(pg)}, ${pg.unfound} unfound`),
  },
  {
    name: "PG_DAMAGED",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "PG")} with damaged copies`,
    find: ({ pgs }) =>
      pgs
        .filter((pg) => hasState(pg, "inconsistent"))
        .map((pg) => `${pgLine(pg)}; look with \`cairn pg list-inconsistent ${pg.pgid}\``),
  },
  {
    name: "OSD_SCRUB_ERRORS",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "PG")} with scrub errors`,
    find: ({ pgs }) =>
      pgs
        .filter((pg) => (pg.scrub?.errors ?? 0) > 0)
        .map((pg) => {
          const errors = plural(pg.scrub?.errors ?? 0, "scrub error");
          return `pg ${pg.pgid} has ${errors}; mend them with \`cairn pg repair ${pg.pgid}\``;
        }),
  },
  {
    name: "OSD_NEARFULL",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "OSD")} nearly full`,
    find: (input) => fuller(input, input.nearfullRatio, input.fullRatio),
  },
  {
    name: "OSD_FULL",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "OSD")} full`,
    find: (input) => fuller(input, input.fullRatio, Number.POSITIVE_INFINITY),
  },
  {
    name: "SLOW_OPS",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "daemon")} with slow operations`,
    find: ({ stats }) => [
      ...[...stats.osds.values()].flatMap((report) =>
        slowOps(`osd.${report.stats.osd}`, report.stats),
      ),
      ...[...stats.clients.values()].flatMap((report) =>
        slowOps(report.stats.daemon, report.stats),
      ),
    ],
  },
  {
    name: "OSD_STATS_STALE",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "OSD")} up without a recent report`,
    find: ({ map, stats, nowMs, statsStaleMs }) =>
      map.osds
        .filter((osd) => osd.up)
        .filter(({ id }) => {
          const sinceMs = stats.osds.get(id)?.atMs ?? stats.upSinceMs.get(id) ?? nowMs;
          return nowMs - sinceMs > statsStaleMs;
        })
        .map(({ id }) => `osd.${id} has not reported for ${statsStaleMs / 1000} s`),
  },
];

interface SlowOpsReport {
  slowOpCount: number;
  slowOps: { description: string; ageMs: number }[];
}

function slowOps(daemon: string, { slowOpCount, slowOps: oldest }: SlowOpsReport): string[] {
  if (slowOpCount === 0) return [];
  const [first] = oldest;
  const named =
    first === undefined
      ? ""
      : `, the oldest ${(first.ageMs / 1000).toFixed(1)} s: ${first.description}`;
  return [`${daemon}: ${plural(slowOpCount, "operation")}${named}`];
}

/** The state of the cluster's health. */
export function healthOf(input: HealthInput): Health {
  const checks: HealthCheck[] = [];
  for (const kind of checkKinds) {
    const found = kind.find(input);
    if (found.length === 0) continue;
    const { name, severity } = kind;
    const detail = found.slice(0, maxDetails);
    checks.push({ name, severity, summary: kind.summary(found.length), detail });
  }
  const worst = checks.some(({ severity }) => severity === "HEALTH_ERR")
    ? "HEALTH_ERR"
    : "HEALTH_WARN";
  return { status: checks.length === 0 ? "HEALTH_OK" : worst, checks };
}
