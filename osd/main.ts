// The composition root of the OSD daemon: binds the ports to the host, and begins a new life of the
// OSD whenever one has to end while the daemon goes on.
import { chmod } from "node:fs/promises";
import type { Address, OsdConfig } from "../common/config.js";
import { StorageError, toStorageError } from "../common/errors.js";
import { openLog } from "../common/log.js";
import { type Clock, type Random, systemClock, systemRandom } from "../common/ports.js";
import { native } from "../native/index.js";
import { FaultControl } from "./fault-control.js";
import { readIdentity } from "./identity.js";
import { Incarnation } from "./incarnation.js";
import { dialTcp } from "./monitor-session.js";
import { tellStartRefused } from "./start-refusal.js";

export { identityFile, storePath } from "./identity.js";
export { type MkfsOsdOptions, mkfsOsd } from "./mkfs.js";
export { type OfflineOsd, readOfflineOsd } from "./offline.js";

/** What tests may replace. */
export interface OsdPorts {
  clock: Clock;
  random: Random;
}

export interface OsdHandle {
  id: number;
  /** of the native listener; a new one after the OSD has begun anew with port 0 */
  address(): Address;
  /** Stops: the monitor shows the OSD down first. The same promise when called again. */
  close(): Promise<void>;
  /** Settles when the OSD has ended; rejects when it ended by itself: its store failed, or the
   * monitor refuses it. */
  ended: Promise<void>;
}

/**
 * Starts an OSD on an existing store.
 * @throws not_found, wrong_daemon, wrong_cluster, corrupt, busy (its store); address_in_use
 */
export async function runOsd(config: OsdConfig, ports: Partial<OsdPorts> = {}): Promise<OsdHandle> {
  const daemon = new OsdDaemon(config, { clock: systemClock, random: systemRandom, ...ports });
  await daemon.start();
  return {
    id: config.id,
    address: () => daemon.address(),
    close: () => daemon.close(),
    ended: daemon.ended,
  };
}

class OsdDaemon {
  readonly ended: Promise<void>;
  private settle: { resolve(): void; reject(error: StorageError): void } | undefined;
  private readonly daemonLog;
  private life: Incarnation | undefined;
  private port = 0;
  private closing: Promise<void> | undefined;
  private faultControl: FaultControl | undefined;
  /** lives begin and end one after the other */
  private turn: Promise<void> = Promise.resolve();

  constructor(
    private readonly config: OsdConfig,
    private readonly ports: OsdPorts,
  ) {
    this.daemonLog = openLog(config.log, `osd.${config.id}`);
    this.ended = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    this.ended.catch(() => undefined);
  }

  address(): Address {
    return { host: this.config.listen.host, port: this.port };
  }

  async start(): Promise<void> {
    try {
      await this.openFaultControl();
      await this.begin();
      await chmod(this.config.dataDir, 0o700);
    } catch (thrown) {
      const error = toStorageError(thrown);
      this.daemonLog.log.fatal({ code: error.code, reason: error.message }, "cannot start");
      await this.life?.stop(false);
      await this.tellStartRefused(error);
      this.faultControl?.close();
      this.daemonLog.close();
      throw error;
    }
  }

  close(): Promise<void> {
    this.closing ??= this.turn.then(() => this.finish(undefined));
    return this.closing;
  }

  private async openFaultControl(): Promise<void> {
    const { faultDisk } = this.config;
    if (faultDisk === undefined) return;
    this.daemonLog.log.warn({ socket: faultDisk }, "TEST: the disk loses data when told to");
    this.faultControl = await FaultControl.listen(faultDisk, (faults) => {
      const { life } = this;
      if (life !== undefined) return life.setDiskFaults(faults);
      throw new StorageError("not_active", "the store is not open");
    });
  }

  private async begin(previousIncarnation?: bigint): Promise<void> {
    const identity = await readIdentity(this.config);
    const life = new Incarnation({
      config: this.config,
      identity,
      incarnation: this.ports.random.uint64(),
      previousIncarnation,
      daemonLog: this.daemonLog,
      ...(this.faultControl === undefined ? {} : { diskFaults: this.faultControl.faults }),
      clock: this.ports.clock,
      createCore: (options) => new native.Osd(options),
      dialMonitor: dialTcp,
      onEnd: (error) => {
        this.turn = this.turn.then(() => this.next(life, error));
      },
    });
    this.port = await life.start();
    this.life = life;
  }

  /** A life has ended: another one begins, unless it ended for good. */
  private async next(life: Incarnation, error: StorageError | undefined): Promise<void> {
    if (life !== this.life || this.closing !== undefined) return;
    if (error !== undefined) {
      this.closing = this.finish(error);
      return this.closing;
    }
    this.life = undefined;
    try {
      await life.stop(false);
      await this.begin(life.incarnation());
    } catch (thrown) {
      const error = toStorageError(thrown);
      this.closing = this.tellStartRefused(error).then(() => this.finish(error));
      await this.closing;
    }
  }

  private async tellStartRefused(error: StorageError): Promise<void> {
    const { clock, random } = this.ports;
    const ports = { incarnation: random.uint64(), clock, dial: dialTcp };
    const isHeard = await tellStartRefused(this.config, error, ports);
    if (!isHeard) this.daemonLog.log.warn("the monitor was not told of it");
  }

  private async finish(error: StorageError | undefined): Promise<void> {
    const { log } = this.daemonLog;
    log.info("OSD is stopping");
    try {
      await this.life?.stop(error === undefined);
      if (error === undefined) this.settle?.resolve();
    } catch (thrown) {
      error ??= toStorageError(thrown, "close the store");
    }
    if (error !== undefined) {
      log.fatal({ code: error.code, reason: error.message }, "OSD has ended");
      this.settle?.reject(error);
    }
    this.faultControl?.close();
    this.daemonLog.close();
  }
}
