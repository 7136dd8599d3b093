// `cairn pool create|ls|rm`.
import { StorageError } from "../common/errors.js";
import type { CommandArgs } from "../proto/commands.js";
import { type PoolInfo, pgpNumOf } from "../proto/osd-map.js";
import type { PoolSetting } from "../proto/pool-settings.js";
import { withMonitor } from "./connect.js";
import { withImages } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { fieldsText, type Output, printResult, table } from "./output.js";

interface CreateFlags extends ClusterOptions {
  pgNum?: number;
  size?: number;
  minSize?: number;
  crushRule?: number;
}

interface RemoveFlags extends ClusterOptions {
  yesIReallyMeanIt?: true;
  force?: true;
}

export async function createAction(name: string, flags: CreateFlags): Promise<void> {
  const { pgNum, size, minSize, crushRule } = flags;
  const args: CommandArgs<"pool create"> = {
    name,
    ...(pgNum === undefined ? {} : { pgNum }),
    ...(size === undefined ? {} : { size }),
    ...(minSize === undefined ? {} : { minSize }),
    ...(crushRule === undefined ? {} : { crushRule }),
  };
  const { pool } = await withMonitor(flags, (monitor) => monitor.command("pool create", args));
  printResult(flags, pool, () => `pool ${pool.name} created, with id ${pool.id}`);
}

export async function listAction(flags: ClusterOptions): Promise<void> {
  const { pools } = await withMonitor(flags, (monitor) => monitor.command("pool ls", {}));
  const rows = pools.map((pool) => ({ ...pool, pgpNum: pgpNumOf(pool) }));
  printResult(flags, rows, () => poolTable(rows));
}

function poolTable(pools: readonly PoolInfo[]): Output {
  const right = "right" as const;
  return table(
    [
      { title: "NAME" },
      { title: "ID", align: right },
      { title: "PGS", align: right },
      { title: "PLACED", align: right },
      { title: "SIZE", align: right },
      { title: "MIN_SIZE", align: right },
      { title: "RULE", align: right },
      { title: "APPLICATION" },
    ],
    pools.map((pool) => [
      pool.name,
      pool.id,
      pool.pgNum,
      pgpNumOf(pool),
      pool.size,
      pool.minSize,
      pool.crushRule,
      pool.application,
    ]),
  );
}

export async function removeAction(
  name: string,
  again: string | undefined,
  flags: RemoveFlags,
): Promise<void> {
  if (flags.yesIReallyMeanIt !== true && again !== name) {
    throw new StorageError("invalid_argument", `this destroys all images of the pool ${name}`, {
      remedy: `If you mean it, give its name twice: cairn pool rm ${name} ${name}`,
    });
  }
  if (flags.force !== true) {
    const { refuseNeededPool } = await import("../client/index.js");
    await withImages(flags, { pool: name, namespace: "" }, ({ scope }) => refuseNeededPool(scope));
  }
  const { epoch } = await withMonitor(flags, (monitor) => monitor.command("pool rm", { name }));
  printResult(flags, { name, epoch }, () => `pool ${name} removed`);
}

/** A pool's settings by the names that Ceph gives them. */
function settingsOf(pool: PoolInfo) {
  const { pgNum, size, minSize, crushRule, application } = pool;
  return {
    pg_num: pgNum,
    pgp_num: pgpNumOf(pool),
    size,
    min_size: minSize,
    crush_rule: crushRule,
    application,
  };
}

export async function getAction(
  name: string,
  setting: PoolSetting | undefined,
  flags: ClusterOptions,
): Promise<void> {
  const { pools } = await withMonitor(flags, (monitor) => monitor.command("pool ls", {}));
  const pool = pools.find((one) => one.name === name);
  if (pool === undefined) {
    throw new StorageError("not_found", `there is no pool "${name}"`, {
      remedy: "`cairn pool ls` lists them.",
    });
  }
  const all = settingsOf(pool);
  const chosen = setting === undefined ? all : { [setting]: all[setting] };
  printResult(flags, chosen, () =>
    setting === undefined
      ? fieldsText(Object.entries(all).map(([key, value]) => [key, String(value)]))
      : String(all[setting]),
  );
}

export async function setAction(
  name: string,
  setting: PoolSetting,
  value: string,
  flags: ClusterOptions,
): Promise<void> {
  const { pool, epoch } = await withMonitor(flags, (monitor) =>
    monitor.command("pool set", { name, setting, value }),
  );
  const now = settingsOf(pool)[setting];
  printResult(
    flags,
    { pool: name, [setting]: now, epoch },
    () => `${setting} of the pool ${name} is ${now} (epoch ${epoch})`,
  );
}
