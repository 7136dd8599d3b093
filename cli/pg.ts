// `cairn pg ls` and `list-unfound`; the verbs about scrubs are in pg-scrub.ts.
import type { PgId } from "../common/units.js";
import type { CommandArgs, CommandResult, PgRow } from "../proto/commands.js";
import { withMonitor } from "./connect.js";
import type { ClusterOptions } from "./options.js";
import { type Output, printResult, table } from "./output.js";

interface ListFlags extends ClusterOptions {
  pool?: string;
  state?: string;
}

export async function unfoundAction(pgid: PgId, flags: ClusterOptions): Promise<void> {
  const result = await withMonitor(flags, (monitor) =>
    monitor.command("pg list unfound", { pgid }),
  );
  printResult(flags, result, () => unfoundText(result));
}

/** Names, one a line, and how many there are beyond them. */
function unfoundText({ pgid, unfound, objects }: CommandResult<"pg list unfound">): string {
  if (unfound === 0) return `No object of PG ${pgid} is unfound.`;
  const more = unfound - objects.length;
  return [...objects, ...(more > 0 ? [`... and ${more} more`] : [])].join("\n");
}

export async function listAction(flags: ListFlags): Promise<void> {
  const args: CommandArgs<"pg ls"> = {
    ...(flags.pool === undefined ? {} : { pool: flags.pool }),
    ...(flags.state === undefined ? {} : { state: flags.state }),
  };
  const { pgs } = await withMonitor(flags, (monitor) => monitor.command("pg ls", args));
  printResult(flags, pgs, () => pgTable(pgs));
}

function pgTable(pgs: readonly PgRow[]): Output {
  const right = "right" as const;
  return table(
    [
      { title: "PG" },
      { title: "POOL" },
      { title: "STATE" },
      { title: "UP" },
      { title: "ACTING" },
      { title: "OBJECTS", align: right },
      { title: "DEGRADED", align: right },
      { title: "MISSING", align: right },
      { title: "SCRUB ERRORS", align: right },
      { title: "LAST SCRUB" },
      { title: "LAST DEEP SCRUB" },
    ],
    pgs.map((pg) => [
      pg.pgid,
      pg.pool,
      pg.state,
      `[${pg.up.join(",")}]`,
      `[${pg.acting.join(",")}]`,
      pg.objects,
      pg.degraded,
      pg.missing,
      pg.scrub?.errors ?? "",
      stampText(pg.scrub?.lastMs),
      stampText(pg.scrub?.lastDeepMs),
    ]),
  );
}

/** A wall time to the second, in UTC. */
function stampText(wallMs: number | undefined): string {
  if (wallMs === undefined) return "";
  return wallMs === 0 ? "never" : `${new Date(wallMs).toISOString().slice(0, 19)}Z`;
}
