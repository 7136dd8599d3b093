// `cairn osd`: runs one OSD in the foreground; `cairn osd mkfs` makes its store; `osd tree`, `ls`,
// `out`, `in` and `down` manage the OSDs of a cluster.
import { hostname } from "node:os";
import { type Command, Option } from "commander";
import { OsdConfigSchema, parseConfig } from "../common/config.js";
import { StorageError } from "../common/errors.js";
import { formatSize } from "../common/units.js";
import type { OsdRow, OsdTreeNode } from "../proto/commands.js";
import { connectSession, withMonitor } from "./connect.js";
import {
  claimPlace,
  type DaemonFlags,
  localPlace,
  logConfigOf,
  withDaemon,
} from "./daemon-options.js";
import { registerExportMap } from "./monitor-rebuild.js";
import {
  addressText,
  addressValue,
  type ClusterOptions,
  countValue,
  type OutputOptions,
  sizeValue,
  withCluster,
  withExamples,
  withOutput,
} from "./options.js";
import { registerBlocklist } from "./osd-blocklist.js";
import { registerOsdFlags } from "./osd-flags.js";
import { printResult, tableText } from "./output.js";

interface RunFlags extends DaemonFlags {
  id?: number;
  store?: string;
  monitor?: ClusterOptions["monitor"];
  host?: string;
  deviceClass?: string;
  faultDisk?: string;
}

interface MkfsFlags extends OutputOptions {
  id: number;
  data: string;
  store?: string;
  size?: number;
  clusterId?: string;
  monitor?: ClusterOptions["monitor"];
}

const idValue = countValue(0, 32767);

export function registerOsd(program: Command): void {
  const osd = program
    .command("osd")
    .description("Run one OSD in the foreground, as an init system does, or manage OSDs.")
    .option("--id <n>", "its number", idValue)
    .option("--store <path>", "block device or file of its store (default: in --data)")
    .option("--monitor <host:port>", "the monitor's address", addressValue)
    .option("--host <name>", "host bucket in the CRUSH map (default: the host's name)")
    .option("--device-class <class>", "for CRUSH rules that ask for one (default: ssd)")
    .option("--fault-disk <socket>", "for tests: lose data and fail as told at this socket");
  withDaemon(osd).action(runAction);
  withExamples(
    osd,
    "cairn osd --id 0 --dir /var/lib/cairn",
    "cairn osd --id 4 --data /var/lib/osd4 --monitor 10.0.0.1:6789 --listen 10.0.0.4:6800",
  );
  registerMkfs(osd);
  registerQueries(osd);
  registerChanges(osd);
  registerBlocklist(osd);
  registerOsdFlags(osd);
  registerExportMap(osd);
}

function registerMkfs(osd: Command): void {
  const mkfs = osd
    .command("mkfs")
    .description("Make the store of a new OSD.")
    .requiredOption("--id <n>", "its number", idValue)
    .requiredOption("--data <path>", "its folder")
    .option("--store <path>", "block device or file of the store (default: in --data)")
    .option("--size <size>", "of a store in a file (sparse)", sizeValue)
    .addOption(new Option("--cluster-id <uuid>", "the cluster's id").conflicts("monitor"))
    .option("--monitor <host:port>", "ask this monitor for the cluster's id", addressValue);
  withOutput(mkfs).action(mkfsAction);
  withExamples(
    mkfs,
    "cairn osd mkfs --id 4 --data /var/lib/osd4 --size 100G --monitor 10.0.0.1:6789",
  );
}

function registerQueries(osd: Command): void {
  const tree = osd.command("tree").description("Show the CRUSH tree with the OSDs' states.");
  withCluster(tree).action(treeAction);
  withExamples(tree, "cairn osd tree");

  const list = osd.command("ls").description("List the OSDs with addresses and usage.");
  withCluster(list).action(listAction);
  withExamples(list, "cairn osd ls --format json");
}

const changes = [
  ["out", "Take an OSD out: its data moves to the others."],
  ["in", "Bring an OSD in again."],
  ["down", "Mark an OSD down; one that runs comes up again by itself."],
] as const;

function registerChanges(osd: Command): void {
  for (const [verb, description] of changes) {
    const command = osd
      .command(verb)
      .description(description)
      .argument("<id>", "its number", idValue);
    withCluster(command).action(async (id: number, flags: ClusterOptions) => {
      const { epoch } = await withMonitor(flags, (monitor) =>
        monitor.command(`osd ${verb}`, { id }),
      );
      printResult(flags.format, { id, epoch }, () => `osd.${id} is ${verb} (epoch ${epoch})`);
    });
    withExamples(command, `cairn osd ${verb} 2`);
  }
}

async function runAction(flags: RunFlags): Promise<void> {
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
      log: logConfigOf(flags, place, `osd.${id}`),
      host: flags.host ?? hostname(),
      ...(flags.deviceClass === undefined ? {} : { deviceClass: flags.deviceClass }),
      ...(flags.faultDisk === undefined ? {} : { faultDisk: flags.faultDisk }),
    },
    "arguments",
  );
  const { runOsd, untilSignal } = await import("../osd/index.js");
  const release = claimPlace(place, `osd.${id}`);
  try {
    await untilSignal(await runOsd(config));
  } finally {
    release();
  }
}

async function mkfsAction(flags: MkfsFlags): Promise<void> {
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
  printResult(flags.format, { ...identity, data }, () => `the store of osd.${id} is in ${data}`);
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

async function treeAction(flags: ClusterOptions): Promise<void> {
  const { nodes } = await withMonitor(flags, (monitor) => monitor.command("osd tree", {}));
  printResult(flags.format, nodes, () => treeText(nodes));
}

function treeText(nodes: readonly OsdTreeNode[]): string {
  const right = "right" as const;
  return tableText(
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

async function listAction(flags: ClusterOptions): Promise<void> {
  const { osds } = await withMonitor(flags, (monitor) => monitor.command("osd ls", {}));
  printResult(flags.format, osds, () => listText(osds));
}

function listText(osds: readonly OsdRow[]): string {
  const right = "right" as const;
  return tableText(
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
