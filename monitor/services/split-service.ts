// The split service: gives a pool more PGs, and spreads them when they are made. Pure: a map and
// arguments in, changes out, or an error that says what to do. docs/operating/placement-groups.md
//
// A split moves nothing between OSDs: each new PG (child) is where the PG is that it is split off
// (parent), until pgpNum is raised as well. By itself the monitor does that when all PGs of the
// pool are clean, so that no PG is split and moved at once.
import { StorageError } from "../../common/errors.js";
import { type PgId, parsePgId, pgId } from "../../common/units.js";
import type { PgRow } from "../../proto/commands.js";
import { hasFlag, spreadHolds } from "../../proto/map-flags.js";
import {
  isPgCount,
  type MapChanges,
  maxPgNum,
  type OsdMap,
  type PoolInfo,
  pgpNumOf,
} from "../../proto/osd-map.js";
import { hasState } from "./pg-stats.js";

/**
 * Raises the number of PGs. The children of seed s are s + n, s + 2n and so on, n being what pgNum
 * was; they take over the parent's pg_temp: who serves it has their objects.
 * @param map the map being made
 * @throws invalid_argument: no power of two, or below what it is
 */
export function planSplit(
  map: OsdMap,
  before: PoolInfo,
  pgNum: number,
): { pool: PoolInfo; pgTemp: Record<PgId, number[]> } {
  requirePgCount("pg_num", pgNum);
  if (pgNum < before.pgNum) {
    throw new StorageError(
      "invalid_argument",
      `PGs cannot be merged: pool "${before.name}" has ${before.pgNum}, not to be made ${pgNum}`,
    );
  }
  if (pgNum === before.pgNum) return { pool: before, pgTemp: {} };
  const split = { ...before, pgNum, splitEpoch: map.epoch };
  return { pool: spreadTo(split, pgpNumOf(before)), pgTemp: childTemps(map, before, pgNum) };
}

function childTemps(map: OsdMap, { id, pgNum: before }: PoolInfo, pgNum: number) {
  const temps = Object.entries(map.pgTemp).flatMap(([pgid, acting]) => {
    const { pool, seed } = parsePgId(pgid);
    if (pool !== id) return [];
    const children = Array.from(
      { length: pgNum / before - 1 },
      (_, at) => (at + 1) * before + seed,
    );
    return children.map((child) => [pgId(id, child), acting] as const);
  });
  return Object.fromEntries(temps) as Record<PgId, number[]>;
}

/**
 * Raises how many PGs CRUSH places.
 * @throws invalid_argument: no power of two, below what it is, or above pgNum
 */
export function planSpread(before: PoolInfo, pgpNum: number): PoolInfo {
  requirePgCount("pgp_num", pgpNum);
  const { name, pgNum } = before;
  if (pgpNum > pgNum) {
    throw new StorageError(
      "invalid_argument",
      `pgp_num ${pgpNum} is above pg_num: pool "${name}" has ${pgNum} PGs`,
      { remedy: "Raise pg_num; pgp_num follows by itself when the new PGs are clean." },
    );
  }
  if (pgpNum < pgpNumOf(before)) {
    throw new StorageError(
      "invalid_argument",
      `pgp_num can only be raised: of pool "${name}" it is ${pgpNumOf(before)}`,
    );
  }
  return spreadTo(before, pgpNum);
}

/** With pgpNum written only where it says something: two records for one state would differ. */
function spreadTo({ pgpNum: _, ...pool }: PoolInfo, pgpNum: number): PoolInfo {
  return pgpNum === pool.pgNum ? pool : { ...pool, pgpNum };
}

function requirePgCount(setting: "pg_num" | "pgp_num", count: number): void {
  if (isPgCount(count)) return;
  throw new StorageError(
    "invalid_argument",
    `${setting} is a power of two from 1 to ${maxPgNum}, not ${count}`,
  );
}

/** Pools that have been split and are not spread, unless the operator wants no data moved. */
export function poolsToSpread(map: OsdMap): PoolInfo[] {
  if (spreadHolds.some((flag) => hasFlag(map, flag))) return [];
  return map.pools.filter((pool) => pgpNumOf(pool) < pool.pgNum);
}

/**
 * Has CRUSH place all PGs of the pools of which each is active and clean since the split.
 * @param rows of all PGs
 * @returns undefined when there is no such pool
 */
export function planAutoSpread(map: OsdMap, rows: readonly PgRow[]): MapChanges | undefined {
  const pools = poolsToSpread(map)
    .filter((pool) => isCleanSinceSplit(pool, rows))
    .map((pool) => spreadTo(pool, pool.pgNum));
  return pools.length === 0 ? undefined : { pools };
}

function isCleanSinceSplit(pool: PoolInfo, rows: readonly PgRow[]): boolean {
  const clean = rows.filter(
    (row) =>
      row.pool === pool.name &&
      row.primary !== -1 &&
      hasState(row, "active") &&
      hasState(row, "clean") &&
      row.epoch >= (pool.splitEpoch ?? 0),
  );
  return clean.length === pool.pgNum;
}
