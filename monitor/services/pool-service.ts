// The pool service: plans the creation and removal of pools. Pure: a map and arguments in, changes
// out, or an error that says what to do.
import { StorageError } from "../../common/errors.js";
import { type PgId, parsePgId } from "../../common/units.js";
import type { CommandArgs } from "../../proto/commands.js";
import {
  findPool,
  isPgCount,
  type MapChanges,
  maxPgNum,
  maxPoolSize,
  type OsdMap,
  type PoolInfo,
} from "../../proto/osd-map.js";
import type { PoolSetting } from "../../proto/pool-settings.js";
import { scheduleKey, schedulesOf } from "../../proto/purge-schedule.js";
import type { CrushRule } from "../crush-port.js";
import { planSplit, planSpread } from "./split-service.js";

/** Copies of PGs that one OSD may hold (Ceph's mon_max_pg_per_osd). */
export const maxPgsPerOsd = 250;
/** Copies of PGs an OSD should have when the cluster is all one pool. */
const wantedPgsPerOsd = 100;
const defaultSize = 3;

/**
 * @param map the map being made
 * @param rules of its CRUSH map
 * @throws invalid_argument, already_exists, out_of_range (too many PGs)
 */
export function planPoolCreate(
  map: OsdMap,
  args: CommandArgs<"pool create">,
  rules: readonly CrushRule[],
): { changes: MapChanges; pool: PoolInfo } {
  const size = args.size ?? defaultSize;
  const pool: PoolInfo = {
    id: map.nextPoolId,
    name: args.name,
    pgNum: args.pgNum ?? defaultPgNum(map, size),
    size,
    minSize: args.minSize ?? size - Math.floor(size / 2),
    crushRule: args.crushRule ?? rules[0]?.id ?? 0,
    createdEpoch: map.epoch,
    application: args.application ?? "rbd",
  };
  checkPool(map, pool, rules);
  return { changes: { pools: [pool], nextPoolId: pool.id + 1 }, pool };
}

/**
 * The change of one setting of a pool.
 * @throws not_found, invalid_argument, out_of_range
 */
export function planPoolSet(
  map: OsdMap,
  { name, setting, value }: CommandArgs<"pool set">,
  rules: readonly CrushRule[],
): { changes: MapChanges; pool: PoolInfo } {
  const before = existingPool(map, name);
  const { pool, pgTemp } = changedPool(map, before, setting, value);
  const others = { ...map, pools: map.pools.filter(({ id }) => id !== pool.id) };
  checkPool(others, pool, rules);
  const temps = Object.keys(pgTemp).length === 0 ? {} : { pgTemp };
  return { changes: { pools: [pool], ...temps }, pool };
}

/** The pool with one setting changed, and the acting-set overrides that come or go with that. */
function changedPool(
  map: OsdMap,
  before: PoolInfo,
  setting: PoolSetting,
  value: string,
): { pool: PoolInfo; pgTemp: Record<PgId, number[]> } {
  if (setting === "application") return { pool: { ...before, application: value }, pgTemp: {} };
  const number = /^[0-9]{1,9}$/.test(value) ? Number(value) : Number.NaN;
  if (Number.isNaN(number)) {
    throw new StorageError("invalid_argument", `${setting} is a whole number, not "${value}"`);
  }
  switch (setting) {
    case "pg_num":
      return planSplit(map, before, number);
    case "pgp_num":
      return { pool: planSpread(before, number), pgTemp: {} };
    case "size":
      // An acting set of the old size is none of the new one's.
      return {
        pool: { ...before, size: number },
        pgTemp: number === before.size ? {} : droppedTemps(map, before),
      };
    case "min_size":
      return { pool: { ...before, minSize: number }, pgTemp: {} };
    case "crush_rule":
      return { pool: { ...before, crushRule: number }, pgTemp: {} };
  }
}

/** @throws not_found */
export function planPoolRemove(map: OsdMap, name: string): MapChanges {
  const pool = existingPool(map, name);
  const pgTemp = droppedTemps(map, pool);
  const temps = Object.keys(pgTemp).length === 0 ? {} : { pgTemp };
  return { removedPools: [pool.id], ...temps, ...droppedSchedules(map, pool) };
}

/** Another pool of the same name is to have none of them. */
function droppedSchedules(map: OsdMap, { name }: PoolInfo): MapChanges {
  const dropped = schedulesOf(map).filter(({ pool }) => pool === name);
  if (dropped.length === 0) return {};
  return { config: Object.fromEntries(dropped.map((one) => [scheduleKey(one), ""])) };
}

/** @throws not_found */
function existingPool(map: OsdMap, name: string): PoolInfo {
  const pool = findPool(map, name);
  if (pool !== undefined) return pool;
  throw new StorageError("not_found", `there is no pool "${name}"`, {
    remedy: "`cairn pool ls` lists them.",
  });
}

function droppedTemps(map: OsdMap, { id }: PoolInfo): Record<PgId, number[]> {
  const temps = Object.keys(map.pgTemp).filter((pgid) => parsePgId(pgid).pool === id);
  return Object.fromEntries(temps.map((one) => [one, []]));
}

function inOsds(map: OsdMap): number {
  return map.osds.filter((osd) => osd.in).length;
}

/** The power of two nearest to wantedPgsPerOsd for each OSD; at least 8, at most 1024. */
function defaultPgNum(map: OsdMap, size: number): number {
  const wanted = (Math.max(1, inOsds(map)) * wantedPgsPerOsd) / Math.max(1, size);
  return 2 ** Math.min(10, Math.max(3, Math.round(Math.log2(wanted))));
}

type PoolCheck = readonly [holds: boolean, message: string, remedy?: string];

function checkPool(map: OsdMap, pool: PoolInfo, rules: readonly CrushRule[]): void {
  const nameIsFine = /^[A-Za-z0-9_.-]{1,255}$/.test(pool.name);
  const within = (value: number, max: number) =>
    Number.isInteger(value) && value >= 1 && value <= max;
  const checks: readonly PoolCheck[] = [
    [
      nameIsFine,
      `"${pool.name}" is no pool name`,
      'Use letters, digits, "_", "-" and ".", 255 at most.',
    ],
    [isPgCount(pool.pgNum), `pg_num is a power of two from 1 to ${maxPgNum}, not ${pool.pgNum}`],
    [within(pool.size, maxPoolSize), `size is from 1 to ${maxPoolSize}, not ${pool.size}`],
    [
      within(pool.minSize, pool.size),
      `min_size is from 1 to the size ${pool.size}, not ${pool.minSize}`,
    ],
    [
      /^[A-Za-z0-9_.-]{1,255}$/.test(pool.application),
      `"${pool.application}" is no application name`,
    ],
    [
      rules.some(({ id }) => id === pool.crushRule),
      `the CRUSH map has no rule ${pool.crushRule}, only ${rules.map(({ id }) => id).join(", ")}`,
    ],
  ];
  const wrong = checks.find(([holds]) => !holds);
  if (wrong !== undefined) {
    throw new StorageError("invalid_argument", wrong[1], { remedy: wrong[2] });
  }
  if (findPool(map, pool.name) !== undefined) {
    throw new StorageError("already_exists", `there is a pool "${pool.name}" already`, {
      remedy: "Choose another name; `cairn pool ls` lists the pools.",
    });
  }
  checkPgCount(map, pool);
}

/** Too many PGs cost every OSD memory and peering time; with few OSDs, 3 are assumed to come. */
function checkPgCount(map: OsdMap, pool: PoolInfo): void {
  const copies = [...map.pools, pool].reduce((sum, { pgNum, size }) => sum + pgNum * size, 0);
  const osds = Math.max(inOsds(map), 3);
  if (copies <= maxPgsPerOsd * osds) return;
  throw new StorageError(
    "out_of_range",
    `that would be ${copies} copies of PGs on ${osds} OSDs, more than ${maxPgsPerOsd} each`,
    { remedy: "Choose a smaller pg_num, or add OSDs." },
  );
}
