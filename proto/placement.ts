// Which OSDs a PG is on: the up set from CRUSH and the OSDs' states, the acting set from pg_temp.
// Pure; CRUSH itself comes in as a port (the native core). Terms as in Ceph's OSDMap.
import { assert } from "../common/assert.js";
import { StorageError, toStorageError } from "../common/errors.js";
import { type PgId, parsePgId, pgId } from "../common/units.js";
import { crushHash2 } from "./crush-hash.js";
import { fullWeight, isPgCount, type OsdMap, type PoolInfo, pgpNumOf } from "./osd-map.js";

/** CRUSH over the PGs of a pool that it places. The native core implements it. */
export interface CrushMapper {
  /**
   * @param compiledCrush the compiled CRUSH map
   * @param weights per OSD id, 16.16 fixed point; 0: out
   * @returns pgNum * size OSD ids, those of PG seed s at [s * size, (s + 1) * size); a
   *   number that is no OSD's id: none
   */
  mapPgs(
    compiledCrush: Uint8Array,
    ruleId: number,
    poolId: number,
    pgNum: number,
    size: number,
    weights: Uint32Array,
  ): Int32Array;
}

/** Where a PG is. All sets have the primary first; an empty set means that no OSD serves it. */
export interface PgPlacement {
  pgid: PgId;
  /** what CRUSH wants, without the OSDs that are down */
  up: number[];
  /** who serves it now: pg_temp if set, else the up set */
  acting: number[];
  /** first of the acting set; -1: none */
  primary: number;
}

/** Weights for CRUSH: an OSD that is out or unknown weighs nothing; one that is down keeps its. */
export function crushWeights(map: OsdMap): Uint32Array {
  const weights = new Uint32Array(map.maxOsd);
  for (const osd of map.osds) {
    assert(osd.id < map.maxOsd, `osd.${osd.id} is below maxOsd ${map.maxOsd}`);
    weights[osd.id] = osd.in ? osd.weight : 0;
  }
  return weights;
}

/** The ids of the OSDs that are up. */
export function upOsds(map: OsdMap): ReadonlySet<number> {
  return new Set(map.osds.filter((osd) => osd.up).map((osd) => osd.id));
}

/**
 * The OSDs that are to lead fewer PGs than CRUSH would have them lead, and which share of those
 * (16.16 fixed point). Of an OSD whose disk is slow: none.
 */
export function primaryAffinities(map: OsdMap): ReadonlyMap<number, number> {
  const reduced = new Map<number, number>();
  for (const { id, slow, primaryAffinity = fullWeight } of map.osds) {
    const affinity = slow ? 0 : primaryAffinity;
    if (affinity < fullWeight) reduced.set(id, affinity);
  }
  return reduced;
}

/**
 * The up set with the OSD first that is to lead: the first one whose affinity allows it, else the
 * first of all. Ceph's rule (OSDMap::_apply_primary_affinity), hash included.
 */
function withPrimaryFirst(
  placedAs: PgId,
  up: readonly number[],
  affinities: ReadonlyMap<number, number>,
): number[] {
  if (!up.some((osd) => affinities.has(osd))) return [...up];
  const { pool, seed } = parsePgId(placedAs);
  const placementSeed = crushHash2(seed, pool);
  const leads = (osd: number) => {
    const affinity = affinities.get(osd) ?? fullWeight;
    return affinity === fullWeight || crushHash2(placementSeed, osd) >>> 16 < affinity;
  };
  const primary = up.find(leads);
  if (primary === undefined) return [...up];
  return [primary, ...up.filter((osd) => osd !== primary)];
}

/**
 * The placements of all PGs of a pool, by seed. CRUSH places the first pgpNum of them; the others
 * are where the PG is that they were split off, with the same primary.
 * @param compiledCrush map.crush, compiled
 * @throws corrupt: CRUSH can do nothing with the pool's rule, or its pgpNum is impossible
 */
export function poolPlacements(
  map: OsdMap,
  pool: PoolInfo,
  compiledCrush: Uint8Array,
  crush: CrushMapper,
): PgPlacement[] {
  const raw = rawMapping(map, pool, compiledCrush, crush);
  const pgpNum = pgpNumOf(pool);
  assert(raw.length === pgpNum * pool.size, "CRUSH gave size OSDs for each PG that it places");
  const isUp = upOsds(map);
  const affinities = primaryAffinities(map);
  return Array.from({ length: pool.pgNum }, (_, seed) => {
    const placedSeed = seed % pgpNum;
    const mapped = Array.from(raw.subarray(placedSeed * pool.size, (placedSeed + 1) * pool.size));
    const placedAs = pgId(pool.id, placedSeed);
    return placementOf(pgId(pool.id, seed), mapped, map, isUp, affinities, placedAs);
  });
}

function rawMapping(
  map: OsdMap,
  pool: PoolInfo,
  compiledCrush: Uint8Array,
  crush: CrushMapper,
): Int32Array {
  const { id, name, crushRule, pgNum, size } = pool;
  const pgpNum = pgpNumOf(pool);
  const refusal = (why: string) =>
    new StorageError("corrupt", `map ${map.epoch} cannot place pool ${name}: ${why}`);
  if (pool.pgpNum !== undefined && (!isPgCount(pgpNum) || pgpNum > pgNum)) {
    throw refusal(`pgp_num ${pgpNum} is no power of two up to pg_num ${pgNum}`);
  }
  const weights = crushWeights(map);
  try {
    return crush.mapPgs(compiledCrush, crushRule, id, pgpNum, size, weights);
  } catch (thrown) {
    throw refusal(toStorageError(thrown).message);
  }
}

/**
 * The placement of one PG.
 * @param raw what CRUSH gave, some number that is no OSD's id where it found none
 * @param isUp upOsds(map)
 * @param affinities primaryAffinities(map), for callers that place many PGs
 * @param placedAs the PG that CRUSH was asked for, and that primary affinity goes by
 */
export function placementOf(
  pgid: PgId,
  raw: readonly number[],
  map: OsdMap,
  isUp: ReadonlySet<number>,
  affinities: ReadonlyMap<number, number> = primaryAffinities(map),
  placedAs: PgId = pgid,
): PgPlacement {
  // Replicated pools: positions mean nothing but "the first is the primary", so the rest moves up.
  const present = raw.filter((osd) => isUp.has(osd));
  const up = withPrimaryFirst(placedAs, present, affinities);
  const temporary = (map.pgTemp[pgid] ?? []).filter((osd) => isUp.has(osd));
  const acting = temporary.length > 0 ? temporary : [...up];
  return { pgid, up, acting, primary: acting[0] ?? -1 };
}

/** The placements of all PGs of all pools. */
export function allPlacements(
  map: OsdMap,
  compiledCrush: Uint8Array,
  crush: CrushMapper,
): Map<PgId, PgPlacement> {
  const all = map.pools.flatMap((pool) => poolPlacements(map, pool, compiledCrush, crush));
  return new Map(all.map((placement) => [placement.pgid, placement]));
}
