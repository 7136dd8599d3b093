// Makes the first map of a new generation out of the maps that OSDs hold, for a monitor whose
// store is lost. Pure; nothing is guessed: what would lose something unseen is refused, and what
// cannot be known is listed. docs/operating/monitor-recovery.md
//
// Why the newest map of the OSDs is enough: a PG serves writes only in an interval that its members
// have a map of, and each OSD has that map in its store before it serves. So the newest map of all
// OSDs that were up names every interval and every pool that anything was acknowledged in.
import { type Static, Type } from "@sinclair/typebox";
import { StorageError } from "../common/errors.js";
import type { PgId } from "../common/units.js";
import { firstEpochOf, generationOf } from "../proto/generation.js";
import {
  checkHash,
  findOsd,
  noHash,
  OsdIdSchema,
  type OsdMap,
  OsdMapSchema,
  PoolSchema,
  sealed,
  UuidSchema,
} from "../proto/osd-map.js";
import { seqOfGeneration, snapsOf, withSnaps } from "../proto/pool-snaps.js";

/** What one OSD has in its store. */
export const RebuildSourceSchema = Type.Object(
  {
    osd: OsdIdSchema,
    /** uuid of the store */
    storeId: UuidSchema,
    clusterId: UuidSchema,
    /** the newest map in it */
    map: OsdMapSchema,
    /** pools of which it holds PGs */
    pools: Type.Array(PoolSchema.properties.id),
  },
  { additionalProperties: false },
);
export type RebuildSource = Static<typeof RebuildSourceSchema>;

export interface RebuildOptions {
  /** OSDs that are gone for good, though the newest map shows them up */
  without: readonly number[];
  /** go on although data of pools that no map names will be removed */
  acceptLoss: boolean;
  /** milliseconds since 1970 */
  wallMs: number;
}

export interface Rebuilt {
  map: OsdMap;
  /** the map that it was made from */
  fromEpoch: number;
  fromOsds: number[];
  /** one line each */
  notRecovered: string[];
}

/**
 * @throws invalid_argument: OSDs are missing. wrong_cluster, wrong_daemon: a source is of another
 *   cluster, or not the store that the map knows. corrupt: two of them disagree.
 *   precondition_failed: data would be lost
 */
export function planRebuild(sources: readonly RebuildSource[], options: RebuildOptions): Rebuilt {
  const newest = newestMap(sources);
  const given = new Set(sources.map(({ osd }) => osd));
  checkStores(sources, newest);
  checkAllGiven(newest, given, options.without);
  const unknownPools = poolsWithoutName(sources, newest);
  if (unknownPools.length > 0 && !options.acceptLoss) {
    throw new StorageError("precondition_failed", unknownPools.join("; "), {
      remedy: "Give the OSDs whose maps name these pools too, or accept the loss: --accept-loss.",
    });
  }
  const generations = sources.map(({ map }) => generationOf(map.epoch));
  const map = firstOf(Math.max(...generations) + 1, newest, sources, options.wallMs);
  return {
    map,
    fromEpoch: newest.epoch,
    fromOsds: sources.filter((source) => source.map.epoch === newest.epoch).map(({ osd }) => osd),
    notRecovered: [
      "settings, flags, pools, removals of snapshots and states of OSDs that were " +
        `changed after epoch ${newest.epoch}`,
      ...options.without.map((osd) => `what only osd.${osd} knew of: it was left out`),
      ...downAndNotGiven(newest, given),
      ...unknownPools,
    ],
  };
}

function newestMap(sources: readonly RebuildSource[]): OsdMap {
  const [first] = sources;
  if (first === undefined) {
    throw new StorageError("invalid_argument", "there is no OSD to make the map from");
  }
  const byEpoch = new Map<number, RebuildSource>();
  for (const source of sources) {
    const { map, osd, clusterId } = source;
    checkHash(map);
    if (clusterId !== first.clusterId || map.clusterId !== first.clusterId) {
      throw new StorageError(
        "wrong_cluster",
        `osd.${osd} and osd.${first.osd} are of two clusters`,
      );
    }
    const other = byEpoch.get(map.epoch);
    if (other !== undefined && other.map.hash !== map.hash) {
      const who = `osd.${other.osd} and osd.${osd}`;
      throw new StorageError("corrupt", `${who} have different maps of epoch ${map.epoch}`, {
        remedy: "One of them followed another monitor. Find out which one, and leave it out.",
      });
    }
    byEpoch.set(map.epoch, source);
  }
  return sources.map(({ map }) => map).reduce((a, b) => (b.epoch > a.epoch ? b : a));
}

function checkStores(sources: readonly RebuildSource[], newest: OsdMap): void {
  for (const { osd, storeId } of sources) {
    const known = findOsd(newest, osd);
    if (known === undefined || known.uuid === storeId) continue;
    throw new StorageError(
      "wrong_daemon",
      `osd.${osd} of this cluster has the store ${known.uuid}, not ${storeId}`,
    );
  }
}

function checkAllGiven(newest: OsdMap, given: ReadonlySet<number>, without: readonly number[]) {
  const missing = newest.osds
    .filter(({ id, up }) => up && !given.has(id) && !without.includes(id))
    .map(({ id }) => `osd.${id}`);
  if (missing.length === 0) return;
  throw new StorageError(
    "invalid_argument",
    `${missing.join(", ")} ran when map epoch ${newest.epoch} was made, and may have a newer one`,
    { remedy: "Give these OSDs too, or say --without ID of each that is gone for good." },
  );
}

/** Pools younger than the newest map: one that is older and not in it was removed. */
function poolsWithoutName(sources: readonly RebuildSource[], newest: OsdMap): string[] {
  return sources.flatMap(({ osd, pools }) =>
    pools
      .filter((pool) => pool >= newest.nextPoolId)
      .map((pool) => `osd.${osd} holds data of pool ${pool}, which no map found names`),
  );
}

function downAndNotGiven(newest: OsdMap, given: ReadonlySet<number>): string[] {
  return newest.osds
    .filter(({ id, up }) => !up && !given.has(id))
    .map(({ id }) => `osd.${id} was down and was not asked: it is refused if it knows more`);
}

/** All OSDs are down in it, and come up as after any restart; their PGs peer anew. */
function firstOf(
  generation: number,
  newest: OsdMap,
  sources: readonly RebuildSource[],
  wallMs: number,
): OsdMap {
  const epoch = firstEpochOf(generation);
  const { hash: fromHash, ...content } = newest;
  const rebuild = { generation, fromEpoch: newest.epoch, fromHash };
  return sealed({
    ...content,
    epoch,
    previousHash: noHash,
    modifiedAt: wallMs,
    osds: newest.osds.map((osd) => (osd.up ? { ...osd, up: false, downAt: epoch } : osd)),
    pools: newest.pools.map((pool) => {
      // Ids that the lost monitor handed out after this map must not be handed out again.
      const snaps = snapsOf(pool);
      return withSnaps(pool, { ...snaps, seq: seqOfGeneration(snaps.seq, generation) });
    }),
    pgTemp: {} as Record<PgId, number[]>,
    nextPoolId: Math.max(
      newest.nextPoolId,
      ...sources.flatMap(({ pools }) => pools.map((pool) => pool + 1)),
    ),
    rebuilds: [...(newest.rebuilds ?? []), rebuild],
  });
}
