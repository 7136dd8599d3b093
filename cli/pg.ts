// `cairn pg ls` and `list-unfound`; the verbs about scrubs are in pg-scrub.ts.
import type { Command } from "commander";
import type { PgId } from "../common/units.js";
import type { CommandArgs, CommandResult, PgRow } from "../proto/commands.js";
import { withMonitor } from "./connect.js";
import { type ClusterOptions, withCluster, withExamples } from "./options.js";
import { printResult, tableText } from "./output.js";
import { registerPgScrub } from "./pg-scrub.js";

interface ListFlags extends ClusterOptions {
  pool?: string;
  state?: string;
}

export function registerPg(program: Command): void {
  const pg = program.command("pg").description("Look at placement groups, and scrub them.");
  const list = pg
    .command("ls")
    .description("List the PGs, where they are and their states.")
    .option("--pool <pool>", "of this pool only")
    .option("--state <state>", "in this state only, such as degraded");
  withCluster(list).action(listAction);
  withExamples(list, "cairn pg ls", "cairn pg ls --pool rbd --state degraded --format json");
  const unfound = pg
    .command("list-unfound <pgid>")
    .description("List objects of a PG that no OSD that is up has.");
  withCluster(unfound).action(unfoundAction);
  withExamples(unfound, "cairn pg list-unfound 1.2 --format json");
  registerPgScrub(pg);
}

async function unfoundAction(pgid: PgId, flags: ClusterOptions): Promise<void> {
  const result = await withMonitor(flags, (monitor) =>
    monitor.command("pg list unfound", { pgid }),
  );
  printResult(flags.format, result, () => unfoundText(result));
}

/** Names, one a line, and how many there are beyond them. */
function unfoundText({ pgid, unfound, objects }: CommandResult<"pg list unfound">): string {
  if (unfound === 0) return `No object of PG ${pgid} is unfound.`;
  const more = unfound - objects.length;
  return [...objects, ...(more > 0 ? [`... and ${more} more`] : [])].join("\n");
}

async function listAction(flags: ListFlags): Promise<void> {
  const args: CommandArgs<"pg ls"> = {
    ...(flags.pool === undefined ? {} : { pool: flags.pool }),
    ...(flags.state === undefined ? {} : { state: flags.state }),
  };
  const { pgs } = await withMonitor(flags, (monitor) => monitor.command("pg ls", args));
  printResult(flags.format, pgs, () => pgTable(pgs));
}

function pgTable(pgs: readonly PgRow[]): string {
  const right = "right" as const;
  return tableText(
    [
      { title: "PG" },
      { title: "POOL" },
      { title: "STATE" },
      { title: "UP" },
      { title: "ACTING" },
      { title: "OBJECTS", align: right },
      { title: "BYTES", align: right },
      { title: "DEGRADED", align: right },
      { title: "MISPLACED", align: right },
      { title: "UNFOUND", align: right },
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
      pg.bytes,
      pg.degraded,
      pg.misplaced,
      pg.unfound,
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
