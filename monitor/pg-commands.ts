// The commands about single PGs: scrubs, what they found, and what no OSD has.
import { StorageError } from "../common/errors.js";
import type { CommandArgs, CommandResult, PgRow } from "../proto/commands.js";
import type { Cluster } from "./cluster.js";

/** `pg scrub`: one PG, or all of a pool. @throws invalid_argument, not_found */
export function scrubPgs(
  cluster: Cluster,
  rows: readonly PgRow[],
  { pgid, pool, mode, request }: CommandArgs<"pg scrub">,
): CommandResult<"pg scrub"> {
  if ((pgid === undefined) === (pool === undefined)) {
    throw new StorageError("invalid_argument", "name either a PG or a pool");
  }
  const chosen = pgid === undefined ? rows.filter((row) => row.pool === pool) : [rowOf(rows, pgid)];
  if (chosen.length === 0) {
    throw new StorageError("not_found", `there is no pool "${pool}"`, {
      remedy: "`cairn pool ls` lists them.",
    });
  }
  const served = chosen.filter(({ primary }) => primary !== -1);
  for (const row of served) {
    cluster.tell(row.primary, { kind: "scrubPg", pgid: row.pgid, mode, request });
  }
  return {
    asked: served.map((row) => row.pgid),
    unserved: chosen.filter(({ primary }) => primary === -1).map((row) => row.pgid),
  };
}

/** `pg list inconsistent`. @throws not_found */
export function inconsistentObjects(
  rows: readonly PgRow[],
  pgid: string,
): CommandResult<"pg list inconsistent"> {
  const row = rowOf(rows, pgid);
  const { errors = 0, lastDeepMs = 0, objects = [] } = row.scrub ?? {};
  return { pgid: row.pgid, errors, lastDeepMs, objects };
}

/** `pg list unfound`. @throws not_found */
export function unfoundObjects(
  rows: readonly PgRow[],
  pgid: string,
): CommandResult<"pg list unfound"> {
  const { pgid: found, unfound, unfoundObjects: objects = [] } = rowOf(rows, pgid);
  return { pgid: found, unfound, objects };
}

function rowOf(rows: readonly PgRow[], pgid: string): PgRow {
  const row = rows.find((other) => other.pgid === pgid);
  if (row !== undefined) return row;
  throw new StorageError("not_found", `there is no PG ${pgid}`, {
    remedy: "`cairn pg ls` lists them.",
  });
}
