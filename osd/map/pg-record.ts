// What an OSD remembers of a PG across restarts: its past intervals and the present one. Pure.
//
// Invariant: history covers all epochs from its `since` up to the present interval's first one, or
// up to unknownFrom where the present interval's beginning is not known.
import { type Static, Type } from "@sinclair/typebox";
import { defined } from "../../common/assert.js";
import { Checker } from "../../common/schema.js";
import { findOsd, OsdIdSchema, type OsdMap, type PoolInfo } from "../../proto/osd-map.js";
import { type PgHistory, PgHistorySchema } from "../../proto/peering.js";
import type { PgPlacement } from "../../proto/placement.js";
import {
  appended,
  finishedInterval,
  type OsdViews,
  unknownRange,
} from "../peering/past-intervals.js";
import type { Interval } from "../peering/state.js";

const closed = { additionalProperties: false } as const;
const EpochSchema = Type.Integer({ minimum: 0, maximum: 0xffff_ffff });

const PgRecordSchema = Type.Object(
  {
    history: PgHistorySchema,
    interval: Type.Object(
      {
        first: EpochSchema,
        up: Type.Array(OsdIdSchema),
        acting: Type.Array(OsdIdSchema),
        size: Type.Integer(),
        minSize: Type.Integer(),
      },
      closed,
    ),
    /** names everything whose change begins a new interval */
    key: Type.String(),
    /** when interval.first is 0: the first epoch of which nothing is known; else 0 */
    unknownFrom: EpochSchema,
  },
  closed,
);
export type PgRecord = Static<typeof PgRecordSchema>;
const checker = new Checker(PgRecordSchema, "stored PG record", "corrupt");

/** The text under which the store keeps a record. */
export function encodePgRecord(record: PgRecord): string {
  return JSON.stringify(record);
}

/** @throws corrupt */
export function decodePgRecord(text: string): PgRecord {
  return checker.check(JSON.parse(text));
}

/** The key of the interval that a map gives a PG. */
export function intervalKey({ up, acting }: PgPlacement, pool: PoolInfo, map: OsdMap): string {
  const lives = [...new Set([...acting, ...up])].map((id) => {
    const osd = defined(findOsd(map, id), `osd.${id}`);
    return `${id}@${osd.upFrom}:${osd.incarnation}`;
  });
  return `${up}|${acting}|${lives}|${pool.size}|${pool.minSize}|${pool.pgNum}`;
}

function intervalOf(placement: PgPlacement, pool: PoolInfo, first: number): Interval {
  const { up, acting } = placement;
  return { first, up: [...up], acting: [...acting], size: pool.size, minSize: pool.minSize };
}

/** Where a PG is by one map. */
export interface Placed {
  placement: PgPlacement;
  pool: PoolInfo;
  map: OsdMap;
  osds: OsdViews;
}

/**
 * The record of a PG that this OSD has not followed before.
 * @param isNew the map before is known, and gave the PG another place: its interval begins now
 */
export function newRecord({ placement, pool, map }: Placed, isNew: boolean): PgRecord {
  const since = pool.createdEpoch;
  const begins = isNew || since === map.epoch;
  const history: PgHistory = { since, intervals: [] };
  return {
    history:
      begins && since < map.epoch ? appended(history, unknownRange(since, map.epoch - 1)) : history,
    interval: mutable(intervalOf(placement, pool, begins ? map.epoch : 0)),
    key: intervalKey(placement, pool, map),
    unknownFrom: begins ? 0 : since,
  };
}

/** The record after a map that follows the one before directly; the same one: same interval. */
export function nextRecord(record: PgRecord, placed: Placed): PgRecord {
  const { placement, pool, map } = placed;
  const key = intervalKey(placement, pool, map);
  if (key === record.key) return record;
  return {
    history: finished(record, map.epoch - 1, placed.osds),
    interval: mutable(intervalOf(placement, pool, map.epoch)),
    key,
    unknownFrom: 0,
  };
}

/** The record after a map that follows epoch `lastKnown` with a gap between them. */
export function recordAfterGap(record: PgRecord, lastKnown: number, placed: Placed): PgRecord {
  const { placement, pool, map, osds } = placed;
  const isKnown = record.interval.first !== 0;
  return {
    history: isKnown ? finished(record, lastKnown, osds) : record.history,
    interval: mutable(intervalOf(placement, pool, 0)),
    key: intervalKey(placement, pool, map),
    unknownFrom: isKnown ? lastKnown + 1 : record.unknownFrom,
  };
}

/** The record once the present interval's first epoch is told. */
export function toldRecord(record: PgRecord, first: number): PgRecord {
  const { history, unknownFrom } = record;
  return {
    ...record,
    history:
      first > unknownFrom ? appended(history, unknownRange(unknownFrom, first - 1)) : history,
    interval: { ...record.interval, first },
    unknownFrom: 0,
  };
}

function finished(record: PgRecord, last: number, osds: OsdViews): PgHistory {
  const { history, interval, unknownFrom } = record;
  if (interval.first === 0) return appended(history, unknownRange(unknownFrom, last));
  const { first, acting, minSize } = interval;
  return appended(history, finishedInterval(first, last, acting, minSize, osds));
}

function mutable(interval: Interval): PgRecord["interval"] {
  return { ...interval, up: [...interval.up], acting: [...interval.acting] };
}
