// `cairn pg ls`.
import type { Command } from "commander";
import type { CommandArgs, PgRow } from "../proto/commands.js";
import { withMonitor } from "./connect.js";
import { type ClusterOptions, withCluster, withExamples } from "./options.js";
import { printResult, tableText } from "./output.js";

interface ListFlags extends ClusterOptions {
  pool?: string;
  state?: string;
}

export function registerPg(program: Command): void {
  const pg = program.command("pg").description("Look at placement groups.");
  const list = pg
    .command("ls")
    .description("List the PGs, where they are and their states.")
    .option("--pool <pool>", "of this pool only")
    .option("--state <state>", "in this state only, such as degraded");
  withCluster(list).action(listAction);
  withExamples(list, "cairn pg ls", "cairn pg ls --pool rbd --state degraded --format json");
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
      { title: "DEGRADED", align: right },
      { title: "MISSING", align: right },
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
    ]),
  );
}
