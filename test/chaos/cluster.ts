// The cluster under test: one monitor and four OSDs, each on a host of its own; made new in a
// folder, healed, looked at, stopped.
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { MonitorSession } from "../../client/index.js";
import type { Address } from "../../common/config.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { mkfsOsd } from "../../osd/index.js";
import type { ClusterStatus } from "../../proto/commands.js";
import { compareStores, type StoresComparison } from "../integration/offline-stores.js";
import type { ColdData } from "./bit-rot.js";
import { cairn, Daemon } from "./daemons.js";
import { makeBridge, makeHost } from "./network.js";

export const osdCount = 4;
const osdPort = 6800;
const monitorPort = 6789;
const poolName = "rbd";
/** Three splits later there are 96 copies of PGs on each OSD. */
const firstPgNum = 16;
/** Small, so that checkpoints, writes in place and reads from the disk are common. */
const walBytes = 4 << 20;

export class Cluster {
  readonly osds: Daemon[] = [];
  /** what bits may flip in */
  coldData: ColdData | undefined;
  readonly monitor = { host: "10.77.0.1", port: monitorPort };
  readonly clusterId = systemRandom.uuid();
  private mon: Daemon | undefined;
  private session: MonitorSession | undefined;

  constructor(
    private readonly dir: string,
    private readonly faultDisk: boolean,
  ) {}

  /** Makes everything and waits until all PGs are clean. */
  async start(): Promise<void> {
    makeBridge();
    const { dir, clusterId } = this;
    const data = (name: string) => `${dir}/${name}`;
    const monitorHost = await makeHost("mon", 1);
    await cairn("monitor", "mkfs", "--data", data("mon"), "--cluster-id", clusterId);
    const listen = ["--listen", `${this.monitor.host}:${monitorPort}`];
    const http = ["--http", `${this.monitor.host}:9283`];
    this.mon = new Daemon({
      name: "mon",
      host: monitorHost,
      dir,
      args: ["monitor", "--data", data("mon"), ...listen, ...http],
      faultDisk: false,
    });
    this.mon.start();
    for (let id = 0; id < osdCount; ++id) await this.makeOsd(id);
    this.session = await this.connect(30_000);
    await this.poll("OSDs to come up", 60_000, ({ osds }) => osds.up === osdCount);
    await this.makePool(poolName, firstPgNum);
  }

  /** Of three copies. Waits until its PGs are clean. */
  async makePool(name: string, pgNum: number): Promise<void> {
    await this.command().command("pool create", { name, pgNum, size: 3, minSize: 2 });
    await this.untilClean(60_000);
  }

  private async makeOsd(id: number): Promise<void> {
    const host = await makeHost(`osd.${id}`, 10 + id);
    const folder = `${this.dir}/osd.${id}`;
    const { clusterId } = this;
    await mkfsOsd({ id, dataDir: folder, clusterId, sizeBytes: 2 ** 30, walBytes });
    const address = `${this.monitor.host}:${monitorPort}`;
    const args = ["osd", "--id", `${id}`, "--data", folder, "--monitor", address];
    const place = ["--listen", `${host.address}:${osdPort}`, "--host", `host${id}`];
    const daemon = new Daemon({
      name: `osd.${id}`,
      host,
      dir: this.dir,
      args: [...args, ...place],
      faultDisk: this.faultDisk,
    });
    daemon.start();
    this.osds.push(daemon);
  }

  /** A monitor that has just been started does not listen yet. */
  private async connect(limitMs: number): Promise<MonitorSession> {
    for (const endMs = performance.now() + limitMs; ; await sleep(100)) {
      try {
        return await MonitorSession.connect({
          monitor: this.monitor,
          clusterId: this.clusterId,
          clientId: systemRandom.uint64(),
          clock: systemClock,
          random: systemRandom,
        });
      } catch (thrown) {
        if (performance.now() > endMs) throw thrown;
      }
    }
  }

  osd(id: number): Daemon {
    const daemon = this.osds[id];
    if (daemon === undefined) throw new Error(`there is no osd.${id}`);
    return daemon;
  }

  /** Where the OSD listens. */
  addressOf(id: number): Address {
    return { host: this.osd(id).host.address, port: osdPort };
  }

  monitorDaemon(): Daemon {
    if (this.mon === undefined) throw new Error("the cluster has not been started");
    return this.mon;
  }

  /** A line in faults.log, which lies beside the daemons' logs. */
  note(text: string): void {
    appendFileSync(`${this.dir}/faults.log`, `${new Date().toISOString()} ${text}\n`);
  }

  daemons(): Daemon[] {
    return this.mon === undefined ? [...this.osds] : [this.mon, ...this.osds];
  }

  command(): MonitorSession {
    if (this.session === undefined) throw new Error("the cluster has not been started");
    return this.session;
  }

  /** @returns after how many milliseconds; undefined: not within the limit */
  untilClean(limitMs: number): Promise<number | undefined> {
    return this.poll("PGs to be clean", limitMs, ({ osds, pgs, splits }) => {
      const isClean = pgs.total > 0 && pgs.byState["active+clean"] === pgs.total;
      return osds.up === osdCount && isClean && splits === undefined;
    });
  }

  /** As the map says. */
  async pgNum(): Promise<number> {
    const { pools } = await this.command().command("pool ls", {});
    const pool = pools.find(({ name }) => name === poolName);
    if (pool === undefined) throw new Error(`there is no pool ${poolName}`);
    return pool.pgNum;
  }

  async setPgNum(pgNum: number): Promise<void> {
    const value = String(pgNum);
    await this.command().command("pool set", { name: poolName, setting: "pg_num", value });
  }

  status(): Promise<ClusterStatus> {
    return this.command().command("status", {});
  }

  private async poll(
    what: string,
    limitMs: number,
    isReached: (status: ClusterStatus) => boolean,
  ): Promise<number | undefined> {
    const startMs = performance.now();
    while (performance.now() - startMs < limitMs) {
      const status = await this.status().catch(() => undefined);
      if (status !== undefined && isReached(status)) return performance.now() - startMs;
      await sleep(100);
    }
    process.stdout.write(`waited ${limitMs / 1000} s for ${what}\n`);
    return undefined;
  }

  /** Stops all daemons and compares the copies that each PG's acting set holds, byte by byte. */
  async compareCopies(): Promise<StoresComparison> {
    const { pgs } = await this.command().command("pg ls", {});
    await this.stop();
    return compareStores(this.dir, this.clusterId, pgs);
  }

  async stop(): Promise<void> {
    this.session?.close();
    await Promise.all(this.osds.map((daemon) => daemon.end("SIGTERM")));
    await this.mon?.end("SIGTERM");
  }
}
