// The health service: named checks over map, PGs and reports. Pure; asked for, never pushed.
import type { Health, HealthCheck, HealthLevel, PgRow } from "../../proto/commands.js";
import type { FullState, OsdInfo, OsdMap } from "../../proto/osd-map.js";
import { hasState, type StatsState } from "./pg-stats.js";
import type { CommitLatency } from "./slow-service.js";
import { type StartRefusalState, shownStartRefusals } from "./start-refusals.js";

export interface HealthInput {
  map: OsdMap;
  pgs: readonly PgRow[];
  stats: StatsState;
  startRefusals: StartRefusalState;
  /** monotonic */
  nowMs: number;
  /** reports older than this are stale */
  statsStaleMs: number;
  /** mean commit times of an OSD and of its peers, if known */
  commitLatency(osd: number): CommitLatency | undefined;
}

/** A check: what it found, one line each; none: it is fine. */
interface CheckKind {
  name: string;
  severity: Exclude<HealthLevel, "HEALTH_OK">;
  summary(count: number): string;
  /** what the operator can do; docs/operating/health.md says more */
  remedy: string;
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

/** OSDs at a level of use; the map knows it, the newest report says how full they are. */
function atLevel({ map, stats }: HealthInput, level: FullState): string[] {
  return map.osds
    .filter(({ fullState }) => fullState === level)
    .map(({ id, host }) => {
      const report = stats.osds.get(id)?.stats;
      const ratio = report && report.usedBytes / (report.totalBytes || 1);
      const used = ratio === undefined ? "" : `: ${(ratio * 100).toFixed(1)} % used`;
      return `osd.${id} (host ${host}) is ${level}${used}`;
    });
}

function slowLine(osd: OsdInfo, latency: CommitLatency | undefined): string {
  const figures =
    latency === undefined
      ? "no recent figure"
      : `a commit takes ${latency.commitMs.toFixed(1)} ms, ` +
        `on its peers ${latency.peersMs.toFixed(1)} ms`;
  return `osd.${osd.id} (host ${osd.host}): ${figures}; others lead its PGs`;
}

const checkKinds: readonly CheckKind[] = [
  {
    name: "NO_OSDS",
    severity: "HEALTH_WARN",
    summary: () => "no OSD has booted yet",
    remedy: "Start OSDs: `cairn osd mkfs`, then `cairn osd`.",
    find: ({ map }) => (map.osds.length === 0 ? ["start one with `cairn osd`"] : []),
  },
  {
    name: "OSD_DOWN",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "OSD")} down`,
    remedy: "Start it again, or wait: it is marked out after mon.down_out_interval_ms.",
    find: ({ map }) =>
      map.osds
        .filter((osd) => osd.in && !osd.up)
        .map((osd) => `osd.${osd.id} (host ${osd.host}) is down since epoch ${osd.downAt}`),
  },
  {
    name: "OSDMAP_FLAGS",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "flag")} set`,
    remedy: "`cairn osd unset FLAG` when the maintenance is over.",
    find: ({ map }) => map.flags.map((flag) => `${flag} is set`),
  },
  {
    name: "POOL_NO_OSDS",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "pool")} without an OSD that is up and in`,
    remedy: "Start the OSDs.",
    find: ({ map }) =>
      map.osds.some((osd) => osd.up && osd.in) ? [] : map.pools.map(({ name }) => `pool ${name}`),
  },
  {
    name: "POOL_TOO_FEW_OSDS",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "pool")} with more copies than there are OSDs`,
    remedy: "Add OSDs, or bring those in that are out: `cairn osd in ID`.",
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
    remedy: "Start the OSDs that the PG waits for; `cairn pg ls` names its acting set.",
    find: (input) => inactive(input, true),
  },
  {
    name: "PG_INACTIVE",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "PG")} not active yet`,
    remedy: "Wait: PGs peer after each change; if it stays, look at the OSDs' logs.",
    find: (input) => inactive(input, false),
  },
  {
    name: "PG_UNDERSIZED",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "PG")} with fewer OSDs than copies`,
    remedy: "Start the OSDs that are down, or add others.",
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
    remedy: "Wait: the copies are being made anew; norecover and nobackfill hold that back.",
    find: ({ pgs }) =>
      pgs
        .filter((pg) => pg.degraded > 0 || hasState(pg, "degraded"))
        .map((pg) => `${pgLine(pg)}, ${plural(pg.degraded, "copy", "copies")} missing`),
  },
  {
    name: "OBJECT_UNFOUND",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "PG")} with objects that no OSD has`,
    remedy:
      "Start the OSDs that are down: one of them may have the only copy of what " +
      "`cairn pg list-unfound` names.",
    find: ({ pgs }) =>
      pgs.filter((pg) => pg.unfound > 0).map((pg) => `${pgLine(pg)}, ${pg.unfound} unfound`),
  },
  {
    name: "PG_DAMAGED",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "PG")} with damaged copies`,
    remedy: "Look which copies differ with `cairn pg list-inconsistent`, then `cairn pg repair`.",
    find: ({ pgs }) => pgs.filter((pg) => hasState(pg, "inconsistent")).map(pgLine),
  },
  {
    name: "OSD_SCRUB_ERRORS",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "PG")} with scrub errors`,
    remedy: "Replace the bad copies with `cairn pg repair PGID`.",
    find: ({ pgs }) =>
      pgs
        .filter((pg) => (pg.scrub?.errors ?? 0) > 0)
        .map((pg) => {
          const errors = plural(pg.scrub?.errors ?? 0, "scrub error");
          return `pg ${pg.pgid} has ${errors}; mend with \`cairn pg repair ${pg.pgid}\``;
        }),
  },
  {
    name: "PG_RECOVERY_HELD",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "PG")} may not recover: an OSD has no room`,
    remedy: "Add OSDs, delete data, or raise mon.backfillfull_ratio a little.",
    find: ({ pgs }) =>
      pgs
        .filter((pg) => hasState(pg, "backfill_toofull") || hasState(pg, "recovery_toofull"))
        .map(pgLine),
  },
  {
    name: "OSD_NEARFULL",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "OSD")} nearly full`,
    remedy: "Add OSDs or delete images before it is full (mon.nearfull_ratio).",
    find: (input) => atLevel(input, "nearfull"),
  },
  {
    name: "OSD_BACKFILLFULL",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "OSD")} too full to take backfill`,
    remedy: "Add OSDs or delete images: nothing is backfilled to it (mon.backfillfull_ratio).",
    find: (input) => atLevel(input, "backfillfull"),
  },
  {
    name: "OSD_FULL",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "OSD")} full: writes to its PGs are refused`,
    remedy: "Delete or discard data, which still works, or add OSDs (mon.full_ratio).",
    find: (input) => atLevel(input, "full"),
  },
  {
    name: "OSD_FAILED",
    severity: "HEALTH_ERR",
    summary: (count) => `${plural(count, "OSD")} ended because the store failed`,
    remedy:
      "Replace the disk and make the OSD anew, or start it again when the cause is gone; " +
      "it does not come back by itself.",
    find: ({ map }) =>
      map.osds.flatMap(({ id, host, failed }) =>
        failed ? [`osd.${id} (host ${host}): ${failed.code}: ${failed.message}`] : [],
      ),
  },
  {
    name: "OSD_START_REFUSED",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "OSD")} could not start`,
    remedy: "Do what the line says, and start it again; docs/operating/health.md has the reasons.",
    find: ({ startRefusals, map, nowMs }) =>
      shownStartRefusals(startRefusals, map, nowMs).map(([id, { host, error }]) => {
        const remedy = error.remedy === undefined ? "" : ` ${error.remedy}`;
        return `osd.${id} (host ${host}): ${error.code}: ${error.message}.${remedy}`;
      }),
  },
  {
    name: "OSD_SLOW",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "OSD")} far slower than the others`,
    remedy: "Look at its disk; `cairn osd out ID` takes its data away as well.",
    find: ({ map, commitLatency }) =>
      map.osds.filter(({ slow }) => slow).map((osd) => slowLine(osd, commitLatency(osd.id))),
  },
  {
    name: "SLOW_OPS",
    severity: "HEALTH_WARN",
    summary: (count) => `${plural(count, "daemon")} with slow operations`,
    remedy: "Look for a slow or hung OSD, a PG that is not active, or the flag pause.",
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
    remedy: "Look at the OSD's log: it is up, but does not report.",
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

/** The codes of all checks; docs/operating/health.md explains each. */
export const healthCodes: readonly string[] = checkKinds.map(({ name }) => name);

/** The state of the cluster's health. */
export function healthOf(input: HealthInput): Health {
  const checks: HealthCheck[] = [];
  for (const kind of checkKinds) {
    const found = kind.find(input);
    if (found.length === 0) continue;
    const { name, severity, remedy } = kind;
    const detail = found.slice(0, maxDetails);
    checks.push({ name, severity, summary: kind.summary(found.length), remedy, detail });
  }
  const worst = checks.some(({ severity }) => severity === "HEALTH_ERR")
    ? "HEALTH_ERR"
    : "HEALTH_WARN";
  return { status: checks.length === 0 ? "HEALTH_OK" : worst, checks };
}
