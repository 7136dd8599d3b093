// One OSD daemon of a simulated cluster: the real Incarnation, on a simulated machine. It can be
// killed, lose its power, be stopped, and be started again on what its disk then holds.

import { type StorageError, toStorageError } from "../../common/errors.js";
import type { DaemonLog } from "../../common/log.js";
import { type NativeOsd, type NativeSimWorld, native } from "../../native/index.js";
import { Incarnation, type IncarnationOptions } from "../../osd/incarnation.js";
import { clusterBytes } from "../../proto/control-channel.js";
import type { ControlStream } from "../../proto/control-stream.js";
import type { ControlNetwork } from "./control-network.js";
import type { SeededRandom } from "./random.js";
import type { Trace } from "./trace.js";
import { ProcessClock, type VirtualTime } from "./virtual-time.js";

/** Where control connections go. */
export interface MonitorEnd {
  host: string;
  clock: ProcessClock;
  accept(stream: ControlStream): void;
}

export interface SimOsdParts {
  world: NativeSimWorld;
  time: VirtualTime;
  control: ControlNetwork;
  monitor: MonitorEnd;
  random: SeededRandom;
  trace: Trace;
  clusterId: string;
  /** of its clock, against the world's */
  clockDriftPpm: number;
  onPgStep: NonNullable<IncarnationOptions["onPgStep"]>;
}

/** A process of the OSD, until it dies. */
interface Process {
  clock: ProcessClock;
  life: Incarnation | undefined;
  core: NativeOsd | undefined;
}

export class SimOsd {
  readonly host: string;
  private readonly storeId: string;
  private process: Process | undefined;
  private frozen = false;
  /** of its present life */
  incarnation = 0n;
  /** the OSD has ended by itself, as one whose disk fails does */
  failed: StorageError | undefined;
  /** one that ends because of its disk begins anew: on a good one, with what the old one held */
  restartsAfter: (code: string) => boolean = () => false;

  constructor(
    readonly id: number,
    private readonly parts: SimOsdParts,
  ) {
    this.host = `osd${id}`;
    this.storeId = parts.random.uuid();
    const { world, clusterId, clockDriftPpm } = parts;
    world.formatOsd({
      osd: id,
      clockDriftPpm,
      clusterId: clusterBytes(clusterId),
      storeId: clusterBytes(this.storeId),
    });
  }

  isRunning(): boolean {
    return this.process !== undefined;
  }

  isFrozen(): boolean {
    return this.frozen;
  }

  /** The native core of the present life; undefined while there is none. */
  core(): NativeOsd | undefined {
    return this.process?.core;
  }

  start(): void {
    if (this.process !== undefined) return;
    this.failed = undefined;
    const clock = new ProcessClock(this.parts.time, this.parts.clockDriftPpm);
    this.process = { clock, life: undefined, core: undefined };
    this.begin(this.process);
  }

  /** The process dies. @param losesUnflushed with the power of its disk */
  kill(losesUnflushed: boolean): void {
    const { process } = this;
    if (process === undefined) return;
    this.process = undefined;
    this.frozen = false;
    process.clock.kill();
    this.parts.world.crash(this.id, losesUnflushed);
    this.parts.control.endAll(process.clock);
  }

  freeze(): void {
    if (this.process === undefined || this.frozen) return;
    this.frozen = true;
    this.process.clock.stop();
    this.parts.world.freeze(this.id);
  }

  thaw(): void {
    if (!this.frozen) return;
    this.frozen = false;
    this.parts.world.thaw(this.id);
    this.process?.clock.resume();
  }

  private begin(process: Process, previousIncarnation?: bigint): void {
    const { parts, id, host } = this;
    const { clock } = process;
    this.incarnation = parts.random.uint64();
    const life = new Incarnation({
      config: {
        id,
        dataDir: `/nowhere/${host}`,
        monitor: { host: parts.monitor.host, port: 1 },
        listen: { host, port: 0 },
        log: { file: "-", level: "debug" },
        host,
        deviceClass: "ssd",
      },
      identity: { osd: id, clusterId: parts.clusterId, storeId: this.storeId },
      incarnation: this.incarnation,
      previousIncarnation,
      daemonLog: traceLog(parts.trace, `osd.${id}`),
      clock,
      createCore: (options) => {
        process.core = new native.Osd({ ...options, world: parts.world });
        return process.core;
      },
      dialMonitor: () => parts.control.dial({ host, clock }, parts.monitor),
      onPgStep: parts.onPgStep,
      onEnd: (error) => void this.end(process, life, error),
    });
    process.life = life;
    life.start().catch((thrown: unknown) => this.fail(process, toStorageError(thrown)));
  }

  /** A life has ended: another one begins, unless it ended for good (as osd/main.ts does). */
  private async end(process: Process, life: Incarnation, error?: StorageError): Promise<void> {
    await life.stop(false).catch(() => undefined);
    if (process !== this.process || process.life !== life) return;
    if (error === undefined) this.begin(process, this.incarnation);
    else this.fail(process, error);
  }

  private fail(process: Process, error: StorageError): void {
    if (process !== this.process) return;
    this.parts.trace.add(`osd.${this.id} has failed: ${error.code}`);
    this.failed = error;
    this.kill(false);
    if (this.restartsAfter(error.code)) this.start();
  }
}

function traceLog(trace: Trace, daemon: string): DaemonLog {
  return {
    log: trace.logger(daemon),
    setLevel: () => undefined,
    level: () => "debug",
    reopen: () => undefined,
    close: () => undefined,
  };
}
