// `cairn monitor`: runs the monitor in the foreground; `cairn monitor mkfs` makes a new cluster.
import type { ClusterClient, PurgeScheduler } from "../client/index.js";
import { type Address, MonitorConfigSchema, parseConfig } from "../common/config.js";
import type { MonitorHandle } from "../monitor/index.js";
import { claimPlace, type DaemonFlags, localPlace, logConfigOf } from "./daemon-options.js";
import { imagesOf } from "./image-access.js";
import type { OutputOptions } from "./options.js";
import { printResult } from "./output.js";
import { untilEnded } from "./signals.js";

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
  const { runMonitor } = await import("../monitor/index.js");
  const release = claimPlace(place, "mon");
  const own = new OwnClient();
  let purges: PurgeScheduler | undefined;
  try {
    const handle = await runMonitor(config, { listImages: (pool) => own.list(pool) });
    own.monitor = handle;
    purges = await startPurges(handle, own);
    await untilEnded(handle);
  } finally {
    // What it is at fails when its client closes, and is gone on with at the next start.
    purges?.stop();
    await own.close();
    release();
  }
}

/** The trash is purged by the schedules of the map from here: there is one monitor. */
async function startPurges({ cluster }: MonitorHandle, own: OwnClient): Promise<PurgeScheduler> {
  const [{ PurgeScheduler: Scheduler }, { systemClock: clock }] = await Promise.all([
    import("../client/image/purge-scheduler.js"),
    import("../common/ports.js"),
  ]);
  const purges = new Scheduler({
    clock,
    map: () => cluster.map(),
    images: (pool, namespace) => own.images(pool, namespace),
    onPurged: (where, { removed, kept }) => {
      const what = `removed ${removed} images, kept ${kept}`;
      cluster.events.add("info", `trash of ${where} purged by its schedule: ${what}`);
    },
    onFailed: (where, { message }) =>
      cluster.events.add("warn", `trash of ${where} could not be purged: ${message}`),
  });
  purges.start();
  return purges;
}

/** A client of the monitor's own cluster, made when it is first needed. */
class OwnClient {
  monitor: MonitorHandle | undefined;
  private client: Promise<ClusterClient> | undefined;

  /** For /api/v1/images. */
  async list(pool: string) {
    // Those whose headers cannot be read are left to `cairn ls` to tell of.
    const infos = await (await this.images(pool, "")).list(() => undefined);
    return infos.map(({ name, id, sizeBytes }) => ({ name, id, sizeBytes }));
  }

  async images(pool: string, namespace: string) {
    this.client ??= this.connect();
    return imagesOf(await this.client, { pool, namespace });
  }

  async close(): Promise<void> {
    await this.client?.then((client) => client.close()).catch(() => undefined);
  }

  private async connect(): Promise<ClusterClient> {
    const { ClusterClient: Client } = await import("../client/index.js");
    const { StorageError } = await import("../common/errors.js");
    const { monitor } = this;
    try {
      if (monitor === undefined) throw new StorageError("not_active", "the monitor is starting");
      return await Client.connect({ monitor: monitor.address, clusterId: monitor.clusterId });
    } catch (thrown) {
      // Whoever asks next tries anew.
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
