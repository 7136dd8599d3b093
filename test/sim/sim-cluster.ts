// A whole cluster in one process and in virtual time: a monitor, OSDs and clients, all of them the
// real parts but for disk, network and clock. The composition root of the simulation.
import { defined } from "../../common/assert.js";
import type { Random } from "../../common/ports.js";
import type { PgId } from "../../common/units.js";
import { Cluster } from "../../monitor/cluster.js";
import { type CommandContext, callCommand } from "../../monitor/commands.js";
import { firstMap } from "../../monitor/mkfs.js";
import { nativeCrush } from "../../monitor/native-crush.js";
import { ControlServer } from "../../monitor/server.js";
import { pgRows } from "../../monitor/services/pg-stats.js";
import { MemoryMapStore } from "../../monitor/testing/memory-map-store.js";
import { type NativeSimWorld, native } from "../../native/index.js";
import type { PgStateName } from "../../osd/peering/state.js";
import type { CommandArgs, CommandResult, PgRow } from "../../proto/commands.js";
import type { ControlStream } from "../../proto/control-stream.js";
import type { OsdMap } from "../../proto/osd-map.js";
import { ControlNetwork } from "./control-network.js";
import type { Coverage } from "./coverage.js";
import type { SeededRandom } from "./random.js";
import { SimClient } from "./sim-client.js";
import { type MonitorEnd, SimOsd } from "./sim-osd.js";
import type { Trace } from "./trace.js";
import { ProcessClock, VirtualTime } from "./virtual-time.js";

/** In parts in a million. */
export interface ClockDrifts {
  osds: readonly number[];
  monitor: number;
  clients: readonly number[];
}

export interface SimClusterOptions {
  osds: number;
  clients: number;
  pgNum: number;
  size: number;
  minSize: number;
  /** of each PG: few, and OSDs are backfilled often */
  logEntriesKept: number;
  /** of their clocks, against that of the world */
  driftsPpm: ClockDrifts;
}

const monitorOptions = {
  downOutIntervalMs: 600_000,
  statsStaleMs: 30_000,
  nearfullRatio: 0.85,
  fullRatio: 0.95,
};
const startLimitMs = 60_000;

export class SimCluster {
  readonly osds: SimOsd[];
  readonly clients: SimClient[];
  readonly control: ControlNetwork;
  readonly monitorHost = "mon";
  /** told of every PG that changes its state, on any OSD */
  onPeering: ((to: PgStateName) => void) | undefined;
  /** told of a client that is to read closely, just before it is cut off with an OSD */
  onSilence: ((client: number) => void) | undefined;
  private store: MemoryMapStore;
  private readonly monitorEnd: MonitorEnd;
  private cluster: Cluster | undefined;
  private server: ControlServer | undefined;

  private constructor(
    readonly options: SimClusterOptions,
    readonly world: NativeSimWorld,
    readonly time: VirtualTime,
    readonly trace: Trace,
    private readonly random: SeededRandom,
    coverage: Coverage,
  ) {
    this.control = new ControlNetwork(time, random.fork());
    const { driftsPpm } = options;
    const clock = new ProcessClock(time, driftsPpm.monitor);
    const map = firstMap({ dataDir: "" }, { crush: nativeCrush, clock, random });
    this.store = new MemoryMapStore(map);
    this.monitorEnd = {
      host: this.monitorHost,
      clock,
      accept: (stream: ControlStream) => this.server?.accept(stream),
    };
    const shared = { world, time, control: this.control, monitor: this.monitorEnd };
    const { clusterId } = map;
    this.osds = Array.from(
      { length: options.osds },
      (_, id) =>
        new SimOsd(id, {
          ...shared,
          random: random.fork(),
          trace,
          clusterId,
          clockDriftPpm: defined(driftsPpm.osds[id], `the drift of osd.${id}`),
          onPgStep: (from, event, to) => {
            coverage.pgStep(from, event, to);
            if (from !== to) this.onPeering?.(to);
          },
        }),
    );
    this.clients = Array.from({ length: options.clients }, (_, index) => {
      const clockDriftPpm = defined(driftsPpm.clients[index], `the drift of client ${index}`);
      const clock = new ProcessClock(time, clockDriftPpm);
      const parts = { ...shared, clock, clockDriftPpm, random: random.fork(), clusterId };
      return new SimClient(`client${index}`, parts, BigInt(index + 1));
    });
  }

  /** A cluster whose OSDs are up, with one pool whose PGs are clean. */
  static async start(
    options: SimClusterOptions,
    random: SeededRandom,
    makeTrace: (nowNs: () => number) => Trace,
    coverage: Coverage,
  ): Promise<SimCluster> {
    const world = new native.SimWorld({
      seed: random.uint64(),
      logEntriesKept: options.logEntriesKept,
    });
    const time = new VirtualTime(world);
    const trace = makeTrace(() => world.nowNs());
    const sim = new SimCluster(options, world, time, trace, random, coverage);
    await sim.begin();
    return sim;
  }

  private async begin(): Promise<void> {
    const { time, options } = this;
    await this.startMonitor();
    for (const osd of this.osds) osd.start();
    const allUp = () => this.map().osds.filter(({ up }) => up).length === options.osds;
    if (!(await time.run(startLimitMs, allUp))) throw new Error("not all OSDs have come up");
    const { pgNum, size, minSize } = options;
    await this.command("pool create", { name: "sim", pgNum, size, minSize });
    for (const client of this.clients) {
      await time.complete(client.connect(), startLimitMs, "connect a client");
    }
    if (!(await this.untilClean(startLimitMs))) throw new Error("the new pool is not clean");
  }

  map() {
    return defined(this.cluster, "a monitor").map();
  }

  nowMs(): number {
    return this.time.nowNs() / 1e6;
  }

  /** Id of the pool. */
  pool(): number {
    return defined(this.map().pools[0], "a pool").id;
  }

  /** A command of the monitor, as of an operator. */
  command<V extends Parameters<typeof callCommand>[1]>(
    verb: V,
    args: Parameters<typeof callCommand<V>>[2],
  ): Promise<unknown> {
    const cluster = defined(this.cluster, "a monitor");
    const context: CommandContext = { cluster, sessions: () => 0, startedMs: 0 };
    return this.time.complete(callCommand(context, verb, args), 10_000, verb);
  }

  /** As command(), for who runs in virtual time; undefined: the monitor has ended before. */
  async ask<V extends Parameters<typeof callCommand>[1]>(
    verb: V,
    args: CommandArgs<V>,
  ): Promise<CommandResult<V> | undefined> {
    const cluster = defined(this.cluster, "a monitor");
    const context: CommandContext = { cluster, sessions: () => 0, startedMs: 0 };
    const result = await callCommand(context, verb, args);
    return cluster === this.cluster ? result : undefined;
  }

  /**
   * The monitor's process ends and another one begins on the same store.
   * @param from in place of that, a store with this map
   */
  async restartMonitor(from?: OsdMap): Promise<void> {
    const { clock } = this.monitorEnd;
    this.store = from === undefined ? this.store.handOver() : new MemoryMapStore(from);
    clock.kill();
    this.control.endAll(clock);
    await this.startMonitor();
  }

  private async startMonitor(): Promise<void> {
    const clock = new ProcessClock(this.time, this.options.driftsPpm.monitor);
    const log = this.trace.logger("mon");
    const ports = { store: this.store, crush: nativeCrush, clock, log };
    this.monitorEnd.clock = clock;
    this.cluster = await Cluster.open(ports, monitorOptions);
    const listen = { host: this.monitorHost, port: 1 };
    const incarnation = (this.random as Random).uint64();
    this.server = new ControlServer(this.cluster, log, { listen, incarnation, clock }, 0);
  }

  /** Where the PGs are, and in what state, by the monitor. */
  pgs(): PgRow[] {
    const cluster = defined(this.cluster, "a monitor");
    return pgRows(cluster.stats, cluster.map(), cluster.placements());
  }

  /** True when the monitor shows all OSDs up and every PG clean, both as of now. */
  isClean(): boolean {
    const { epoch, osds } = this.map();
    const areUp = this.osds.every(({ id, incarnation }) => {
      const shown = osds.find((osd) => osd.id === id);
      return shown?.up === true && shown.in && shown.incarnation === String(incarnation);
    });
    return areUp && this.pgs().every((pg) => pg.state === "active+clean" && pg.epoch === epoch);
  }

  async untilClean(limitMs: number): Promise<boolean> {
    const untilMs = this.nowMs() + limitMs;
    // Looked at now and then: with clients at work there are many events in between.
    while (!this.isClean()) {
      if (this.nowMs() >= untilMs) return false;
      await this.time.run(20);
    }
    return true;
  }

  osd(id: number): SimOsd {
    return defined(this.osds[id], `osd.${id}`);
  }

  /** The copies of a PG by the newest map. */
  acting(pgid: PgId): readonly number[] {
    return this.pgs().find((pg) => pg.pgid === pgid)?.acting ?? [];
  }

  destroy(): void {
    for (const client of this.clients) client.io.close();
    this.world.destroy();
  }
}
