// `cairn monitor`: runs the monitor in the foreground; `cairn monitor mkfs` makes a new cluster.
import type { ClusterClient } from "../client/index.js";
import { type Address, MonitorConfigSchema, parseConfig } from "../common/config.js";
import type { MonitorHandle } from "../monitor/index.js";
import { claimPlace, type DaemonFlags, localPlace, logConfigOf } from "./daemon-options.js";
import { imagesOf } from "./image-access.js";
import type { OutputOptions } from "./options.js";
import { printResult } from "./output.js";

interface RunFlags extends DaemonFlags {
  http?: Address;
}

interface MkfsFlags extends OutputOptions {
  data: string;
  clusterId?: string;
  failureDomain: string;
}

export async function runAction(flags: RunFlags): Promise<void> {
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
    const infos = await (await imagesOf(await this.client, { pool, namespace: "" })).list();
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

export async function mkfsAction(flags: MkfsFlags): Promise<void> {
  const { mkfs } = await import("../monitor/index.js");
  const { data, clusterId, failureDomain } = flags;
  const made = await mkfs({ dataDir: data, clusterId, failureDomain });
  printResult(flags, { clusterId: made, data }, () => `cluster ${made} made in ${data}`);
}
