// A client of a cluster that does I/O: the session with the monitor, the newest map, and the native
// client, which gets every new epoch. The composition root of client/.
//
// Invariants: the native client sees epochs in order, each once; a command and the objects are of
// the same cluster (the native client is made with the id that the monitor's handshake gave).
import { hostname } from "node:os";
import type { Address, LogLevel } from "../../common/config.js";
import { StorageError, toStorageError } from "../../common/errors.js";
import { localSocketsOf } from "../../common/local-sockets.js";
import { type Clock, type Random, systemClock, systemRandom } from "../../common/ports.js";
import { type ClientEvent, type NativeClient, native } from "../../native/index.js";
import type { CommandArgs, CommandResult, Verb } from "../../proto/commands.js";
import { clusterBytes } from "../../proto/control-channel.js";
import type { Maps } from "../../proto/messages.js";
import { findPool, type OsdMap, type PoolInfo } from "../../proto/osd-map.js";
import { maxSnapsAtOnce } from "../../proto/pool-snaps.js";
import { RefusedMaps } from "../../proto/refused-maps.js";
import { limitMs, numberSetting } from "../../proto/settings.js";
import { storableBytes } from "../../proto/storable.js";
import { clientStatsOf } from "./client-stats.js";
import { httpCacheBytesOf } from "./http-cache-size.js";
import { MapCache } from "./map-cache.js";
import { MonitorSession } from "./monitor-session.js";
import { NativeMapBuilder } from "./native-map.js";

export type LogLine = (level: "info" | "warn" | "error", text: string) => void;

export interface ClusterClientOptions {
  monitor: Address;
  /** undefined: whichever cluster the monitor is of */
  clusterId?: string | undefined;
  log?: LogLine;
  onLogLevel?: (level: LogLevel) => void;
  /** an export of this client has got or lost its peer */
  onExport?: (handle: number, state: "connected" | "disconnected") => void;
  /** see ImageCluster; default: CAIRN_HTTP_CACHE_BYTES of the environment, else 256 MiB */
  httpCacheBytes?: number;
  /** OSDs of this machine by Unix sockets; default: as CAIRN_LOCAL_SOCKETS says, else on */
  localSockets?: boolean;
  clock?: Clock;
  random?: Random;
}

/** While the objecter asks for a map again and again, the monitor is asked this often at most. */
const askMapEveryMs = 500;
const firstMapTimeoutMs = 5000;

export class ClusterClient {
  readonly io: NativeClient;
  readonly httpCacheBytes: number;
  readonly hostName = hostname();
  /** "host1 pid 7": how others see this client as a watcher or a lock's holder */
  readonly description = `${this.hostName} pid ${process.pid}`;
  private readonly listeners = new Set<(event: ClientEvent) => void>();
  private readonly mapListeners = new Set<() => void>();
  private readonly clock: Clock;
  private readonly log: LogLine;
  private readonly cache = new MapCache();
  private readonly builder = new NativeMapBuilder({ mapPgs: native.crushMapPgs });
  private session: MonitorSession;
  private lastAskMs = Number.NEGATIVE_INFINITY;
  private mapWaiters: ((error?: StorageError) => void)[] = [];
  private readonly refusedMaps = new RefusedMaps();
  private stopReports: () => void = () => undefined;

  private constructor(
    private readonly options: ClusterClientOptions,
    session: MonitorSession,
    readonly clientId: bigint,
    clusterId: string,
  ) {
    this.clock = options.clock ?? systemClock;
    this.log = options.log ?? (() => undefined);
    this.session = session;
    this.httpCacheBytes = httpCacheBytesOf(options.httpCacheBytes);
    this.io = new native.Client({
      clusterId: clusterBytes(clusterId),
      clientId,
      localSockets: localSocketsOf(options.localSockets),
      onEvents: (events) => {
        for (const event of events) this.handle(event);
      },
    });
  }

  /**
   * Connects to the monitor and waits for the first map.
   * @throws the errors of MonitorSession.connect; timed_out when no map comes
   */
  static async connect(options: ClusterClientOptions): Promise<ClusterClient> {
    const { monitor, clusterId, clock = systemClock, random = systemRandom } = options;
    // 0 stands for "nobody" in request ids.
    const clientId = random.uint64() || 1n;
    let client: ClusterClient | undefined;
    const session = await MonitorSession.connect(
      { monitor, clusterId, clientId, clock, random },
      {
        onMaps: (maps) => client?.takeMaps(maps),
        onConnected: () => client?.subscribe(),
        onLost: (error) => client?.log("warn", `connection to the monitor lost: ${error.message}`),
        onRefused: (error) => client?.refused(error),
        ...(options.onLogLevel === undefined ? {} : { onLogLevel: options.onLogLevel }),
      },
    );
    client = new ClusterClient(options, session, clientId, session.clusterId ?? "");
    try {
      client.subscribe();
      await client.untilMap();
    } catch (thrown) {
      await client.close();
      throw thrown;
    }
    return client;
  }

  /** Resolves when the native client has the map of that epoch. */
  async untilEpoch(epoch: number): Promise<void> {
    while (this.map().epoch < epoch) {
      this.subscribe();
      await this.untilMap();
    }
  }

  /** The newest map. */
  map(): OsdMap {
    const map = this.cache.newest();
    if (map === undefined) throw new StorageError("disconnected", "there is no cluster map yet");
    return map;
  }

  /** @throws not_found */
  pool(name: string): PoolInfo {
    const pool = findPool(this.map(), name);
    if (pool !== undefined) return pool;
    throw new StorageError("not_found", `there is no pool "${name}"`, {
      remedy: "`cairn pool ls` lists the pools, `cairn pool create` makes one.",
    });
  }

  /** Ids of snapshots, from the monitor. */
  readonly snapshotIds = {
    allocate: async ({ name }: PoolInfo): Promise<number> =>
      (await this.command("pool snap allocate", { pool: name })).id,
    remove: async ({ name }: PoolInfo, ids: number[]): Promise<void> => {
      for (let at = 0; at < ids.length; at += maxSnapsAtOnce) {
        const some = ids.slice(at, at + maxSnapsAtOnce);
        await this.command("pool snap remove", { pool: name, ids: some });
      }
    },
  };

  /** What clients can still store in a pool, by what the OSDs reported last. */
  async storableBytes({ size }: PoolInfo): Promise<number> {
    const { osds } = await this.command("osd ls", {});
    return storableBytes(osds, size, numberSetting(this.map(), "mon.full_ratio"));
  }

  /** Calls listener with each event of the native client. Returns its end. */
  onEvent(listener: (event: ClientEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Calls listener when there is a newer map. Returns its end. */
  onMap(listener: () => void): () => void {
    this.mapListeners.add(listener);
    return () => this.mapListeners.delete(listener);
  }

  /** @see MonitorSession.command */
  command<V extends Verb>(verb: V, args: CommandArgs<V>): Promise<CommandResult<V>> {
    return this.session.command(verb, args);
  }

  /**
   * Reports counters and latencies of this process to the monitor, for /metrics.
   * @param daemon its label: "client.NAME"
   */
  reportStats(daemon: string, everyMs = 5000): void {
    let cancel = () => {};
    const report = async () => {
      try {
        const native = await this.io.stats();
        const counters = { ...native.counters, ...this.refusedMaps.counters() };
        const stats = { ...native, counters };
        const map = this.cache.newest();
        const complaintMs = limitMs(map ?? { config: {} }, "client.op_complaint_ms");
        this.session.send(clientStatsOf(daemon, stats, process, complaintMs));
      } catch (thrown) {
        this.log("warn", `no statistics: ${toStorageError(thrown).message}`);
      }
      cancel = this.clock.setTimer(everyMs, () => void report());
    };
    void report();
    this.stopReports = () => cancel();
  }

  /**
   * Calls `stalled` when an operation is older than limitMs: its PG cannot serve it now. Once for
   * each stall.
   * @returns ends the watch
   */
  watchStalls(limitMs: number, stalled: (oldestMs: number) => void): () => void {
    let told = false;
    let cancel = () => {};
    let ended = false;
    const look = async () => {
      const { oldestOperationMs } = await this.io.stats();
      if (ended) return;
      if (oldestOperationMs > limitMs && !told) stalled(oldestOperationMs);
      told = oldestOperationMs > limitMs;
      arm();
    };
    const arm = () => {
      cancel = this.clock.setTimer(1000, () => void look().catch(() => undefined));
    };
    arm();
    return () => {
      ended = true;
      cancel();
    };
  }

  /** Ends the session and the native client; what is in flight fails with canceled. */
  async close(): Promise<void> {
    this.stopReports();
    this.session.close();
    await this.io.close();
  }

  private handle(event: ClientEvent): void {
    for (const listener of this.listeners) listener(event);
    if (event.type === "needMap") this.needMap(event.epoch);
    else if (event.type === "log") this.log(event.level, event.text);
    else if (event.type === "export") this.options.onExport?.(event.handle, event.state);
  }

  private needMap(epoch: number): void {
    const have = this.cache.newest()?.epoch ?? 0;
    const nowMs = this.clock.nowMs();
    if (epoch <= have || nowMs - this.lastAskMs < askMapEveryMs) return;
    this.subscribe();
  }

  private subscribe(): void {
    this.lastAskMs = this.clock.nowMs();
    this.session.send(this.cache.subscription());
  }

  private takeMaps(maps: Maps): void {
    const update = this.cache.take(maps);
    if (update.kind === "refetch") {
      this.refusedMaps.add("corrupt");
      this.log("warn", `cluster map fetched anew: ${update.reason}`);
      this.subscribe();
    } else if (update.kind === "newer") {
      this.useMap(update.map);
    }
  }

  /** A map that nothing can be placed by is refused: operations go by the one before. */
  private useMap(map: OsdMap): void {
    let error: StorageError | undefined;
    try {
      this.io.setMap(this.builder.build(map));
    } catch (thrown) {
      error = toStorageError(thrown);
      this.refusedMaps.add(error.code);
      this.log("error", `map ${map.epoch} refused: ${error.code}: ${error.message}`);
    }
    for (const wake of this.mapWaiters.splice(0)) wake(error);
    for (const listener of [...this.mapListeners]) listener();
  }

  private refused(error: StorageError): void {
    this.log("warn", `the monitor refused this client: ${error.message}`);
    this.cache.forget();
  }

  private untilMap(): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = this.clock.setTimer(firstMapTimeoutMs, () => {
        reject(new StorageError("timed_out", "the monitor sent no cluster map"));
      });
      this.mapWaiters.push((error) => {
        cancel();
        if (error === undefined) resolve();
        else reject(error);
      });
    });
  }
}
