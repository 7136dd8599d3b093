// A cluster of the benchmark's own, in a new folder: made, used through bin/cairn, removed.
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { readClusterFile } from "../cli/local-cluster/cluster-dir.js";
import { ClusterClient } from "../client/index.js";

export const root = join(fileURLToPath(import.meta.url), "../..");

/** Of `cairn bench --format json`. */
export interface BenchJson {
  operations: number;
  iops: number;
  mbPerS: number;
  latencyUs: { mean: number; p50: number; p99: number; max: number };
  longestGapMs: number;
  /** null: a daemon was restarted meanwhile */
  cpuUsPerOp: { total: number | null; client: number; osds: number | null };
}

export interface Load {
  ioType: "read" | "write";
  ioSize?: string;
  pattern?: "rand" | "seq";
  queueDepth: number;
  seconds: number;
}

export class BenchCluster {
  readonly folder: string;
  private readonly dir: string;
  private runs = 0;

  /** @param parent folder on the disk that is measured */
  constructor(
    parent: string,
    private readonly image = "rbd/bench",
  ) {
    this.folder = mkdtempSync(join(parent, ".bench-"));
    this.dir = join(this.folder, "cluster");
  }

  /** Runs a verb to its end. @returns its standard output */
  cairn(...args: string[]): string {
    return execFileSync(process.execPath, this.commandLine(args), {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
  }

  cairnJson<T>(...args: string[]): T {
    return JSON.parse(this.cairn(...args, "--format", "json")) as T;
  }

  /** Makes the image and writes every block once: an overwrite is what a guest mostly does. */
  makeImage(size: string): void {
    this.cairn("create", this.image, "--size", size);
    const fill = { "--io-type": "write", "--io-size": "1M", "--io-pattern": "seq" };
    const bounds = { "--io-threads": "4", "--io-total": size };
    this.cairn("bench", this.image, ...Object.entries({ ...fill, ...bounds }).flat());
  }

  /** Every run has other random offsets than those before it. */
  run(load: Load): BenchJson {
    return this.cairnJson<BenchJson>(...this.benchArguments(load));
  }

  /** As run(), while the caller does something else, with any image. */
  async runBeside(load: Load, image = this.image): Promise<BenchJson> {
    const args = this.commandLine([...this.benchArguments(load, image), "--format", "json"]);
    const { stdout } = await promisify(execFile)(process.execPath, args);
    return JSON.parse(stdout) as BenchJson;
  }

  /** A client of its own in this process. */
  connect(): Promise<ClusterClient> {
    const file = readClusterFile(this.dir);
    if (file === undefined) throw new Error("the cluster is not up");
    const log = (level: string, text: string) => process.stderr.write(`${level}: ${text}\n`);
    return ClusterClient.connect({ monitor: file.monitor, clusterId: file.clusterId, log });
  }

  pidOf(daemon: string): number {
    return Number(readFileSync(join(this.dir, "run", `${daemon}.pid`), "utf8").split(/\s/)[0]);
  }

  remove(): void {
    try {
      this.cairn("down", "--purge");
    } finally {
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  private commandLine(args: readonly string[]): string[] {
    return [join(root, "bin/cairn"), ...args, "--dir", this.dir];
  }

  private benchArguments(
    { ioType, ioSize = "4K", pattern = "rand", queueDepth, seconds }: Load,
    image = this.image,
  ): string[] {
    const options = {
      "--io-type": ioType,
      "--io-size": ioSize,
      "--io-pattern": pattern,
      "--io-threads": String(queueDepth),
      "--time": String(seconds),
      "--seed": String(++this.runs),
    };
    return ["bench", image, ...Object.entries(options).flat()];
  }
}
