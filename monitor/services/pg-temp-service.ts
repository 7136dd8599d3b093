// The pg_temp service: acting sets that a primary asks for while its PG is being backfilled, and
// their removal when they mean nothing any more. Pure.
import { parsePgId } from "../../common/units.js";
import type { PgTemp } from "../../proto/messages.js";
import { findOsd, findPool, type MapChanges, type OsdMap } from "../../proto/osd-map.js";
import { type Effect, logEffect, type MonitorEvent, type StepContext } from "./events.js";

/** @returns the change for a pgTemp message; nothing for other events */
export function stepPgTemp(event: MonitorEvent, { map }: StepContext): Effect[] {
  if (event.kind !== "pgTemp") return [];
  const problem = problemOf(event, map);
  if (problem !== undefined) {
    return [logEffect("warn", `pg_temp ignored: ${problem}`, { osd: event.osd, pgid: event.pgid })];
  }
  const before = map.pgTemp[event.pgid] ?? [];
  if (before.join() === event.acting.join()) return [{ kind: "resendMaps", osd: event.osd }];
  return [{ kind: "change", changes: { pgTemp: { [event.pgid]: event.acting } } }];
}

function problemOf(event: PgTemp, map: OsdMap): string | undefined {
  const { pool: poolId, seed } = parsePgId(event.pgid);
  const pool = findPool(map, poolId);
  if (pool === undefined || seed >= pool.pgNum) return "no such PG";
  if (!findOsd(map, event.osd)?.up) return "its sender is down";
  if (new Set(event.acting).size !== event.acting.length) return "an OSD is named twice";
  if (event.acting.length > pool.size) return "more OSDs than the pool has copies";
  const bad = event.acting.find((id) => !findOsd(map, id)?.up);
  return bad === undefined ? undefined : `osd.${bad} is not up`;
}

/**
 * The removal of all overrides that are void: their PG is gone, or all their OSDs are down.
 * @returns undefined when there is none
 */
export function staleTemps(map: OsdMap): MapChanges | undefined {
  const stale = Object.entries(map.pgTemp).filter(([pgid, acting]) => {
    const { pool, seed } = parsePgId(pgid);
    const pgNum = findPool(map, pool)?.pgNum ?? 0;
    return seed >= pgNum || acting.every((id) => !findOsd(map, id)?.up);
  });
  if (stale.length === 0) return undefined;
  return { pgTemp: Object.fromEntries(stale.map(([pgid]) => [pgid, []])) };
}
