// `cairn pool create|ls|rm`.
import type { Command } from "commander";
import { StorageError } from "../common/errors.js";
import type { CommandArgs } from "../proto/commands.js";
import type { PoolInfo } from "../proto/osd-map.js";
import { withMonitor } from "./connect.js";
import { type ClusterOptions, countValue, withCluster, withExamples } from "./options.js";
import { printResult, tableText } from "./output.js";

interface CreateFlags extends ClusterOptions {
  pgNum?: number;
  size?: number;
  minSize?: number;
  crushRule?: number;
}

interface RemoveFlags extends ClusterOptions {
  yesIReallyMeanIt?: boolean;
}

export function registerPool(program: Command): void {
  const pool = program.command("pool").description("Create, list and remove pools.");

  const create = pool
    .command("create")
    .description("Create a pool.")
    .argument("<pool>", "its name")
    .option("--pg-num <n>", "placement groups, a power of two", countValue(1, 65536))
    .option("--size <n>", "copies of each object (default: 3)", countValue(1, 16))
    .option("--min-size <n>", "copies without which a PG serves nothing", countValue(1, 16))
    .option("--crush-rule <id>", "rule of the CRUSH map", countValue(0, 255));
  withCluster(create).action(createAction);
  withExamples(create, "cairn pool create fast --size 2 --min-size 1 --pg-num 64");

  const list = pool.command("ls").description("List the pools.");
  withCluster(list).action(listAction);
  withExamples(list, "cairn pool ls --format json");

  const remove = pool
    .command("rm")
    .description("Remove a pool with all its images. Its name has to be given twice.")
    .argument("<pool>", "its name")
    .argument("[pool-again]", "its name once more")
    .option("--yes-i-really-mean-it", "in place of the second name");
  withCluster(remove).action(removeAction);
  withExamples(remove, "cairn pool rm fast fast");
}

async function createAction(name: string, flags: CreateFlags): Promise<void> {
  const { pgNum, size, minSize, crushRule } = flags;
  const args: CommandArgs<"pool create"> = {
    name,
    ...(pgNum === undefined ? {} : { pgNum }),
    ...(size === undefined ? {} : { size }),
    ...(minSize === undefined ? {} : { minSize }),
    ...(crushRule === undefined ? {} : { crushRule }),
  };
  const { pool } = await withMonitor(flags, (monitor) => monitor.command("pool create", args));
  printResult(flags.format, pool, () => `pool ${pool.name} created, with id ${pool.id}`);
}

async function listAction(flags: ClusterOptions): Promise<void> {
  const { pools } = await withMonitor(flags, (monitor) => monitor.command("pool ls", {}));
  printResult(flags.format, pools, () => poolTable(pools));
}

function poolTable(pools: readonly PoolInfo[]): string {
  const right = "right" as const;
  return tableText(
    [
      { title: "NAME" },
      { title: "ID", align: right },
      { title: "PGS", align: right },
      { title: "SIZE", align: right },
      { title: "MIN_SIZE", align: right },
      { title: "RULE", align: right },
      { title: "APPLICATION" },
    ],
    pools.map((pool) => [
      pool.name,
      pool.id,
      pool.pgNum,
      pool.size,
      pool.minSize,
      pool.crushRule,
      pool.application,
    ]),
  );
}

async function removeAction(
  name: string,
  again: string | undefined,
  flags: RemoveFlags,
): Promise<void> {
  if (flags.yesIReallyMeanIt !== true && again !== name) {
    throw new StorageError("invalid_argument", `this destroys all images of the pool ${name}`, {
      remedy: `If you mean it, give its name twice: cairn pool rm ${name} ${name}`,
    });
  }
  const { epoch } = await withMonitor(flags, (monitor) => monitor.command("pool rm", { name }));
  printResult(flags.format, { name, epoch }, () => `pool ${name} removed`);
}
