// The snapshots of a pool, as the map has them: which ids were handed out, and which snapshots are
// being removed. Pure. docs/snapshots.md
//
// Removals are numbered in the order in which they came, from 1 on, without gaps. A PG that is
// through with removal n is through with all before it, so one number tells how far it is.
import type { PoolInfo } from "./osd-map.js";

/** Of the pool together: more snapshots can be removed when these have been trimmed. */
export const maxRemovedSnaps = 16_384;
/** Ids that one command hands out. */
export const maxSnapsAtOnce = 1024;

export interface PoolSnaps {
  /** the newest id handed out; 0: none */
  seq: number;
  /** being removed, in the order of their removal */
  removed: readonly number[];
  /** the number of the newest removal: that of the last one in `removed` */
  removals: number;
}

/** What the map says of a pool's snapshots. */
export function snapsOf(pool: PoolInfo): PoolSnaps {
  return {
    seq: pool.snapSeq ?? 0,
    removed: pool.removedSnaps ?? [],
    removals: pool.snapRemovals ?? 0,
  };
}

/** The ids of the removals after that number, in their order. */
export function removedAfter({ removed, removals }: PoolSnaps, number: number): readonly number[] {
  const oldest = removals - removed.length;
  return removed.slice(Math.max(0, number - oldest));
}

/** The pool with these snapshots; what is at its default is left out. */
export function withSnaps(pool: PoolInfo, { seq, removed, removals }: PoolSnaps): PoolInfo {
  const { snapSeq: _, removedSnaps: __, snapRemovals: ___, ...rest } = pool;
  return {
    ...rest,
    ...(seq > 0 && { snapSeq: seq }),
    ...(removed.length > 0 && { removedSnaps: [...removed] }),
    ...(removals > 0 && { snapRemovals: removals }),
  };
}

// A monitor that is made anew from the maps of OSDs does not know which ids the lost one had
// handed out after those maps. So ids have a generation too: their bits from 32 up. No monitor
// hands out 2^32 ids in one generation.
const idsOfGeneration = 2 ** 32;

/** The id after which those of a new generation begin. */
export function seqOfGeneration(seq: number, generation: number): number {
  return Math.max(Math.floor(seq / idsOfGeneration) + 1, generation) * idsOfGeneration;
}
