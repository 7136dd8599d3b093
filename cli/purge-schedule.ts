// `cairn trash purge schedule ...`: when trash is purged by itself. The monitor keeps the schedules
// in the cluster map and carries them out (docs/operating/trash.md).
import type { ClusterClient } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { systemClock } from "../common/ports.js";
import {
  nextDueMs,
  type PurgeLevel,
  type PurgeSchedule,
  scheduleKey,
  schedulesFor,
  schedulesOf,
} from "../proto/purge-schedule.js";
import { withCluster } from "./connect.js";
import { imagesOf } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { printResult, table, timeText } from "./output.js";

interface LevelFlags extends ClusterOptions {
  pool?: string;
  namespace?: string;
}

/** @throws invalid_argument */
function levelOf({ pool, namespace = "" }: LevelFlags): PurgeLevel {
  if (pool === undefined && namespace !== "") {
    throw new StorageError("invalid_argument", `in which pool is the namespace ${namespace}?`, {
      remedy: "Give --pool, too.",
    });
  }
  return pool === undefined ? { namespace } : { pool, namespace };
}

function levelText({ pool, namespace }: PurgeLevel): string {
  if (pool === undefined) return "all pools";
  return namespace === "" ? `the pool ${pool}` : `the namespace ${pool}/${namespace}`;
}

function timesText({ interval, start }: Pick<PurgeSchedule, "interval" | "start">): string {
  return start === undefined ? `every ${interval}` : `every ${interval} starting at ${start} UTC`;
}

/** @throws not_found */
async function requireLevel(client: ClusterClient, { pool, namespace }: PurgeLevel): Promise<void> {
  if (pool === undefined) return;
  client.pool(pool);
  if (namespace === "") return;
  const { Namespaces } = await import("../client/index.js");
  const { scope } = await imagesOf(client, { pool, namespace: "" });
  const found = (await new Namespaces(scope).list()).some(({ name }) => name === namespace);
  if (found) return;
  throw new StorageError("not_found", `there is no namespace ${pool}/${namespace}`, {
    remedy: `\`cairn namespace ls ${pool}\` lists them.`,
  });
}

export async function addAction(
  interval: string,
  start: string | undefined,
  flags: LevelFlags,
): Promise<void> {
  const level = levelOf(flags);
  const times = start === undefined ? { interval } : { interval, start };
  const { epoch } = await withCluster(flags, async (client) => {
    await requireLevel(client, level);
    const value = String(systemClock.wallMs());
    return client.command("config set", { name: scheduleKey({ ...level, ...times }), value });
  });
  printResult(
    flags,
    { ...level, ...times, epoch },
    () => `the trash of ${levelText(level)} is purged ${timesText(times)}`,
  );
}

const isAt = (one: PurgeLevel, level: PurgeLevel) =>
  one.pool === level.pool && one.namespace === level.namespace;

function isUnder(one: PurgeLevel, { pool, namespace }: PurgeLevel): boolean {
  if (pool === undefined) return true;
  return one.pool === pool && (namespace === "" || one.namespace === namespace);
}

async function schedulesIn(client: ClusterClient): Promise<PurgeSchedule[]> {
  return schedulesOf(await client.command("config ls", {}));
}

export async function listAction(flags: LevelFlags & { recursive?: true }): Promise<void> {
  const level = levelOf(flags);
  const all = await withCluster(flags, async (client) => {
    await requireLevel(client, level);
    return schedulesIn(client);
  });
  const shown = all.filter((one) => (flags.recursive ? isUnder(one, level) : isAt(one, level)));
  printResult(
    flags,
    shown.map(({ addedAtMs: _, ...schedule }) => schedule),
    () =>
      table(
        [{ title: "POOL" }, { title: "NAMESPACE" }, { title: "SCHEDULE" }],
        shown.map((one) => [one.pool ?? "-", one.namespace || "-", timesText(one)]),
      ),
  );
}

export async function removeAction(
  interval: string | undefined,
  start: string | undefined,
  flags: LevelFlags,
): Promise<void> {
  const level = levelOf(flags);
  const removed = await withCluster(flags, async (client) => {
    const found = (await schedulesIn(client)).filter(
      (one) =>
        isAt(one, level) &&
        (interval === undefined || one.interval === interval) &&
        (start === undefined || one.start === start),
    );
    if (found.length === 0) {
      throw new StorageError("not_found", `${levelText(level)} has no such schedule`, {
        remedy: "`cairn trash purge schedule ls --recursive` lists all schedules.",
      });
    }
    for (const one of found) {
      await client.command("config set", { name: scheduleKey(one), value: "" });
    }
    return found;
  });
  printResult(flags, { ...level, removed: removed.length }, () =>
    removed.map((one) => `removed: ${levelText(one)}, ${timesText(one)}`).join("\n"),
  );
}

interface StatusRow {
  pool: string;
  namespace: string;
  /** milliseconds since 1970 */
  nextAt: number;
  last: {
    dueAt: number;
    startedAt: number;
    endedAt?: number;
    removed: number;
    kept: number;
  } | null;
}

export async function statusAction(flags: LevelFlags): Promise<void> {
  const level = levelOf(flags);
  const rows = await withCluster(flags, async (client) => {
    await requireLevel(client, level);
    return statusRows(client, await schedulesIn(client), level);
  });
  printResult(flags, rows, () =>
    table(
      ["POOL", "NAMESPACE", "NEXT", "LAST", "REMOVED", "KEPT"].map((title) => ({ title })),
      rows.map(({ pool, namespace, nextAt, last }) => [
        pool,
        namespace || "-",
        timeText(nextAt),
        last === null ? "-" : last.endedAt === undefined ? "not ended" : timeText(last.endedAt),
        last?.removed ?? "-",
        last?.kept ?? "-",
      ]),
    ),
  );
}

async function statusRows(
  client: ClusterClient,
  schedules: readonly PurgeSchedule[],
  level: PurgeLevel,
): Promise<StatusRow[]> {
  const { lastPurge, Namespaces } = await import("../client/index.js");
  const pools =
    level.pool === undefined ? client.map().pools.map(({ name }) => name) : [level.pool];
  const rows: StatusRow[] = [];
  for (const pool of pools) {
    if (!schedules.some((one) => one.pool === undefined || one.pool === pool)) continue;
    const { scope } = await imagesOf(client, { pool, namespace: "" });
    const namespaces = (await new Namespaces(scope).list()).map(({ name }) => name);
    for (const namespace of ["", ...namespaces]) {
      if (!isUnder({ pool, namespace }, level)) continue;
      const own = schedulesFor(schedules, { pool, namespace });
      const nextAt = nextDueMs(own, systemClock.wallMs());
      if (nextAt === undefined) continue;
      const images = await imagesOf(client, { pool, namespace });
      rows.push({ pool, namespace, nextAt, last: (await lastPurge(images.scope)) ?? null });
    }
  }
  return rows;
}
