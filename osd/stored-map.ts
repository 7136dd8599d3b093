// What an OSD keeps of the cluster map in its store: the newest map, and a record for each PG.
import { StorageError, toStorageError } from "../common/errors.js";
import type { Logger } from "../common/log.js";
import { Checker } from "../common/schema.js";
import { type PgId, pgId } from "../common/units.js";
import type { NativeOsd, NativePgStatus } from "../native/index.js";
import { checkHash, type OsdMap, OsdMapSchema } from "../proto/osd-map.js";
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
  core: Pick<NativeOsd, "getMeta">,
  statuses: readonly NativePgStatus[],
  tracker: PlacementTracker,
  log: Logger,
): Promise<OsdMap | undefined> {
  const map = await storedMap(core, log);
  const records = new Map<PgId, PgRecord>();
  const recordless: PgId[] = [];
  for (const { pool, seed } of statuses) {
    const pgid = pgId(pool, seed);
    const record = map === undefined ? undefined : await storedRecord(core, pgid, log);
    if (record === undefined) recordless.push(pgid);
    else records.set(pgid, record);
  }
  if (map !== undefined) tracker.restore(map, records);
  for (const pgid of recordless) tracker.adopt(pgid);
  return map;
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
