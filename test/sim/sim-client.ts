// One client of a simulated cluster: the real monitor session, map cache and placement, and the
// native objecter in the simulated world.
import { MapCache } from "../../client/cluster/map-cache.js";
import { MonitorSession } from "../../client/cluster/monitor-session.js";
import { NativeMapBuilder } from "../../client/cluster/native-map.js";
import { type NativeSimClient, type NativeSimWorld, native } from "../../native/index.js";
import { clusterBytes } from "../../proto/control-channel.js";
import type { Maps } from "../../proto/messages.js";
import type { ControlNetwork } from "./control-network.js";
import type { SeededRandom } from "./random.js";
import type { MonitorEnd } from "./sim-osd.js";
import type { ProcessClock } from "./virtual-time.js";

/** As ClusterClient does: while the objecter asks for a map, the monitor is asked this often. */
const askMapEveryMs = 500;

export interface SimClientParts {
  world: NativeSimWorld;
  control: ControlNetwork;
  monitor: MonitorEnd;
  clock: ProcessClock;
  /** of both its clocks, against the world's */
  clockDriftPpm: number;
  random: SeededRandom;
  clusterId: string;
}

export class SimClient {
  readonly io: NativeSimClient;
  private readonly cache = new MapCache();
  private readonly builder = new NativeMapBuilder({ mapPgs: native.crushMapPgs });
  private session: MonitorSession | undefined;
  private lastAskMs = Number.NEGATIVE_INFINITY;

  constructor(
    readonly host: string,
    private readonly parts: SimClientParts,
    private readonly clientId: bigint,
  ) {
    this.io = new native.SimClient({
      world: parts.world,
      host,
      clusterId: clusterBytes(parts.clusterId),
      clientId,
      clockDriftPpm: parts.clockDriftPpm,
      onNeedMap: (epoch) => this.needMap(epoch),
    });
  }

  async connect(): Promise<void> {
    const { control, monitor, clock, random, clusterId } = this.parts;
    this.session = await MonitorSession.connect(
      {
        monitor: { host: monitor.host, port: 1 },
        clusterId,
        clientId: this.clientId,
        clock,
        random,
        dial: () => control.dial({ host: this.host, clock }, monitor),
      },
      { onMaps: (maps) => this.takeMaps(maps), onConnected: () => this.subscribe() },
    );
    this.subscribe();
  }

  hasMap(): boolean {
    return this.cache.newest() !== undefined;
  }

  private needMap(epoch: number): void {
    const have = this.cache.newest()?.epoch ?? 0;
    if (epoch <= have || this.parts.clock.nowMs() - this.lastAskMs < askMapEveryMs) return;
    this.subscribe();
  }

  private subscribe(): void {
    this.lastAskMs = this.parts.clock.nowMs();
    this.session?.send(this.cache.subscription());
  }

  private takeMaps(maps: Maps): void {
    const update = this.cache.take(maps);
    if (update.kind === "refetch") this.subscribe();
    else if (update.kind === "newer") this.io.setMap(this.builder.build(update.map));
  }
}
