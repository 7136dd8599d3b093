// The composition root of the monitor daemon: the only file here that binds the ports to the host.
// It writes nothing outside its data folder but its log.
import { chmod, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Address, MonitorConfig } from "../common/config.js";
import { type StorageError, toStorageError } from "../common/errors.js";
import { type DaemonLog, openLog } from "../common/log.js";
import { type Clock, type Random, systemClock, systemRandom } from "../common/ports.js";
import { Cluster } from "./cluster.js";
import { followHealth } from "./commands.js";
import type { CrushPort } from "./crush-port.js";
import { openEventLog } from "./event-log.js";
import { type HttpServer, type ListImages, startHttp } from "./http.js";
import { type MkfsOptions, makeCluster } from "./mkfs.js";
import { countRefusedStart, readRefusedStarts } from "./refused-starts.js";
import { ControlServer } from "./server.js";
import { logLevelFor } from "./services/config-service.js";
import { LevelMapStore } from "./store/level-map-store.js";

/** What tests and other composition roots may replace. */
export interface MonitorPorts {
  crush: CrushPort;
  clock: Clock;
  random: Random;
  /** absent: /api/v1/images answers 501 */
  listImages?: ListImages;
}

export interface MonitorHandle {
  clusterId: string;
  /** of the control protocol */
  address: Address;
  httpAddress: Address;
  cluster: Cluster;
  /** Stops gracefully; the same promise when called again. */
  close(): Promise<void>;
  /** Settles when the monitor has ended; rejects when it ended because its store failed. */
  ended: Promise<void>;
}

/** The host's, where not replaced. The native core is loaded only if CRUSH comes from it. */
async function portsWith(replaced: Partial<MonitorPorts>): Promise<MonitorPorts> {
  const crush = replaced.crush ?? (await import("./native-crush.js")).nativeCrush;
  return { clock: systemClock, random: systemRandom, ...replaced, crush };
}

/**
 * Starts a monitor on an existing map store.
 * @throws not_found, busy, corrupt, incompatible_version (its store); address_in_use; nothing stays
 *   open then, and it is counted for the next one's /metrics
 */
export async function runMonitor(
  config: MonitorConfig,
  replaced: Partial<MonitorPorts> = {},
): Promise<MonitorHandle> {
  const ports = await portsWith(replaced);
  const opened: (() => Promise<void>)[] = [];
  const closeAll = async () => {
    for (const close of opened.reverse().splice(0)) await close();
  };
  try {
    return await start(config, ports, opened, closeAll);
  } catch (thrown) {
    await closeAll();
    await countRefusedStart(config.dataDir, toStorageError(thrown, "start the monitor").code);
    throw thrown;
  }
}

async function start(
  config: MonitorConfig,
  ports: MonitorPorts,
  opened: (() => Promise<void>)[],
  closeAll: () => Promise<void>,
): Promise<MonitorHandle> {
  const store = await LevelMapStore.open(config.dataDir);
  opened.push(() => store.close());
  await chmod(config.dataDir, 0o700);
  const daemonLog = openLog(config.log, "mon");
  opened.push(async () => daemonLog.close());
  const { log } = daemonLog;
  const events = openEventLog(config.dataDir, ports.clock, log);
  const cluster = await Cluster.open({ ...ports, store, log, events }, config);
  opened.push(() => cluster.close());
  followLogLevel(cluster, daemonLog);
  events.add("info", `the monitor has started, with map epoch ${cluster.map().epoch}`);
  followHealth(cluster);
  const startedMs = ports.clock.nowMs();
  const control = await ControlServer.start(
    cluster,
    log.child({ part: "control" }),
    { listen: config.listen, incarnation: ports.random.uint64() },
    startedMs,
  );
  opened.push(() => control.close());
  const http = await startHttp({
    listen: config.http,
    cluster,
    commands: { cluster, sessions: () => control.sessionCount(), startedMs },
    refusedConnections: () => control.refusedConnections(),
    refusedCommands: () => control.commandsRefused(),
    ownRefusedStarts: () => readRefusedStarts(config.dataDir),
    listImages: ports.listImages,
  });
  opened.push(() => http.close());
  await announce(config.dataDir, cluster, control, http);
  opened.push(() => rm(addressFile(config.dataDir), { force: true }));
  log.info({ control: control.address(), http: http.address() }, "monitor is up");
  opened.push(async () => log.info("monitor is stopping"));
  return handleOf(cluster, control, http, closeAll);
}

function handleOf(
  cluster: Cluster,
  control: ControlServer,
  http: HttpServer,
  closeAll: () => Promise<void>,
): MonitorHandle {
  let closing: Promise<void> | undefined;
  let settle: { resolve(): void; reject(error: StorageError): void } | undefined;
  const ended = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  ended.catch(() => undefined);
  const close = () => {
    closing ??= closeAll().then(
      () => settle?.resolve(),
      (thrown: unknown) => settle?.reject(toStorageError(thrown, "stop the monitor")),
    );
    return closing;
  };
  cluster.addListener({
    onFatal: (error) => {
      settle?.reject(error);
      void close();
    },
  });
  return {
    clusterId: cluster.map().clusterId,
    address: control.address(),
    httpAddress: http.address(),
    cluster,
    close,
    ended,
  };
}

/** The monitor's own log follows the settings of the map. */
function followLogLevel(cluster: Cluster, daemonLog: DaemonLog): void {
  const configured = daemonLog.level();
  const follow = () => daemonLog.setLevel(logLevelFor(cluster.map(), "mon") ?? configured);
  follow();
  cluster.addListener({ onMap: follow });
}

/** Names the addresses of the running monitor, for those who let it choose its ports. */
export function addressFile(dataDir: string): string {
  return path.join(dataDir, "addresses.json");
}

async function announce(
  dataDir: string,
  cluster: Cluster,
  control: ControlServer,
  http: HttpServer,
): Promise<void> {
  const addresses = {
    clusterId: cluster.map().clusterId,
    pid: process.pid,
    control: control.address(),
    http: http.address(),
  };
  await writeFile(addressFile(dataDir), `${JSON.stringify(addresses)}\n`, { mode: 0o600 });
}

/**
 * Makes a new cluster in a new monitor's folder.
 * @returns the cluster's id
 * @throws already_exists, invalid_argument
 */
export async function mkfs(
  options: MkfsOptions,
  replaced: Partial<MonitorPorts> = {},
): Promise<string> {
  const map = await makeCluster(options, await portsWith(replaced));
  return map.clusterId;
}
