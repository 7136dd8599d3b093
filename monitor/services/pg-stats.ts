// PG statistics: the last report of every daemon, and what they say about the PGs together with
// the map. Pure; holds one report per daemon.
//
// A PG's state is taken only from the OSD that is its primary now, and only if that OSD reported
// it with the acting set that it has now, knowing that all of them had come up and how many PGs
// the pool has: an older report says nothing about the present interval.
import type { PgId } from "../../common/units.js";
import type { PgRow } from "../../proto/commands.js";
import type { ClientStats, OsdStats, PgStats } from "../../proto/messages.js";
import { findPool, type OsdMap } from "../../proto/osd-map.js";
import type { PgPlacement } from "../../proto/placement.js";

/** A report and when it came (monotonic). */
export interface Reported<Stats> {
  stats: Stats;
  atMs: number;
}

export interface StatsState {
  readonly osds: Map<number, Reported<OsdStats>>;
  /** by daemon label */
  readonly clients: Map<string, Reported<ClientStats>>;
  /** since when this monitor has known each OSD that is up to be so */
  readonly upSinceMs: Map<number, number>;
}

/** The state of a monitor that has just started. */
export function initialStatsState(): StatsState {
  return { osds: new Map(), clients: new Map(), upSinceMs: new Map() };
}

/** Takes notice of which OSDs are up; the reports of others are void. */
export function observeUp(state: StatsState, map: OsdMap, nowMs: number): void {
  const up = new Set(map.osds.filter((osd) => osd.up).map((osd) => osd.id));
  for (const id of state.upSinceMs.keys()) if (!up.has(id)) state.upSinceMs.delete(id);
  for (const id of state.osds.keys()) if (!up.has(id)) state.osds.delete(id);
  for (const id of up) if (!state.upSinceMs.has(id)) state.upSinceMs.set(id, nowMs);
}

/** Rows of all PGs of the map, in the order of its pools. */
export function pgRows(
  state: StatsState,
  map: OsdMap,
  placements: ReadonlyMap<PgId, PgPlacement>,
): PgRow[] {
  const reports = reportsByPg(state);
  const upFrom = new Map(map.osds.map((osd) => [osd.id, osd.upFrom]));
  return [...placements.values()].map((placement) => {
    const pool = findPool(map, Number(placement.pgid.split(".", 1)[0]));
    const upSince = placement.acting.map((osd) => upFrom.get(osd) ?? 0);
    const sinceEpoch = Math.max(pool?.splitEpoch ?? 0, ...upSince);
    return rowOf(placement, pool?.name ?? "?", sinceEpoch, reports.get(placement.pgid));
  });
}

interface PgReport {
  osd: number;
  stats: PgStats;
}

function reportsByPg(state: StatsState): Map<PgId, PgReport[]> {
  const byPg = new Map<PgId, PgReport[]>();
  for (const [osd, { stats }] of state.osds) {
    for (const pg of stats.pgs) {
      const known = byPg.get(pg.pgid);
      if (known === undefined) byPg.set(pg.pgid, [{ osd, stats: pg }]);
      else known.push({ osd, stats: pg });
    }
  }
  return byPg;
}

function rowOf(
  placement: PgPlacement,
  pool: string,
  sinceEpoch: number,
  reports: PgReport[] = [],
): PgRow {
  const { pgid, up, acting, primary } = placement;
  const fitting = reports.find(
    ({ osd, stats }) =>
      osd === primary && stats.epoch >= sinceEpoch && stats.acting.join() === acting.join(),
  );
  const newest = reports.reduce<PgStats | undefined>(
    (best, { stats }) => (best === undefined || stats.epoch > best.epoch ? stats : best),
    undefined,
  );
  const stats = fitting?.stats ?? newest;
  const state = fitting?.stats.state ?? unreportedState(primary, newest);
  return { ...(stats ?? nothingReported(pgid)), pgid, pool, primary, up, acting, state };
}

function unreportedState(primary: number, newest: PgStats | undefined): string {
  if (primary !== -1 || newest === undefined) return "unknown";
  return `stale+${newest.state}`;
}

function nothingReported(pgid: PgId): PgStats {
  return {
    pgid,
    state: "unknown",
    epoch: 0 as PgStats["epoch"],
    up: [],
    acting: [],
    lastUpdate: { epoch: 0 as PgStats["epoch"], number: 0 },
    objects: 0,
    bytes: 0,
    missing: 0,
    degraded: 0,
    misplaced: 0,
    unfound: 0,
  };
}

/** True when the PG's states (joined by "+") have that one. */
export function hasState(row: PgRow, state: string): boolean {
  return row.state.split("+").includes(state);
}

/** How many PGs are in each combination of states, the most frequent first. */
export function countByState(rows: readonly PgRow[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { state } of rows) counts.set(state, (counts.get(state) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}
