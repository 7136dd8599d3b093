// The image layer over a FakePool, with a clock and random numbers of the test's own.
import { StorageError } from "../../common/errors.js";
import { epoch } from "../../common/units.js";
import { noHash, type OsdMap, type PoolInfo, sealed } from "../../proto/osd-map.js";
import { Images } from "../image/images.js";
import type { ImageCluster, ImagePorts } from "../image/scope.js";
import { FakeIo, type Fate } from "./fake-io.js";
import { FakePool } from "./fake-pool.js";

const gibibyte = 2 ** 30;

const pool: PoolInfo = {
  id: 1,
  name: "rbd",
  pgNum: 8,
  size: 3,
  minSize: 2,
  crushRule: 0,
  createdEpoch: epoch(1),
  application: "rbd",
};

const fast: PoolInfo = { ...pool, id: 2, name: "fast" };

/** A map with three OSDs of 10 GiB and the pool rbd: 10 GiB of capacity. */
export function testMap(): OsdMap {
  const osds = [0, 1, 2].map((id) => ({
    id,
    uuid: "00000000-0000-4000-8000-000000000000",
    up: true,
    in: true,
    weight: 0x10000,
    address: { host: "127.0.0.1", port: 6800 + id },
    incarnation: String(id + 1),
    upFrom: epoch(1),
    upThru: epoch(1),
    downAt: epoch(0),
    sizeBytes: 10 * gibibyte,
    deviceClass: "ssd",
    host: "vm",
  }));
  return sealed({
    epoch: epoch(1),
    clusterId: "00000000-0000-4000-8000-000000000001",
    previousHash: noHash,
    createdAt: 0,
    modifiedAt: 0,
    flags: [],
    crush: "",
    maxOsd: 3,
    osds,
    pools: [pool],
    nextPoolId: 2,
    pgTemp: {},
    config: {},
  });
}

/** The same with other pools. */
function mapOf(pools: PoolInfo[], config: OsdMap["config"]): OsdMap {
  const { hash: _, ...map } = testMap();
  return sealed({ ...map, config, pools, nextPoolId: 3 });
}

export interface FakeClient {
  io: FakeIo;
  images: Images<FakeIo>;
  /** the images of another pool, by the same client */
  inPool(name: string): Images<FakeIo>;
}

function poolNamed(name: string): PoolInfo {
  const found = [pool, fast].find((candidate) => candidate.name === name);
  if (found === undefined) throw new StorageError("not_found", `there is no pool "${name}"`);
  return found;
}

export class FakeCluster {
  readonly pool = new FakePool();
  wallMs = 1_000_000;
  /** of the cluster map: rbd, and fast until it is taken away */
  pools = [pool, fast];
  readonly config: Record<string, string> = {};
  /** of each pool */
  storableBytes = 10 * gibibyte;
  private readonly mapListeners = new Set<() => void>();
  private nextId = 1n;
  private nextClient = 1n;
  /** timers of the clients, by when they are due */
  private readonly timers = new Map<symbol, { atMs: number; run: () => void }>();

  /** A new client of the pool, or of a namespace of it. */
  client(fate?: Fate, namespace = ""): FakeClient {
    const clientId = this.nextClient++;
    const io = new FakeIo(this.pool, fate, clientId);
    const cluster: ImageCluster<FakeIo> = {
      io,
      clientId,
      hostName: "host1",
      httpCacheBytes: 1 << 20,
      description: `host1 pid ${clientId}`,
      onEvent: (listener) => {
        io.listeners.add(listener);
        return () => io.listeners.delete(listener);
      },
      snapshotIds: {
        allocate: () => io.allocateSnapshot(),
        remove: (_pool, ids) => io.removeSnapshots(ids),
      },
      map: () => mapOf(this.pools, this.config),
      onMap: (listener) => {
        this.mapListeners.add(listener);
        return () => this.mapListeners.delete(listener);
      },
      pool: poolNamed,
      storableBytes: async () => this.storableBytes,
    };
    const ports: ImagePorts = {
      clock: {
        nowMs: () => this.wallMs,
        wallMs: () => this.wallMs,
        setTimer: (delayMs, run) => {
          const key = Symbol();
          this.timers.set(key, { atMs: this.wallMs + delayMs, run });
          return () => this.timers.delete(key);
        },
      },
      random: { uint64: () => this.nextId++, below: () => 0, uuid: () => "" },
    };
    const images = new Images(cluster, "rbd", ports, namespace);
    const others = (name: string) => new Images(cluster, name, ports);
    return { io, images, inPool: others };
  }

  /** All clients get a map with that. */
  setConfig(key: string, value: string): void {
    this.config[key] = value;
    for (const listener of this.mapListeners) listener();
  }

  /** Lets time pass, timer by timer, with all that follows from each. */
  async pass(timeMs: number): Promise<void> {
    const until = this.wallMs + timeMs;
    await settle();
    for (;;) {
      const due = [...this.timers].filter(([, { atMs }]) => atMs <= until);
      const [next] = due.sort(([, a], [, b]) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.timers.delete(next[0]);
      this.wallMs = Math.max(this.wallMs, next[1].atMs);
      next[1].run();
      await settle();
    }
    this.wallMs = until;
  }
}

/** Lets everything run that waits for no timer. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; ++i) await new Promise((resolve) => setImmediate(resolve));
}
