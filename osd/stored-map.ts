// What an OSD keeps of the cluster map in its store: the newest map, and a record for each PG.
import { StorageError, toStorageError } from "../common/errors.js";
import type { Logger } from "../common/log.js";
import { Checker } from "../common/schema.js";
import { type PgId, pgId } from "../common/units.js";
import type { NativeOsd, NativePgStatus } from "../native/index.js";
import { checkHash, findPool, type OsdMap, OsdMapSchema } from "../proto/osd-map.js";
import { childSeeds } from "../proto/pg-split.js";
import { decodePgRecord, type PgRecord } from "./map/pg-record.js";
import { type PlacementTracker, recordKey } from "./map/placement-tracker.js";

const mapKey = "osdmap";
const checker = new Checker(OsdMapSchema, "stored cluster map", "corrupt");

/** Hands the map to the store; it must not overtake the PG records that follow from it. */
export function storeMap(core: Pick<NativeOsd, "setMeta">, map: OsdMap): Promise<void> {
  return core.setMeta(mapKey, JSON.stringify(map));
}

/**
 * Puts what the store knows into the tracker. PGs with data but without a readable record have a
 * past of which nothing is known: peering then asks everybody.
 * @returns the newest map; undefined: none, or a damaged one, so the monitor's is fetched whole
 */
export async function restoreTracker(
  core: Pick<NativeOsd, "getMeta" | "setPgNum">,
  statuses: readonly NativePgStatus[],
  tracker: PlacementTracker,
  log: Logger,
): Promise<OsdMap | undefined> {
  const map = await storedMap(core, log);
  const records = new Map<PgId, PgRecord>();
  const recordless = new Map<PgId, number>();
  const take = async (pgid: PgId, pgNum: number, parent?: PgRecord) => {
    const stored = map === undefined ? undefined : await storedRecord(core, pgid, log);
    const record = stored ?? parent;
    if (record === undefined) recordless.set(pgid, pgNum);
    else records.set(pgid, record);
  };
  const splits: SplitDue[] = [];
  for (const { pool, seed, pgNum } of statuses) {
    const split = splitDue(map, pool, seed, pgNum);
    splits.push(split);
    await take(pgId(pool, seed), split.to);
  }
  // Children that the split has not made yet: the record is the only sign of them.
  for (const { pool, seed, children, to } of splits) {
    const parent = records.get(pgId(pool, seed));
    for (const child of children) await take(pgId(pool, child), to, parent);
  }
  if (map !== undefined) tracker.restore(map, records);
  for (const [pgid, pgNum] of recordless) tracker.adopt(pgid, pgNum);
  for (const { pool, seed, to } of splits) if (to > 0) core.setPgNum(pool, seed, to);
  return map;
}

interface SplitDue {
  pool: number;
  seed: number;
  children: number[];
  /** 0: nobody knows */
  to: number;
}

/** @param pgNum for how many PGs the copy was divided last; 0: by a program that divided none */
function splitDue(map: OsdMap | undefined, pool: number, seed: number, pgNum: number): SplitDue {
  const wanted = map === undefined ? 0 : (findPool(map, pool)?.pgNum ?? 0);
  const from = pgNum || wanted;
  // A copy may be ahead of the stored map, and so may be a child that is none by that map.
  const children = seed < from && from < wanted ? childSeeds(seed, from, wanted) : [];
  return { pool, seed, children, to: Math.max(from, wanted) };
}

/** The newest map in the store; undefined: none yet. @throws corrupt */
export async function readStoredMap(core: Pick<NativeOsd, "getMeta">): Promise<OsdMap | undefined> {
  const text = await core.getMeta(mapKey);
  if (text === null || text === "") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new StorageError("corrupt", "the stored cluster map is not JSON");
  }
  const map = checker.check(value);
  checkHash(map);
  return map;
}

async function storedMap(
  core: Pick<NativeOsd, "getMeta">,
  log: Logger,
): Promise<OsdMap | undefined> {
  try {
    return await readStoredMap(core);
  } catch (thrown) {
    log.error({ reason: toStorageError(thrown).message }, "the stored map is damaged");
    return undefined;
  }
}

async function storedRecord(
  core: Pick<NativeOsd, "getMeta">,
  pgid: PgId,
  log: Logger,
): Promise<PgRecord | undefined> {
  try {
    const text = await core.getMeta(recordKey(pgid));
    if (text === null || text === "") return undefined;
    return decodePgRecord(text);
  } catch (thrown) {
    log.error({ pgid, reason: toStorageError(thrown).message }, "a PG record is damaged");
    return undefined;
  }
}
