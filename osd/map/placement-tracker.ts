// Follows the maps for the PGs of one OSD: which it is a member of or holds a copy of, and when
// their intervals change. Pools whose inputs did not change cost nothing.
//
// Invariants: records has every PG with this OSD in its up or acting set, and every PG of which it
// holds data; a record is replaced, never changed in place. When a pool gets more PGs, each copy
// here has a record for every PG that it is divided into, with the past of the copy: a child is
// never answered for as a PG of which nothing is here.
import { type PgId, parsePgId, pgId } from "../../common/units.js";
import { findPool, type OsdMap, type PoolInfo, pgpNumOf } from "../../proto/osd-map.js";
import { childSeeds } from "../../proto/pg-split.js";
import {
  type CrushMapper,
  type PgPlacement,
  poolPlacements,
  primaryAffinities,
} from "../../proto/placement.js";
import type { OsdViews } from "../peering/past-intervals.js";
import {
  newRecord,
  nextRecord,
  type PgRecord,
  type Placed,
  recordAfterGap,
  toldRecord,
} from "./pg-record.js";

/** What it needs of CRUSH. */
export interface CrushPort {
  /** @throws corrupt, invalid_argument */
  compile(text: string): Uint8Array;
  mapper: CrushMapper;
}

/** What a map changed for the PGs here. */
export interface Advance {
  /** PGs with a new record */
  changed: Set<PgId>;
  /** PGs whose pool is gone */
  removed: Set<PgId>;
}

interface PlacedPool {
  inputs: string;
  pool: PoolInfo;
  placements: readonly PgPlacement[];
}

export class PlacementTracker {
  readonly records = new Map<PgId, PgRecord>();
  /** how many PGs its pool has, by PG here: the copy is divided for so many */
  readonly pgNums = new Map<PgId, number>();
  private readonly pools = new Map<number, PlacedPool>();
  private compiled: { text: string; bytes: Uint8Array } | undefined;
  private newestEpoch = 0;

  /** @param self this OSD's id */
  constructor(
    private readonly self: number,
    private readonly crush: CrushPort,
  ) {}

  /** Takes up from a stored map: no PG changes by this, PGs with data have their stored records. */
  restore(map: OsdMap, records: ReadonlyMap<PgId, PgRecord>): void {
    for (const [pgid, record] of records) {
      this.records.set(pgid, record);
      this.pgNums.set(pgid, findPool(map, parsePgId(pgid).pool)?.pgNum ?? 1);
    }
    this.newestEpoch = map.epoch;
    this.placePools(map);
  }

  /**
   * Names a PG of which the store has data, but no record: its past is not known.
   * @param pgNum for how many PGs the copy was divided last; 0: not known
   */
  adopt(pgid: PgId, pgNum: number): void {
    const { pool: poolId, seed } = parsePgId(pgid);
    if (pgNum > 0) this.pgNums.set(pgid, pgNum);
    const placed = this.pools.get(poolId);
    const placement = placed?.placements[seed];
    this.records.set(pgid, {
      history: { since: placed?.pool.createdEpoch ?? 0, intervals: [] },
      interval: {
        first: 0,
        up: placement?.up ?? [],
        acting: placement?.acting ?? [],
        size: placed?.pool.size ?? 0,
        minSize: placed?.pool.minSize ?? 1,
      },
      key: "",
      unknownFrom: placed?.pool.createdEpoch ?? 0,
    });
  }

  /**
   * Goes on to a map.
   * @throws corrupt: nothing can be placed by it; then all stays as it was
   * @param contiguous it follows the one before directly; else everything between is unknown
   */
  advance(map: OsdMap, contiguous: boolean): Advance {
    const previousEpoch = this.newestEpoch;
    // First: a map that is refused here must have changed nothing.
    const moved = this.placePools(map);
    const result: Advance = { changed: new Set(), removed: this.dropRemoved(map) };
    this.splitRecords(map);
    const osds = osdViews(map);
    for (const placed of this.pools.values()) {
      if (contiguous && !moved.has(placed.pool.id)) continue;
      for (const placement of placed.placements) {
        const at = { placement, pool: placed.pool, map, osds };
        this.follow(at, contiguous, previousEpoch, result.changed);
      }
    }
    this.newestEpoch = map.epoch;
    return result;
  }

  /** The present interval of a PG began with epoch `first`, says its primary. */
  tell(pgid: PgId, first: number): PgRecord | undefined {
    const record = this.records.get(pgid);
    if (record === undefined || record.interval.first !== 0) return record;
    const told = toldRecord(record, first);
    this.records.set(pgid, told);
    return told;
  }

  /** This OSD has no copy of the PG any more. */
  forget(pgid: PgId): void {
    this.records.delete(pgid);
    this.pgNums.delete(pgid);
  }

  /** A child begins with the record that its parent has so far, and follows maps as any other. */
  private splitRecords(map: OsdMap): void {
    for (const [pgid, record] of [...this.records]) {
      const { pool: poolId, seed } = parsePgId(pgid);
      const to = findPool(map, poolId)?.pgNum ?? 1;
      const from = this.pgNums.get(pgid) ?? to;
      this.pgNums.set(pgid, Math.max(from, to));
      if (from >= to) continue;
      for (const child of childSeeds(seed, from, to)) {
        this.records.set(pgId(poolId, child), record);
        this.pgNums.set(pgId(poolId, child), to);
      }
    }
  }

  private follow(at: Placed, contiguous: boolean, previousEpoch: number, changed: Set<PgId>): void {
    const { placement } = at;
    const before = this.records.get(placement.pgid);
    if (before === undefined) {
      const member = placement.up.includes(this.self) || placement.acting.includes(this.self);
      if (!member) return;
      this.records.set(placement.pgid, newRecord(at, contiguous));
      this.pgNums.set(placement.pgid, at.pool.pgNum);
    } else {
      const after = contiguous ? nextRecord(before, at) : recordAfterGap(before, previousEpoch, at);
      if (after === before) return;
      this.records.set(placement.pgid, after);
    }
    changed.add(placement.pgid);
  }

  private dropRemoved(map: OsdMap): Set<PgId> {
    const removed = new Set<PgId>();
    for (const pgid of this.records.keys()) {
      if (findPool(map, parsePgId(pgid).pool) !== undefined) continue;
      removed.add(pgid);
      this.forget(pgid);
    }
    for (const id of this.pools.keys()) if (findPool(map, id) === undefined) this.pools.delete(id);
    return removed;
  }

  /** Places the pools whose inputs changed: all of them, or none. @returns their ids */
  private placePools(map: OsdMap): Set<number> {
    const hasNewCrush = map.crush !== this.compiled?.text;
    const compiled =
      this.compiled === undefined || hasNewCrush
        ? { text: map.crush, bytes: this.crush.compile(map.crush) }
        : this.compiled;
    const lives = map.osds.map(
      ({ id, up, in: isIn, weight, upFrom, incarnation }) =>
        `${id}:${up}:${isIn}:${weight}:${upFrom}:${incarnation}`,
    );
    const affinities = [...primaryAffinities(map)].join(";");
    const shared = `${map.maxOsd}|${lives}|${affinities}|${JSON.stringify(map.pgTemp)}`;
    const placed = new Map<number, PlacedPool>();
    for (const pool of map.pools) {
      const { pgNum, size, minSize, crushRule } = pool;
      const inputs = `${pgNum}|${pgpNumOf(pool)}|${size}|${minSize}|${crushRule}|${shared}`;
      if (!hasNewCrush && this.pools.get(pool.id)?.inputs === inputs) continue;
      const placements = poolPlacements(map, pool, compiled.bytes, this.crush.mapper);
      placed.set(pool.id, { inputs, pool, placements });
    }
    this.compiled = compiled;
    if (hasNewCrush) this.pools.clear();
    for (const [id, pool] of placed) this.pools.set(id, pool);
    return new Set(placed.keys());
  }
}

/** What peering looks at in a map. */
export function osdViews(map: OsdMap): OsdViews {
  return new Map(map.osds.map(({ id, up, upThru }) => [id, { up, upThru }]));
}

/** The key of a PG's record in the store. */
export function recordKey(pgid: PgId): string {
  return `pg/${pgid}`;
}
