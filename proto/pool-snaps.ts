// The snapshots of a pool, as the map has them: which ids were handed out, which snapshots are
// being removed, and which have been. Pure. docs/snapshots.md
//
// Removals are numbered in the order in which they came, from 1 on, without gaps. A PG that is
// through with removal n is through with all before it, so one number tells how far it is.
import type { PoolInfo } from "./osd-map.js";

/** Of the pool together: more snapshots can be removed when these have been trimmed. */
export const maxRemovedSnaps = 16_384;
/** Of the pool; there are hardly more than snapshots that exist. */
export const maxPurgedRuns = 16_384;
/** Ids that one command hands out. */
export const maxSnapsAtOnce = 1024;

export interface PoolSnaps {
  /** the newest id handed out; 0: none */
  seq: number;
  /** being removed, in the order of their removal */
  removed: readonly number[];
  /** the number of the newest removal: that of the last one in `removed` */
  removals: number;
  /** that every PG is through with: runs, ascending, none of which touches the next one */
  purged: readonly SnapRun[];
}

/** Ids from the first to the last one. */
export type SnapRun = [first: number, last: number];

/** What the map says of a pool's snapshots. */
export function snapsOf(pool: PoolInfo): PoolSnaps {
  return {
    seq: pool.snapSeq ?? 0,
    removed: pool.removedSnaps ?? [],
    removals: pool.snapRemovals ?? 0,
    purged: pool.purgedSnaps ?? [],
  };
}

/** The ids of the removals after that number, in their order. */
export function removedAfter({ removed, removals }: PoolSnaps, number: number): readonly number[] {
  const oldest = removals - removed.length;
  return removed.slice(Math.max(0, number - oldest));
}

/** The pool with these snapshots; what is at its default is left out. */
export function withSnaps(pool: PoolInfo, snaps: PoolSnaps): PoolInfo {
  const { seq, removed, removals, purged } = snaps;
  const { snapSeq: _, removedSnaps: __, snapRemovals: ___, purgedSnaps: ____, ...rest } = pool;
  return {
    ...rest,
    ...(seq > 0 && { snapSeq: seq }),
    ...(removed.length > 0 && { removedSnaps: [...removed] }),
    ...(removals > 0 && { snapRemovals: removals }),
    ...(purged.length > 0 && {
      purgedSnaps: purged.map(([first, last]): SnapRun => [first, last]),
    }),
  };
}

/**
 * The runs with these ids. Beyond maxPurgedRuns the lowest ones go: a client that still names an id
 * of them is the least likely, and all that it can do is waste space.
 */
export function purgedWith(purged: readonly SnapRun[], ids: readonly number[]): SnapRun[] {
  const runs = [...purged, ...ids.map((id): SnapRun => [id, id])].sort(([a], [b]) => a - b);
  const joined: SnapRun[] = [];
  for (const [first, last] of runs) {
    const before = joined.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else joined.push([first, last]);
  }
  return joined.slice(-maxPurgedRuns);
}

// A monitor that is made anew from the maps of OSDs does not know which ids the lost one had
// handed out after those maps. So ids have a generation too: their bits from 32 up. No monitor
// hands out 2^32 ids in one generation.
const idsOfGeneration = 2 ** 32;

/** The id after which those of a new generation begin. */
export function seqOfGeneration(seq: number, generation: number): number {
  return Math.max(Math.floor(seq / idsOfGeneration) + 1, generation) * idsOfGeneration;
}
