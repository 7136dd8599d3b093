// `cairn osd`: runs one OSD in the foreground; `cairn osd mkfs` makes its store; `osd tree`, `ls`,
// `out`, `in` and `down` manage the OSDs of a cluster.
import { hostname } from "node:os";
import { OsdConfigSchema, parseConfig } from "../common/config.js";
import { StorageError } from "../common/errors.js";
import type { OnOff } from "../common/local-sockets.js";
import { formatSize } from "../common/units.js";
import type { OsdRow, OsdTreeNode } from "../proto/commands.js";
import { connectSession, withMonitor } from "./connect.js";
import { claimPlace, type DaemonFlags, localPlace, logConfigOf } from "./daemon-options.js";
import { addressText, type ClusterOptions, type OutputOptions } from "./options.js";
import { type Output, printResult, table } from "./output.js";
import { untilEnded } from "./signals.js";

interface RunFlags extends DaemonFlags {
  id?: number;
  store?: string;
  monitor?: ClusterOptions["monitor"];
  host?: string;
  deviceClass?: string;
  faultDisk?: string;
  localSockets: OnOff;
  overwrites: "move" | "stay";
  metadataCache: number;
}

interface MkfsFlags extends OutputOptions {
  id: number;
  data: string;
  store?: string;
  size?: number;
  clusterId?: string;
  monitor?: ClusterOptions["monitor"];
}

/** `cairn osd out`, `in` or `down`. */
export const changeAction =
  (verb: "out" | "in" | "down") =>
  async (id: number, flags: ClusterOptions): Promise<void> => {
    const { epoch } = await withMonitor(flags, (monitor) => monitor.command(`osd ${verb}`, { id }));
    printResult(flags, { id, epoch }, () => `osd.${id} is ${verb} (epoch ${epoch})`);
  };

export async function runAction(flags: RunFlags): Promise<void> {
  const { id } = flags;
  if (id === undefined) {
    throw new StorageError("invalid_argument", "which OSD? --id N is missing", {
      remedy: "`cairn osd --help` shows the usage; `cairn osd tree` lists the OSDs.",
    });
  }
  const place = localPlace(flags);
  const monitor = flags.monitor ?? place?.file.monitor;
  if (monitor === undefined) {
    throw new StorageError("invalid_argument", "where is the monitor? --monitor is missing", {
      remedy: "Give its address as --monitor HOST:PORT.",
    });
  }
  const config = parseConfig(
    OsdConfigSchema,
    {
      id,
      dataDir: flags.data ?? place?.paths.dataDir(`osd.${id}`),
      ...(flags.store === undefined ? {} : { store: flags.store }),
      monitor,
      ...(flags.listen === undefined ? {} : { listen: flags.listen }),
      localSockets: flags.localSockets === "on",
      movesOverwrites: flags.overwrites === "move",
      metadataCacheBytes: flags.metadataCache,
      log: logConfigOf(flags, place, `osd.${id}`),
      host: flags.host ?? hostname(),
      ...(flags.deviceClass === undefined ? {} : { deviceClass: flags.deviceClass }),
      ...(flags.faultDisk === undefined ? {} : { faultDisk: flags.faultDisk }),
    },
    "arguments",
  );
  const { runOsd } = await import("../osd/index.js");
  const release = claimPlace(place, `osd.${id}`);
  try {
    await untilEnded(await runOsd(config));
  } finally {
    release();
  }
}

export async function mkfsAction(flags: MkfsFlags): Promise<void> {
  const { id, data, store, size } = flags;
  const clusterId = flags.clusterId ?? (await clusterIdFrom(flags.monitor));
  const { mkfsOsd } = await import("../osd/index.js");
  const identity = await mkfsOsd({
    id,
    dataDir: data,
    clusterId,
    ...(store === undefined ? {} : { store }),
    ...(size === undefined ? {} : { sizeBytes: size }),
  });
  printResult(flags, { ...identity, data }, () => `the store of osd.${id} is in ${data}`);
}

async function clusterIdFrom(monitor: ClusterOptions["monitor"]): Promise<string> {
  if (monitor === undefined) {
    throw new StorageError("invalid_argument", "an OSD is made for a cluster: which one?", {
      remedy: "Give --monitor HOST:PORT, or --cluster-id UUID.",
    });
  }
  const session = await connectSession({ monitor });
  session.close();
  return session.clusterId ?? "";
}

export async function treeAction(flags: ClusterOptions): Promise<void> {
  const { nodes } = await withMonitor(flags, (monitor) => monitor.command("osd tree", {}));
  printResult(flags, nodes, () => treeText(nodes));
}

function treeText(nodes: readonly OsdTreeNode[]): Output {
  const right = "right" as const;
  return table(
    [
      { title: "ID", align: right },
      { title: "CLASS" },
      { title: "WEIGHT", align: right },
      { title: "TYPE NAME" },
      { title: "STATUS" },
      { title: "REWEIGHT", align: right },
    ],
    nodes.map((node) => [
      node.id,
      node.deviceClass ?? "",
      node.crushWeight.toFixed(5),
      `${"    ".repeat(node.depth)}${node.type === "osd" ? "" : `${node.type} `}${node.name}`,
      statusOf(node),
      node.reweight === undefined ? "" : node.reweight.toFixed(5),
    ]),
  );
}

type Status = Pick<OsdTreeNode, "up" | "in" | "slow" | "failed" | "fullState">;

function statusOf({ up, in: isIn, slow, failed, fullState }: Status): string {
  if (up === undefined) return "";
  return [
    up ? "up" : "down",
    ...(isIn === false ? ["out"] : []),
    ...(failed === undefined ? [] : ["failed"]),
    ...(slow ? ["slow"] : []),
    ...(fullState === undefined ? [] : [fullState]),
  ].join(", ");
}

export async function listAction(flags: ClusterOptions): Promise<void> {
  const { osds } = await withMonitor(flags, (monitor) => monitor.command("osd ls", {}));
  printResult(flags, osds, () => listText(osds));
}

function listText(osds: readonly OsdRow[]): Output {
  const right = "right" as const;
  return table(
    [
      { title: "ID", align: right },
      { title: "STATUS" },
      { title: "ADDRESS" },
      { title: "HOST" },
      { title: "CLASS" },
      { title: "USED", align: right },
      { title: "SIZE", align: right },
      { title: "MEMORY", align: right },
    ],
    osds.map((osd) => [
      osd.id,
      statusOf(osd),
      addressText(osd.address),
      osd.host,
      osd.deviceClass,
      osd.usedBytes === undefined ? "?" : formatSize(osd.usedBytes),
      formatSize(osd.sizeBytes),
      osd.rssBytes === undefined ? "?" : formatSize(osd.rssBytes),
    ]),
  );
}
