// Real processes for the integration tests: bin/cairn run to its end or in the background.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readClusterFile } from "../../cli/local-cluster/cluster-dir.js";
import { addressText } from "../../cli/options.js";
import { ClusterClient, Image } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";

/** A verb that hangs fails its test instead of the whole run. */
const verbTimeoutMs = 120_000;
const writtenBytes = 4096;

export const program = fileURLToPath(new URL("../../bin/cairn", import.meta.url));

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a verb to its end; `dir` is its cluster. */
export function cairn(dir: string, ...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = {
      env: { ...process.env, CAIRN_DIR: dir },
      maxBuffer: 1 << 26,
      timeout: verbTimeoutMs,
    };
    execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      // A verb that ended by a signal has failed in a way that no test can foresee: it is told.
      if (error?.signal) console.error(`cairn ${args.join(" ")}: ${error.signal}\n${stderr}`);
      resolve({ code, stdout, stderr });
    });
  });
}

/** Runs a verb that has to succeed. @returns what --format json printed */
export async function cairnJson<T>(dir: string, ...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await cairn(dir, ...args, "--format", "json");
  if (code !== 0) throw new Error(`cairn ${args.join(" ")}: exit code ${code}\n${stderr}`);
  return JSON.parse(stdout) as T;
}

/** What the monitor of that cluster says at /metrics. */
export async function metricsOf(dir: string): Promise<string> {
  const http = readClusterFile(dir)?.http;
  if (http === undefined) throw new Error(`no cluster runs in ${dir}`);
  return (await fetch(`http://${addressText(http)}/metrics`)).text();
}

/**
 * No OSD of that cluster is called slow, however busy the machine is; the mark would stay for
 * minutes on an idle cluster.
 */
export async function callNoOsdSlow(dir: string): Promise<void> {
  await cairnJson(dir, "config", "set", "mon.slow_osd_latency_ms", "60000");
}

/** Starts a verb that stays and prints nothing. */
export function spawnCairn(dir: string, ...args: string[]): ChildProcess {
  return spawn(process.execPath, [program, ...args], {
    env: { ...process.env, CAIRN_DIR: dir },
    stdio: ["ignore", "ignore", "inherit"],
  });
}

/** Starts a verb that stays. @returns when it has printed its first line */
export async function startCairn(
  dir: string,
  ...args: string[]
): Promise<{ child: ChildProcess; line: string; ended: Promise<number | null> }> {
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...process.env, CAIRN_DIR: dir },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<number | null>((resolve) => child.on("exit", (code) => resolve(code)));
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString()));
    child.on("exit", (code) => reject(new Error(`cairn ${args.join(" ")}: exit code ${code}`)));
  });
  return { child, line, ended };
}

/** A client of the cluster in that folder, by the library. */
export async function connectTo(dir: string): Promise<ClusterClient> {
  const monitor = readClusterFile(dir)?.monitor;
  if (monitor === undefined) throw new Error("the cluster has no monitor");
  return ClusterClient.connect({ monitor, log: () => undefined });
}

/** A client that writes blocks of 4 KiB all over an image, some at a time, until it is stopped. */
export class SteadyWriter {
  /** that were acknowledged */
  writes = 0;
  private begun = 0;
  private isStopped = false;
  private readonly lanes: Promise<void>[];

  private constructor(
    private readonly client: ClusterClient,
    private readonly image: Image,
    blockCount: number,
    laneCount: number,
  ) {
    this.lanes = Array.from({ length: laneCount }, () => this.write(blockCount));
    // That a write has failed, stop() says.
    for (const lane of this.lanes) lane.catch(() => undefined);
  }

  static async start(dir: string, spec: string, laneCount: number): Promise<SteadyWriter> {
    const client = await connectTo(dir);
    const ports = { clock: systemClock, random: systemRandom };
    const image = await Image.open(client, ports, spec);
    const { sizeBytes } = await image.info();
    return new SteadyWriter(client, image, sizeBytes / writtenBytes, laneCount);
  }

  private async write(blockCount: number): Promise<void> {
    while (!this.isStopped) {
      const at = ((this.begun * 7919) % blockCount) * writtenBytes;
      this.begun += 1;
      await this.image.write(at, new Uint8Array(writtenBytes).fill(1 + (this.begun % 255)));
      this.writes += 1;
    }
  }

  /** @throws what a write has failed with */
  async stop(): Promise<void> {
    this.isStopped = true;
    try {
      await Promise.all(this.lanes);
      await this.image.close();
    } finally {
      await this.client.close();
    }
  }
}

/** The process of a daemon of a local cluster. */
export function daemonPid(dir: string, daemon: string): number {
  return Number(readFileSync(path.join(dir, "run", `${daemon}.pid`), "utf8").split(" ", 1)[0]);
}
