// The snapshot service: hands out the ids of a pool's snapshots, notes which are being removed, and
// puts those that every PG of the pool is through with to those that were. Pure: a map and
// arguments in, changes out, or an error that says what to do.
import { StorageError } from "../../common/errors.js";
import type { CommandArgs, PgRow } from "../../proto/commands.js";
import { findPool, type MapChanges, type OsdMap, type PoolInfo } from "../../proto/osd-map.js";
import {
  maxRemovedSnaps,
  purgedWith,
  removedAfter,
  snapsOf,
  withSnaps,
} from "../../proto/pool-snaps.js";
import { hasState } from "./pg-stats.js";

/**
 * The next ids: `count` of them from `id` on.
 * @param map the map being made
 * @throws not_found, out_of_range (the pool has used up its ids)
 */
export function planSnapAllocate(
  map: OsdMap,
  { pool: name, count = 1 }: CommandArgs<"pool snap allocate">,
): { changes: MapChanges; id: number; count: number } {
  const pool = poolNamed(map, name);
  const snaps = snapsOf(pool);
  const seq = snaps.seq + count;
  if (!Number.isSafeInteger(seq)) {
    throw new StorageError("out_of_range", `pool "${name}" has used up its snapshot ids`);
  }
  const changes = { pools: [withSnaps(pool, { ...snaps, seq })] };
  return { changes, id: snaps.seq + 1, count };
}

/**
 * Begins to remove snapshots. Those that are being removed already are left as they are; those
 * that were removed long ago are looked for once more, which harms nothing.
 * @returns undefined when all of them are being removed already
 * @throws not_found, invalid_argument (an id that was never handed out), busy (too many at once)
 */
export function planSnapRemove(
  map: OsdMap,
  { pool: name, ids }: CommandArgs<"pool snap remove">,
): MapChanges | undefined {
  const pool = poolNamed(map, name);
  const snaps = snapsOf(pool);
  const unknown = ids.find((id) => id > snaps.seq);
  if (unknown !== undefined) {
    throw new StorageError(
      "invalid_argument",
      `pool "${name}" has no snapshot ${unknown}: its newest one is ${snaps.seq}`,
    );
  }
  const known = new Set(snaps.removed);
  const added = [...new Set(ids)].filter((id) => !known.has(id));
  if (added.length === 0) return undefined;
  const removed = [...snaps.removed, ...added];
  if (removed.length > maxRemovedSnaps) {
    throw new StorageError("busy", `pool "${name}" is still removing ${known.size} snapshots`, {
      remedy: "Wait until PGs have trimmed them: `cairn pg ls` shows snaptrim until then.",
    });
  }
  const removals = snaps.removals + added.length;
  return { pools: [withSnaps(pool, { ...snaps, removed, removals })] };
}

/**
 * Ends the removals that all PGs of their pool are through with. Their ids stay known for ever: a
 * client that has heard of nothing may still name them, and no OSD may keep anything for them. Only
 * what the primary of an active PG says counts: a PG that nobody serves may hold anything.
 * @param rows of all PGs
 * @returns undefined when nothing is to be forgotten
 */
export function planSnapForget(map: OsdMap, rows: readonly PgRow[]): MapChanges | undefined {
  const pools = map.pools.flatMap((pool): PoolInfo[] => {
    const snaps = snapsOf(pool);
    if (snaps.removed.length === 0) return [];
    const removed = removedAfter(snaps, trimmedTo(pool, rows));
    const ended = snaps.removed.slice(0, snaps.removed.length - removed.length);
    if (ended.length === 0) return [];
    return [withSnaps(pool, { ...snaps, removed, purged: purgedWith(snaps.purged, ended) })];
  });
  return pools.length === 0 ? undefined : { pools };
}

/** The removal up to which all PGs of the pool are through. */
function trimmedTo(pool: PoolInfo, rows: readonly PgRow[]): number {
  const numbers = rows
    .filter((row) => row.pool === pool.name)
    .map((row) => (row.primary !== -1 && hasState(row, "active") ? (row.snapTrimmed ?? 0) : 0));
  // A pool of which not all PGs have been placed yet is through with nothing.
  return numbers.length < pool.pgNum ? 0 : Math.min(...numbers);
}

function poolNamed(map: OsdMap, name: string): PoolInfo {
  const pool = findPool(map, name);
  if (pool !== undefined) return pool;
  throw new StorageError("not_found", `there is no pool "${name}"`, {
    remedy: "`cairn pool ls` lists them.",
  });
}
