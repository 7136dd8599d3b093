// `cairn monitor`: runs the monitor in the foreground; `cairn monitor mkfs` makes a new cluster.
import type { Command } from "commander";
import type { ClusterClient } from "../client/index.js";
import { type Address, MonitorConfigSchema, parseConfig } from "../common/config.js";
import type { MonitorHandle } from "../monitor/index.js";
import {
  claimPlace,
  type DaemonFlags,
  localPlace,
  logConfigOf,
  withDaemon,
} from "./daemon-options.js";
import { imagesOf } from "./image-access.js";
import { registerMonitorRebuild } from "./monitor-rebuild.js";
import { addressValue, type OutputOptions, withExamples, withOutput } from "./options.js";
import { printResult } from "./output.js";

interface RunFlags extends DaemonFlags {
  http?: Address;
}

interface MkfsFlags extends OutputOptions {
  data: string;
  clusterId?: string;
  failureDomain: string;
}

export function registerMonitor(program: Command): void {
  const monitor = program
    .command("monitor")
    .description("Run the monitor in the foreground, as an init system does.")
    .option("--http <host:port>", "where to serve /api/v1 and /metrics", addressValue);
  withDaemon(monitor).action(runAction);
  withExamples(
    monitor,
    "cairn monitor --dir /var/lib/cairn",
    "cairn monitor --data /var/lib/cairn-mon --listen 127.0.0.1:6789 --http 127.0.0.1:9283",
  );

  const mkfs = monitor
    .command("mkfs")
    .description("Make a new cluster: the folder of its monitor.")
    .requiredOption("--data <path>", "the monitor's new folder")
    .option("--cluster-id <uuid>", "(default: a random one)")
    .option("--failure-domain <type>", "over what copies are spread: osd, host", "host");
  withOutput(mkfs).action(mkfsAction);
  withExamples(mkfs, "cairn monitor mkfs --data /var/lib/cairn-mon");
  registerMonitorRebuild(monitor);
}

async function runAction(flags: RunFlags): Promise<void> {
  const place = localPlace(flags);
  const listen = flags.listen ?? place?.file.monitor;
  const http = flags.http ?? place?.file.http;
  const config = parseConfig(
    MonitorConfigSchema,
    {
      dataDir: flags.data ?? place?.paths.dataDir("mon"),
      ...(listen === undefined ? {} : { listen }),
      ...(http === undefined ? {} : { http }),
      log: logConfigOf(flags, place, "mon"),
    },
    "arguments",
  );
  const { runMonitor, untilSignal } = await import("../monitor/index.js");
  const release = claimPlace(place, "mon");
  const images = new ImageLister();
  try {
    const handle = await runMonitor(config, { listImages: (pool) => images.list(pool) });
    images.monitor = handle;
    await untilSignal(handle);
  } finally {
    await images.close();
    release();
  }
}

/** For /api/v1/images: a client of the monitor's own cluster, made when it is first asked. */
class ImageLister {
  monitor: MonitorHandle | undefined;
  private client: Promise<ClusterClient> | undefined;

  async list(pool: string) {
    this.client ??= this.connect();
    const infos = await (await imagesOf(await this.client, pool)).list();
    return infos.map(({ name, id, sizeBytes }) => ({ name, id, sizeBytes }));
  }

  async close(): Promise<void> {
    await this.client?.then((client) => client.close()).catch(() => undefined);
  }

  private async connect(): Promise<ClusterClient> {
    const { ClusterClient: Client } = await import("../client/index.js");
    const { StorageError } = await import("../common/errors.js");
    const { monitor } = this;
    if (monitor === undefined) throw new StorageError("not_active", "the monitor is starting");
    try {
      return await Client.connect({ monitor: monitor.address, clusterId: monitor.clusterId });
    } catch (thrown) {
      this.client = undefined;
      throw thrown;
    }
  }
}

async function mkfsAction(flags: MkfsFlags): Promise<void> {
  const { mkfs } = await import("../monitor/index.js");
  const { data, clusterId, failureDomain } = flags;
  const made = await mkfs({ dataDir: data, clusterId, failureDomain });
  printResult(flags.format, { clusterId: made, data }, () => `cluster ${made} made in ${data}`);
}
