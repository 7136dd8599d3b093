// A Ceph cluster of the benchmark's own beside Cairn's: a monitor and OSDs on BlueStore, each on a
// file of this folder's disk, no authentication, debug logs off (which is how it is fastest), and
// no write-back cache in the client: as with Cairn, a write is answered when all copies are
// durable. Made in a new folder and removed. From Debian's packages ceph-mon, ceph-osd, ceph-common
// and fio.
import { execFileSync, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { native } from "../native/index.js";
import type { Load } from "./bench-cluster.js";

const pool = "rbd";
const image = "bench";
const pgNum = 32;
const bootTimeoutMs = 60_000;

export interface CephBench {
  iops: number;
  meanUs: number;
  p99Us: number;
  /** of the OSDs and of the client */
  cpuUsPerOp: { total: number; client: number; osds: number };
}

/** Of `fio --output-format=json`. */
interface FioJob {
  [direction: string]: unknown;
}
interface FioSide {
  iops: number;
  total_ios: number;
  lat_ns: { mean: number };
  clat_ns: { percentile: Record<string, number> };
}

/** @returns what is not installed, as Debian packages */
export function missingCephPackages(): string[] {
  const programs = {
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    rbd: "ceph-common",
    fio: "fio",
  };
  return Object.entries(programs).flatMap(([program, packageName]) =>
    spawnSync("which", [program]).status === 0 ? [] : [packageName],
  );
}

export class CephCluster {
  private readonly folder: string;
  private readonly environment: NodeJS.ProcessEnv;
  private pids: number[] = [];

  /** @param parent folder on the disk that is measured */
  constructor(
    parent: string,
    private readonly osdCount: number,
  ) {
    this.folder = mkdtempSync(join(parent, ".bench-ceph-"));
    this.environment = { ...process.env, CEPH_CONF: join(this.folder, "ceph.conf") };
  }

  /** Makes and starts everything, with an image of which every block has been written. */
  async start(osdBytes: number, imageSize: string): Promise<void> {
    const fsid = randomUUID();
    const port = await freePort();
    writeFileSync(join(this.folder, "ceph.conf"), this.configuration(fsid, port, osdBytes));
    mkdirSync(join(this.folder, "run"));
    const map = join(this.folder, "monmap");
    this.run(
      "monmaptool",
      "--create",
      "--fsid",
      fsid,
      "--addv",
      "a",
      `[v2:127.0.0.1:${port}]`,
      map,
    );
    this.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", map);
    this.run("ceph-mon", "-i", "a");
    for (let osd = 0; osd < this.osdCount; osd++) {
      const uuid = randomUUID();
      mkdirSync(join(this.folder, `osd.${osd}`));
      this.run("ceph", "osd", "new", uuid, String(osd));
      this.run("ceph-osd", "-i", String(osd), "--mkfs", "--osd-uuid", uuid);
      this.run("ceph-osd", "-i", String(osd));
    }
    await this.untilUp();
    this.run("ceph", "osd", "pool", "create", pool, String(pgNum), String(pgNum));
    this.run("rbd", "pool", "init", pool);
    this.run("rbd", "create", `${pool}/${image}`, "--size", imageSize);
    this.fio("write", "1M", 4, ["--rw=write"]);
    this.pids = Array.from({ length: this.osdCount }, (_, osd) => this.pidOf(`osd.${osd}`));
  }

  bench({ ioType, ioSize = "4K", queueDepth, seconds }: Load): CephBench {
    const before = this.cpuNs();
    const limits = ["--time_based", `--runtime=${seconds}`, `--rw=rand${ioType}`];
    const { side, cpuSeconds } = this.fio(ioType, ioSize, queueDepth, limits);
    const osds = (this.cpuNs() - before) / 1000 / side.total_ios;
    const client = (cpuSeconds * 1e6) / side.total_ios;
    return {
      iops: side.iops,
      meanUs: side.lat_ns.mean / 1000,
      p99Us: (side.clat_ns.percentile["99.000000"] ?? Number.NaN) / 1000,
      cpuUsPerOp: { total: osds + client, client, osds },
    };
  }

  async remove(): Promise<void> {
    const daemons = [...Array.from({ length: this.osdCount }, (_, osd) => `osd.${osd}`), "mon.a"];
    for (const daemon of daemons) {
      if (!existsSync(this.pidFile(daemon))) continue;
      const pid = this.pidOf(daemon);
      process.kill(pid, "SIGTERM");
      while (isAlive(pid)) await sleep(100);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  private configuration(fsid: string, port: number, osdBytes: number): string {
    const lines = {
      fsid,
      "mon host": `[v2:127.0.0.1:${port}/0]`,
      "mon initial members": "a",
      "auth cluster required": "none",
      "auth service required": "none",
      "auth client required": "none",
      "osd pool default size": 3,
      "osd pool default min size": 2,
      "osd crush chooseleaf type": 0,
      "run dir": join(this.folder, "run"),
      "log file": join(this.folder, "$name.log"),
      "admin socket": join(this.folder, "run/$name.$pid.asok"),
      "pid file": this.pidFile("$name"),
      "mon data": join(this.folder, "mon.$id"),
      "osd data": join(this.folder, "osd.$id"),
      "public addr": "127.0.0.1",
      "osd objectstore": "bluestore",
      "bluestore block create": true,
      "bluestore block size": osdBytes,
      "rbd cache": false,
      "debug ms": "0/0",
      "debug osd": "0/0",
      "debug bluestore": "0/0",
      "debug bdev": "0/0",
      "debug rocksdb": "0/0",
    };
    const text = Object.entries(lines).map(([key, value]) => `${key} = ${value}\n`);
    return `[global]\n${text.join("")}`;
  }

  private async untilUp(): Promise<void> {
    for (const end = performance.now() + bootTimeoutMs; performance.now() < end; await sleep(500)) {
      const text = this.run("ceph", "osd", "stat", "--format", "json");
      const { num_up_osds: up } = JSON.parse(text) as { num_up_osds: number };
      if (up === this.osdCount) return;
    }
    throw new Error(`Ceph's OSDs are not up after ${bootTimeoutMs / 1000} s`);
  }

  /** With the CPU time of all of its threads: fio itself tells of the one that submits. */
  private fio(ioType: Load["ioType"], ioSize: string, queueDepth: number, how: string[]) {
    const common = ["--name=b", "--ioengine=rbd", `--pool=${pool}`, `--rbdname=${image}`];
    const load = [
      `--bs=${ioSize}`,
      `--iodepth=${queueDepth}`,
      "--randrepeat=0",
      "--output-format=json",
      ...how,
    ];
    const text = this.run("sh", "-c", '"$@" && times', "sh", "fio", ...common, ...load);
    const end = text.lastIndexOf("}") + 1;
    const { jobs } = JSON.parse(text.slice(text.indexOf("{"), end)) as { jobs: FioJob[] };
    const job = jobs[0];
    if (job === undefined) throw new Error(`fio has measured nothing:\n${text}`);
    // The shell's own line, then that of its children: user and system time.
    const times = [...text.slice(end).matchAll(/(\d+)m([\d.]+)s/g)].slice(2);
    const cpuSeconds = times.reduce((sum, [, min, sec]) => sum + Number(min) * 60 + Number(sec), 0);
    return { side: job[ioType] as FioSide, cpuSeconds };
  }

  private cpuNs(): number {
    return this.pids.reduce((sum, pid) => sum + (native.processCpuNs(pid) ?? Number.NaN), 0);
  }

  private pidFile(daemon: string): string {
    return join(this.folder, "run", `${daemon}.pid`);
  }

  private pidOf(daemon: string): number {
    return Number(readFileSync(this.pidFile(daemon), "utf8"));
  }

  private run(program: string, ...args: string[]): string {
    return execFileSync(program, args, {
      encoding: "utf8",
      env: this.environment,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 300_000,
    });
  }
}

/** A daemon that has ended but was not waited for counts as ended. */
function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/\) [ZX] /.test(stat);
  } catch {
    return false;
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" ? (address?.port ?? 0) : 0));
    });
  });
}
