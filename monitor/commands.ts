// The commands of the control protocol and of /api/v1: for each verb of proto/commands.ts what the
// monitor does. A table; the checks of what changes the map are the services'.
import { StorageError } from "../common/errors.js";
import { Checker } from "../common/schema.js";
import {
  type ClusterStatus,
  type CommandArgs,
  type CommandResult,
  commandSchemas,
  type Health,
  type OsdRow,
  type PgRow,
  type Verb,
} from "../proto/commands.js";
import { type MapFlag, withFlag } from "../proto/map-flags.js";
import { findOsd, fullWeight, type OsdInfo, type OsdMap, pgpNumOf } from "../proto/osd-map.js";
import { pgStateWords } from "../proto/pg-states.js";
import type { Cluster } from "./cluster.js";
import { inconsistentObjects, scrubPgs, unfoundObjects } from "./pg-commands.js";
import { planBlocklistAdd, planBlocklistRemove } from "./services/blocklist-service.js";
import { healthEvents } from "./services/cluster-events.js";
import { failureDomainOf, planConfigSet } from "./services/config-service.js";
import { healthOf } from "./services/health.js";
import { countByState, hasState, pgRows } from "./services/pg-stats.js";
import { planPoolCreate, planPoolRemove, planPoolSet } from "./services/pool-service.js";
import { commitLatency } from "./services/slow-service.js";
import { planSnapAllocate, planSnapRemove } from "./services/snapshot-service.js";

/** What the handlers work with. */
export interface CommandContext {
  cluster: Cluster;
  /** open control connections */
  sessions(): number;
  /** monotonic */
  startedMs: number;
}

type Handler<V extends Verb> = (
  context: CommandContext,
  args: CommandArgs<V>,
) => CommandResult<V> | Promise<CommandResult<V>>;

const handlers: { readonly [V in Verb]: Handler<V> } = {
  status,
  health: ({ cluster }) => clusterHealth(cluster),
  "osd tree": ({ cluster }) => osdTree(cluster),
  "osd ls": ({ cluster }) => ({ osds: cluster.map().osds.map((osd) => osdRow(cluster, osd)) }),
  "osd out": (context, { id }) => osdEvent(context, "osdOut", id),
  "osd in": (context, { id }) => osdEvent(context, "osdIn", id),
  "osd down": (context, { id }) => osdEvent(context, "osdDown", id),
  "osd set": (context, { flag }) => setFlag(context, flag, true),
  "osd blocklist add": blocklistAdd,
  "osd blocklist rm": async ({ cluster }, { client }) => {
    const map = await cluster.change(planBlocklistRemove(cluster.draftMap(), client));
    return { epoch: map.epoch };
  },
  "osd blocklist ls": ({ cluster }) => ({ entries: cluster.map().blocklist ?? [] }),
  "osd unset": (context, { flag }) => setFlag(context, flag, false),
  "osd primary affinity": (context, args) => setAffinity(context, args),
  "pg ls": ({ cluster }, args) => ({ pgs: selectedPgs(cluster, args) }),
  "pg scrub": ({ cluster }, args) => scrubPgs(cluster, allPgs(cluster), args),
  "pg list unfound": ({ cluster }, { pgid }) => unfoundObjects(allPgs(cluster), pgid),
  "pg list inconsistent": ({ cluster }, { pgid }) => inconsistentObjects(allPgs(cluster), pgid),
  "pool create": async ({ cluster }, args) => {
    const rules = cluster.crush.rules(cluster.draftMap().crush);
    const { changes, pool } = planPoolCreate(cluster.draftMap(), args, rules);
    return { epoch: (await cluster.change(changes)).epoch, pool };
  },
  "pool ls": ({ cluster }) => ({ pools: cluster.map().pools }),
  "pool rm": async ({ cluster }, { name }) => {
    const map = await cluster.change(planPoolRemove(cluster.draftMap(), name));
    return { epoch: map.epoch };
  },
  "pool set": async ({ cluster }, args) => {
    const rules = cluster.crush.rules(cluster.draftMap().crush);
    const { changes, pool } = planPoolSet(cluster.draftMap(), args, rules);
    return { epoch: (await cluster.change(changes)).epoch, pool };
  },
  "log last": ({ cluster }, { count, afterSeq }) => ({
    entries: cluster.events.last(count, afterSeq),
    lastSeq: cluster.events.lastSeq(),
  }),
  "pool snap allocate": async ({ cluster }, args) => {
    const { changes, id, count } = planSnapAllocate(cluster.draftMap(), args);
    return { id, count, epoch: (await cluster.change(changes)).epoch };
  },
  "pool snap remove": async ({ cluster }, args) => {
    const changes = planSnapRemove(cluster.draftMap(), args);
    // One that is being removed by an epoch that is not durable yet is waited for, too.
    const map = await (changes === undefined ? cluster.settled() : cluster.change(changes));
    return { epoch: map.epoch };
  },
  "config set": configSet,
  "config ls": ({ cluster }) => ({ config: cluster.map().config }),
  "map get": ({ cluster }, { epoch }) => ({
    map: epoch === undefined ? cluster.map() : cluster.mapAt(epoch),
  }),
};

const argCheckers = new Map(
  Object.entries(commandSchemas).map(([verb, { args }]) => [
    verb,
    new Checker(args, `arguments of "${verb}"`, "invalid_argument"),
  ]),
);

/**
 * Carries a command out.
 * @returns its result; of a command that changes the map: when the new epoch is durable
 * @throws invalid_argument (also for an unknown verb), and the errors of the verb
 */
export async function runCommand(
  context: CommandContext,
  verb: string,
  args: unknown,
): Promise<unknown> {
  const checker = argCheckers.get(verb);
  if (checker === undefined) {
    throw new StorageError("invalid_argument", `there is no command "${verb}"`);
  }
  const handler = handlers[verb as Verb] as Handler<Verb>;
  return handler(context, checker.check(args) as CommandArgs<Verb>);
}

/** runCommand() for callers that know the verb. */
export function callCommand<V extends Verb>(
  context: CommandContext,
  verb: V,
  args: CommandArgs<V>,
): Promise<CommandResult<V>> {
  return runCommand(context, verb, args) as Promise<CommandResult<V>>;
}

/**
 * Writes changes of health into the cluster log: looked at with each new map, and when OSDs have
 * reported, at most once a second.
 */
export function followHealth(cluster: Cluster): void {
  const eachMs = 1000;
  let health = clusterHealth(cluster);
  let lookedMs = cluster.nowMs();
  const look = () => {
    lookedMs = cluster.nowMs();
    const now = clusterHealth(cluster);
    for (const { level, message } of healthEvents(health, now)) cluster.events.add(level, message);
    health = now;
  };
  cluster.addListener({
    onMap: look,
    onNews: look,
    onReport: () => {
      if (cluster.nowMs() - lookedMs >= eachMs) look();
    },
  });
}

/** All PGs, with what their primaries reported. */
function allPgs(cluster: Cluster): PgRow[] {
  return pgRows(cluster.stats, cluster.map(), cluster.placements());
}

export function clusterHealth(cluster: Cluster, pgs = allPgs(cluster)): Health {
  const map = cluster.map();
  return healthOf({
    map,
    pgs,
    stats: cluster.stats,
    startRefusals: cluster.startRefusals,
    nowMs: cluster.nowMs(),
    statsStaleMs: cluster.options.statsStaleMs,
    commitLatency: (osd) => commitLatency(cluster.slow, map, osd),
  });
}

function status({ cluster, sessions, startedMs }: CommandContext): ClusterStatus {
  const map = cluster.map();
  const pgs = allPgs(cluster);
  const reports = [...cluster.stats.osds.values()].map(({ stats }) => stats);
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
  const splits = splitPools(map);
  return {
    clusterId: map.clusterId,
    epoch: map.epoch,
    health: clusterHealth(cluster, pgs),
    monitor: { uptimeMs: cluster.nowMs() - startedMs, sessions: sessions() },
    osds: {
      total: map.osds.length,
      up: map.osds.filter((osd) => osd.up).length,
      in: map.osds.filter((osd) => osd.in).length,
    },
    pools: map.pools.length,
    pgs: { total: pgs.length, byState: countByState(pgs) },
    ...(splits.length > 0 && { splits }),
    usage: {
      usedBytes: sum(reports.map(({ usedBytes }) => usedBytes)),
      totalBytes: sum(reports.map(({ totalBytes }) => totalBytes)),
      objects: sum(pgs.map(({ objects }) => objects)),
      storedBytes: sum(pgs.map(({ bytes }) => bytes)),
      degraded: sum(pgs.map(({ degraded }) => degraded)),
      misplaced: sum(pgs.map(({ misplaced }) => misplaced)),
      unfound: sum(pgs.map(({ unfound }) => unfound)),
    },
    flags: map.flags,
  };
}

function splitPools({ pools }: OsdMap): NonNullable<ClusterStatus["splits"]> {
  return pools
    .map((pool) => ({ pool: pool.name, pgNum: pool.pgNum, pgpNum: pgpNumOf(pool) }))
    .filter(({ pgNum, pgpNum }) => pgpNum < pgNum);
}

function conditionsOf({ primaryAffinity, fullState, slow, failed }: OsdInfo) {
  return {
    ...(primaryAffinity !== undefined && { primaryAffinity: primaryAffinity / fullWeight }),
    ...(fullState && { fullState }),
    ...(slow && { slow }),
    ...(failed && { failed }),
  };
}

function osdRow(cluster: Cluster, osd: OsdInfo): OsdRow {
  const report = cluster.stats.osds.get(osd.id);
  return {
    id: osd.id,
    uuid: osd.uuid,
    up: osd.up,
    in: osd.in,
    weight: osd.weight / fullWeight,
    address: osd.address,
    incarnation: osd.incarnation,
    host: osd.host,
    deviceClass: osd.deviceClass,
    sizeBytes: osd.sizeBytes,
    upFrom: osd.upFrom,
    upThru: osd.upThru,
    downAt: osd.downAt,
    ...conditionsOf(osd),
    ...(report && {
      usedBytes: report.stats.usedBytes,
      rssBytes: report.stats.rssBytes,
      cpuSeconds: report.stats.cpuSeconds,
      reportAgeMs: cluster.nowMs() - report.atMs,
      slowOps: report.stats.slowOpCount,
    }),
  };
}

function osdTree(cluster: Cluster): CommandResult<"osd tree"> {
  const map = cluster.map();
  const nodes = cluster.crush.nodes(map.crush).map((node) => {
    const { id, name, type, depth, weight } = node;
    const osd = id < 0 ? undefined : findOsd(map, id);
    return {
      id,
      name,
      type,
      depth,
      crushWeight: weight,
      ...(osd && {
        deviceClass: osd.deviceClass,
        up: osd.up,
        in: osd.in,
        reweight: osd.in ? osd.weight / fullWeight : 0,
        ...conditionsOf(osd),
      }),
    };
  });
  return { nodes };
}

function selectedPgs(cluster: Cluster, args: CommandArgs<"pg ls">): PgRow[] {
  const { pool, state } = args;
  if (pool !== undefined && !cluster.map().pools.some(({ name }) => name === pool)) {
    throw new StorageError("not_found", `there is no pool "${pool}"`, {
      remedy: "`cairn pool ls` lists them.",
    });
  }
  if (state !== undefined && !pgStateWords.some((word) => word === state)) {
    throw new StorageError("invalid_argument", `"${state}" is no state of a PG`, {
      remedy: `Name one of ${pgStateWords.join(", ")}.`,
    });
  }
  return allPgs(cluster).filter(
    (pg) =>
      (pool === undefined || pg.pool === pool) && (state === undefined || hasState(pg, state)),
  );
}

/** @throws not_found */
function existingOsd(cluster: Cluster, id: number): OsdInfo {
  const osd = findOsd(cluster.draftMap(), id);
  if (osd !== undefined) return osd;
  throw new StorageError("not_found", `there is no osd.${id}`, {
    remedy: "`cairn osd tree` lists them.",
  });
}

async function osdEvent(
  { cluster }: CommandContext,
  kind: "osdOut" | "osdIn" | "osdDown",
  osd: number,
): Promise<{ epoch: OsdRow["upFrom"] }> {
  existingOsd(cluster, osd);
  cluster.handle({ kind, osd });
  return { epoch: (await cluster.settled()).epoch };
}

async function setAffinity(
  { cluster }: CommandContext,
  { id, share }: CommandArgs<"osd primary affinity">,
) {
  const { primaryAffinity: _, ...osd } = existingOsd(cluster, id);
  const primaryAffinity = Math.round(share * fullWeight);
  const record = primaryAffinity === fullWeight ? osd : { ...osd, primaryAffinity };
  return { epoch: (await cluster.change({ osds: [record] })).epoch };
}

async function setFlag({ cluster }: CommandContext, flag: MapFlag, isSet: boolean) {
  const flags = withFlag(cluster.draftMap().flags, flag, isSet);
  return { epoch: (await cluster.change({ flags })).epoch };
}

async function blocklistAdd(
  { cluster }: CommandContext,
  { client, expireMs }: CommandArgs<"osd blocklist add">,
) {
  const untilMs = cluster.wallMs() + expireMs;
  const map = await cluster.change(planBlocklistAdd(cluster.draftMap(), { client, untilMs }));
  return { epoch: map.epoch, untilMs };
}

async function configSet({ cluster }: CommandContext, args: CommandArgs<"config set">) {
  const changes = planConfigSet(args.name, args.value);
  if (args.name === "crush.failure_domain") {
    const { osds, config } = cluster.draftMap();
    const domain = failureDomainOf({ ...config, [args.name]: args.value });
    changes.crush = cluster.crush.build(osds, domain);
  }
  return { epoch: (await cluster.change(changes)).epoch };
}
