// `cairn up`: makes a cluster in a folder when there is none, starts what of it is not running, and
// waits until it is healthy.
//
// Invariants: one `up` or `down` of a folder at a time; a call that fails or is stopped stops the
// daemons that it has started, and takes away a cluster that it was the first to make. A folder
// whose first start was cut off (state "creating") is cleared and made anew.
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MonitorSession } from "../../client/cluster/monitor-session.js";
import type { Address } from "../../common/config.js";
import { StorageError, toStorageError } from "../../common/errors.js";
import { removeMadeFolders } from "../../common/make-folders.js";
import { exactSize } from "../../common/units.js";
import type { ClusterStatus, OsdRow } from "../../proto/commands.js";
import {
  type ClusterFile,
  ClusterPaths,
  type DaemonName,
  prepareFolder,
  readClusterFile,
  writeClusterFile,
} from "./cluster-dir.js";
import {
  daemonFailure,
  killStarted,
  lastTrouble,
  runningDaemon,
  type StartedDaemon,
  startDaemon,
  stopDaemons,
} from "./daemons.js";
import { lockFolder } from "./dir-lock.js";
import { isHealthy } from "./healthy.js";

export interface UpOptions {
  dir: string;
  /** of a new cluster: 3 when it is left out; one that is there has to have so many */
  osdCount: number | undefined;
  /** of each OSD's store, a sparse file, in bytes: 20 GiB when it is left out; likewise */
  osdBytes: number | undefined;
  /** of all waiting */
  timeoutMs: number;
  /** takes everything back */
  signal: AbortSignal;
  say(text: string): void;
}

export interface UpReport {
  dir: string;
  created: boolean;
  started: DaemonName[];
  file: ClusterFile;
  status: ClusterStatus;
}

/** Connects a session; a port for the tests. */
export type Connect = (monitor: Address, clusterId: string) => Promise<MonitorSession>;

const pollMs = 50;
const sayEveryMs = 1000;
const pidFileMs = 2000;
const loopback: Address = { host: "127.0.0.1", port: 0 };
const poolName = "rbd";
const poolPgs = 32;
const defaultOsds = { count: 3, sizeBytes: 20 * 2 ** 30 };

/** @throws busy, already_exists, timed_out, canceled, what a daemon says when it does not start */
export async function up(options: UpOptions, connect: Connect): Promise<UpReport> {
  const paths = new ClusterPaths(options.dir);
  const madeFolder = prepareFolder(options.dir);
  const unlock = lockFolder(paths);
  const run = new Run(paths, options, connect);
  try {
    return await run.run();
  } catch (thrown) {
    await run.undo();
    throw toStorageError(thrown);
  } finally {
    // Before the lock is let go, which is in it: nobody else has begun there.
    if (madeFolder !== undefined && readClusterFile(options.dir) === undefined) {
      removeMadeFolders(options.dir, madeFolder);
    }
    unlock();
  }
}

class Run {
  private readonly started: StartedDaemon[] = [];
  private created = false;
  private readonly deadlineMs: number;

  constructor(
    private readonly paths: ClusterPaths,
    private readonly options: UpOptions,
    private readonly connect: Connect,
  ) {
    this.deadlineMs = performance.now() + options.timeoutMs;
  }

  async run(): Promise<UpReport> {
    const { dir, say } = this.options;
    let file = readClusterFile(dir);
    if (file?.state === "ready") {
      requireSame(this.options, file);
    } else {
      this.created = true;
      await this.clearUnfinished(file);
      file = await this.create();
    }
    for (const folder of [this.paths.logDir, this.paths.runDir]) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    }
    file = await this.startMonitor(file);
    const session = await this.connect(file.monitor, file.clusterId);
    try {
      const before = await incarnations(session);
      for (const { id } of file.osds) this.startIfDown(`osd.${id}`);
      if (this.started.length > 0) {
        say(`started ${this.started.map(({ name }) => name).join(", ")}`);
      }
      await this.waitForOsds(session, file, before);
      if (this.created) await this.createPool(session, file.osds.length);
      const status = await this.waitUntilHealthy(session);
      if (this.created) writeClusterFile(dir, { ...file, state: "ready" });
      return {
        dir,
        created: this.created,
        started: this.started.map(({ name }) => name),
        file,
        status,
      };
    } finally {
      session.close();
    }
  }

  /** After a failure: what this call has started stops, what it has made goes. */
  async undo(): Promise<void> {
    for (const daemon of this.started) {
      // A daemon writes its pid file itself; one that has just been started may not have it yet.
      if (!(await this.hasPidFile(daemon))) killStarted(daemon);
    }
    await stopDaemons(
      this.paths,
      this.started.map(({ name }) => name),
      5000,
    );
    if (this.created) this.removeContent();
  }

  /** Gives it some time to write it. */
  private async hasPidFile({ name, exit }: StartedDaemon): Promise<boolean> {
    const deadline = performance.now() + pidFileMs;
    while (exit() === undefined && performance.now() < deadline) {
      if (runningDaemon(this.paths, name) !== undefined) return true;
      await sleep(pollMs);
    }
    return false;
  }

  private removeContent(): void {
    for (const name of readdirSync(this.paths.dir)) {
      if (/^lock/.test(name)) continue;
      rmSync(path.join(this.paths.dir, name), { recursive: true, force: true });
    }
  }

  private async clearUnfinished(file: ClusterFile | undefined): Promise<void> {
    if (file === undefined) return;
    this.options.say("an earlier start was cut off: beginning anew");
    await stopDaemons(this.paths, daemonNames(file), 5000);
    this.removeContent();
  }

  private async create(): Promise<ClusterFile> {
    const { dir, say } = this.options;
    const { osdCount = defaultOsds.count, osdBytes = defaultOsds.sizeBytes } = this.options;
    const [{ mkfs }, { mkfsOsd }, { systemRandom }] = await Promise.all([
      import("../../monitor/index.js"),
      import("../../osd/index.js"),
      import("../../common/ports.js"),
    ]);
    const clusterId = systemRandom.uuid();
    const osds = Array.from({ length: osdCount }, (_, id) => ({ id, sizeBytes: osdBytes }));
    const file: ClusterFile = {
      kind: "cairn-cluster",
      version: 1,
      state: "creating",
      clusterId,
      monitor: loopback,
      http: loopback,
      osds,
    };
    writeClusterFile(dir, file);
    say(`making a cluster with ${osdCount} OSDs in ${dir}`);
    await mkfs({ dataDir: this.paths.dataDir("mon"), clusterId, failureDomain: "osd" });
    for (const { id, sizeBytes } of osds) {
      this.checkStopped();
      await mkfsOsd({ id, dataDir: this.paths.dataDir(`osd.${id}`), clusterId, sizeBytes });
    }
    return file;
  }

  private startIfDown(name: DaemonName): boolean {
    if (runningDaemon(this.paths, name) !== undefined) return false;
    this.started.push(startDaemon(this.paths, name));
    return true;
  }

  /** @returns the file with the addresses at which the monitor is reached */
  private async startMonitor(file: ClusterFile): Promise<ClusterFile> {
    const ours = runningDaemon(this.paths, "mon");
    if (ours !== undefined) return file;
    // A port that another program has taken since: OSDs that run know the monitor by it alone.
    const osdsRun = file.osds.some(({ id }) => runningDaemon(this.paths, `osd.${id}`));
    if (!osdsRun && file.monitor.port !== 0 && !(await allFree([file.monitor, file.http]))) {
      this.options.say("the monitor's ports are taken by another program: choosing others");
      writeClusterFile(this.options.dir, { ...file, monitor: loopback, http: loopback });
    }
    this.startIfDown("mon");
    const addresses = await this.monitorAddresses();
    const placed = { ...file, ...addresses };
    writeClusterFile(this.options.dir, placed);
    return placed;
  }

  /** Waits until the monitor that was started has said where it listens. */
  private async monitorAddresses(): Promise<Pick<ClusterFile, "monitor" | "http">> {
    const { addressFile } = await import("../../monitor/index.js");
    const file = addressFile(this.paths.dataDir("mon"));
    for (;;) {
      this.checkStarted();
      const announced = readAnnounced(file);
      const pid = runningDaemon(this.paths, "mon")?.pid;
      if (announced !== undefined && announced.pid === pid) {
        return { monitor: announced.control, http: announced.http };
      }
      this.checkTime("the monitor to listen", "");
      await sleep(pollMs);
    }
  }

  private async createPool(session: MonitorSession, osdCount: number): Promise<void> {
    const size = Math.min(3, osdCount);
    const minSize = Math.max(1, size - 1);
    await session.command("pool create", { name: poolName, pgNum: poolPgs, size, minSize });
  }

  /**
   * Waits until the map shows every OSD up, and those that were started with a new incarnation:
   * one that died a moment ago may still be shown up with its old one.
   */
  private async waitForOsds(
    session: MonitorSession,
    file: ClusterFile,
    before: ReadonlyMap<number, string>,
  ): Promise<void> {
    const isNew = ({ id, up, incarnation }: OsdRow) => {
      const mine = this.started.some(({ name }) => name === `osd.${id}`);
      return up && (!mine || incarnation !== before.get(id));
    };
    const wanted = file.osds.length;
    await this.poll("OSDs to come up", async () => {
      const { osds } = await session.command("osd ls", {});
      const ready = osds.filter(isNew).length;
      return { done: ready >= wanted, summary: `${ready} of ${wanted} up` };
    });
  }

  private async waitUntilHealthy(session: MonitorSession): Promise<ClusterStatus> {
    let status = await session.command("status", {});
    await this.poll("a healthy cluster", async () => {
      status = await session.command("status", {});
      return { done: isHealthy(status), summary: summaryOf(status) };
    });
    return status;
  }

  private async poll(
    what: string,
    look: () => Promise<{ done: boolean; summary: string }>,
  ): Promise<void> {
    let sayFromMs = performance.now() + sayEveryMs;
    for (;;) {
      this.checkStarted();
      const { done, summary } = await look();
      if (done) return;
      if (performance.now() >= sayFromMs) {
        this.options.say(`waiting for ${what}: ${summary}`);
        sayFromMs = performance.now() + sayEveryMs;
      }
      this.checkTime(what, summary);
      await sleep(pollMs);
    }
  }

  private checkStarted(): void {
    this.checkStopped();
    const ended = this.started.find((daemon) => daemon.exit() !== undefined);
    if (ended !== undefined) throw daemonFailure(this.paths, ended, !this.created);
  }

  private checkStopped(): void {
    if (!this.options.signal.aborted) return;
    throw new StorageError("canceled", "stopped: what had been started is stopped again");
  }

  private checkTime(what: string, summary: string): void {
    if (performance.now() < this.deadlineMs) return;
    const detail = summary === "" ? "" : ` (${summary})`;
    throw new StorageError("timed_out", `waited too long for ${what}${detail}`, {
      remedy: this.created
        ? // The logs go with the folder.
          [
            "Allow more time with --timeout.",
            ...this.started.flatMap(({ name }) => lastTrouble(this.paths, name)),
          ].join("\n")
        : `Look into ${this.paths.logDir}, or allow more time with --timeout.`,
    });
  }
}

/** @throws invalid_argument when the cluster that is there is another than what is asked for */
function requireSame({ dir, osdCount, osdBytes }: UpOptions, { osds }: ClusterFile): void {
  const other = osds.find(({ sizeBytes }) => osdBytes !== undefined && sizeBytes !== osdBytes);
  if ((osdCount === undefined || osdCount === osds.length) && other === undefined) return;
  const [has, wanted] =
    other === undefined
      ? [`${osds.length} OSDs`, String(osdCount)]
      : [`OSDs of ${exactSize(other.sizeBytes)}`, exactSize(osdBytes ?? 0)];
  throw new StorageError("invalid_argument", `the cluster in ${dir} has ${has}, not ${wanted}`, {
    remedy:
      "Leave --osds and --osd-size out to start it as it is, or make another one with --dir DIR.",
  });
}

export function daemonNames(file: ClusterFile): DaemonName[] {
  return [...file.osds.map(({ id }): DaemonName => `osd.${id}`), "mon"];
}

async function incarnations(session: MonitorSession): Promise<Map<number, string>> {
  const { osds } = await session.command("osd ls", {});
  return new Map(osds.map(({ id, incarnation }) => [id, incarnation]));
}

/** "2 of 3 OSDs up, 20 of 32 PGs active+clean" */
function summaryOf({ osds, pgs, health }: ClusterStatus): string {
  const parts = [`${osds.up} of ${osds.total} OSDs up`];
  if (pgs.total > 0) {
    parts.push(`${pgs.byState["active+clean"] ?? 0} of ${pgs.total} PGs active+clean`);
  }
  if (osds.up === osds.total) parts.push(...health.checks.map(({ summary }) => summary));
  return parts.join(", ");
}

function readAnnounced(file: string): { pid: number; control: Address; http: Address } | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    // Not written yet, or just being written.
    return undefined;
  }
}

async function allFree(addresses: readonly Address[]): Promise<boolean> {
  for (const { host, port } of addresses) {
    const free = await new Promise<boolean>((resolve) => {
      const probe = createServer();
      probe.once("error", () => resolve(false));
      probe.listen(port, host, () => probe.close(() => resolve(true)));
    });
    if (!free) return false;
  }
  return true;
}
