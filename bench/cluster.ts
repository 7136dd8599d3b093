// The figures of a small cluster: three OSDs on this machine, size 3.
//
//   npx tsx bench/cluster.ts [--seconds S] [--repeat N] [--dir FOLDER] [--format json]
//
// 4 KiB random writes at QD32 (CPU per write over all daemons and the client) and at QD1 (latency
// beside a bare loopback round trip and a bare durable write of the same run), random reads, and
// what the daemons use when idle. Medians over N repeats. The cluster is made in a new folder and
// removed.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { machineFacts, measureDurableWriteUs, measureLoopbackUs, median } from "./machine.js";

const root = join(fileURLToPath(import.meta.url), "../..");
const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "8" },
    repeat: { type: "string", default: "3" },
    dir: { type: "string", default: root },
    format: { type: "string", default: "plain" },
  },
});

interface BenchJson {
  iops: number;
  latencyUs: { mean: number; p50: number; p99: number };
  longestGapMs: number;
  cpuUsPerOp: { total: number; client: number; osds: number };
}

const folder = mkdtempSync(join(values.dir, ".bench-"));
const cluster = join(folder, "cluster");

function cairn(...args: string[]): string {
  return execFileSync(process.execPath, [join(root, "bin/cairn"), ...args, "--dir", cluster], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
}

function bench(ioType: string, queueDepth: number, ...more: string[]): BenchJson {
  const text = cairn(
    "bench",
    "rbd/bench",
    "--io-type",
    ioType,
    "--io-size",
    "4K",
    "--io-pattern",
    "rand",
    "--io-threads",
    String(queueDepth),
    "--time",
    values.seconds,
    "--format",
    "json",
    ...more,
  );
  return JSON.parse(text) as BenchJson;
}

/** Nanoseconds of CPU of a process so far, over its threads. */
function cpuNs(pid: number): number {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
  }
  return sum;
}

async function idleOf(pid: number): Promise<{ cpuPercent: number; rssMib: number }> {
  const seconds = 10;
  const before = cpuNs(pid);
  await new Promise((done) => setTimeout(done, seconds * 1000));
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const rssKib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
  return { cpuPercent: (cpuNs(pid) - before) / seconds / 1e7, rssMib: rssKib / 1024 };
}

function osdPids(): number[] {
  const run = join(cluster, "run");
  return readdirSync(run)
    .filter((name) => /^osd.*\.pid$/.test(name))
    .map((name) => Number(readFileSync(join(run, name), "utf8").split(/\s/)[0]));
}

async function main(): Promise<void> {
  try {
    cairn("up", "--osds", "3");
    cairn("create", "rbd/bench", "--size", "1G");
    // Every block exists before the measured runs: an overwrite is what a guest mostly does.
    cairn(
      "bench",
      "rbd/bench",
      "--io-type",
      "write",
      "--io-size",
      "1M",
      "--io-pattern",
      "seq",
      "--io-threads",
      "4",
      "--time",
      "15",
    );
    const idle = await Promise.all(osdPids().map(idleOf));
    const deep: BenchJson[] = [];
    const shallow: BenchJson[] = [];
    const reads: BenchJson[] = [];
    const loopbackUs: number[] = [];
    const durableWriteUs: number[] = [];
    for (let i = 0; i < Number(values.repeat); i++) {
      deep.push(bench("write", 32));
      loopbackUs.push(measureLoopbackUs(root));
      durableWriteUs.push(measureDurableWriteUs(folder));
      shallow.push(bench("write", 1));
      reads.push(bench("read", 32));
    }
    const of = (runs: BenchJson[], pick: (run: BenchJson) => number): number =>
      Number(median(runs.map(pick)).toFixed(1));
    const figures = {
      machine: machineFacts(),
      command: `npx tsx bench/cluster.ts --seconds ${values.seconds} --repeat ${values.repeat}`,
      writeQd32: {
        iops: of(deep, (run) => run.iops),
        cpuUsPerWrite: of(deep, (run) => run.cpuUsPerOp.total),
        cpuUsClient: of(deep, (run) => run.cpuUsPerOp.client),
        cpuUsOsds: of(deep, (run) => run.cpuUsPerOp.osds),
        p99Us: of(deep, (run) => run.latencyUs.p99),
      },
      writeQd1: {
        meanUs: of(shallow, (run) => run.latencyUs.mean),
        p50Us: of(shallow, (run) => run.latencyUs.p50),
        loopbackRoundTripUs: Number(median(loopbackUs).toFixed(1)),
        durableWriteUs: Number(median(durableWriteUs).toFixed(1)),
      },
      readQd32: {
        iops: of(reads, (run) => run.iops),
        cpuUsPerRead: of(reads, (run) => run.cpuUsPerOp.total),
      },
      idleOsds: idle.map((one) => ({
        cpuPercent: Number(one.cpuPercent.toFixed(2)),
        rssMib: Number(one.rssMib.toFixed(1)),
      })),
    };
    process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  } finally {
    try {
      cairn("down", "--purge");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

await main();
