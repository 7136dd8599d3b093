// What the loss of an OSD costs the clients, and how long until every copy is whole again.
//
//   npx tsx bench/recovery.ts [--size 2G] [--seconds S] [--dir FOLDER]
//
// Four OSDs, size 3. 4 KiB random writes first on a quiet cluster; then one OSD is killed (-9) and
// put out, and the same load runs while its objects are copied. Printed: the p99 latencies and
// their ratio (exit code 1 above 2), and the seconds from `out` until all PGs are active+clean.
import { parseArgs } from "node:util";
import { BenchCluster, type BenchJson, root } from "./bench-cluster.js";
import { machineFacts, median } from "./machine.js";

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "2G" },
    seconds: { type: "string", default: "5" },
    dir: { type: "string", default: root },
  },
});
const seconds = Number(values.seconds);
const pollMs = 250;
const limitMs = 600_000;
const lost = 3;
/** What recovery may do to the p99 latency of clients. */
const maxRatio = 2;

interface PgJson {
  state: string;
}

function wait(delayMs: number): Promise<void> {
  return new Promise((done) => setTimeout(done, delayMs));
}

/** Seconds until every PG is active+clean. */
async function untilClean(cluster: BenchCluster, startedMs: number): Promise<number> {
  while (performance.now() - startedMs < limitMs) {
    const pgs = cluster.cairnJson<PgJson[]>("pg", "ls");
    if (pgs.length > 0 && pgs.every(({ state }) => state === "active+clean")) {
      return (performance.now() - startedMs) / 1000;
    }
    await wait(pollMs);
  }
  throw new Error("the PGs did not become clean");
}

async function main(): Promise<void> {
  const cluster = new BenchCluster(values.dir);
  const load = { ioType: "write", queueDepth: 8, seconds } as const;
  try {
    cluster.cairn("up", "--osds", "4");
    cluster.makeImage(values.size);
    const quiet = [cluster.run(load), cluster.run(load), cluster.run(load)];
    process.kill(cluster.pidOf(`osd.${lost}`), "SIGKILL");
    await wait(2000);
    cluster.cairn("osd", "out", String(lost));
    const startedMs = performance.now();
    const during: BenchJson[] = [];
    let clean = false;
    const cleaned = untilClean(cluster, startedMs).finally(() => {
      clean = true;
    });
    while (!clean) during.push(await cluster.runBeside(load));
    const secondsToClean = await cleaned;
    const p99 = (runs: BenchJson[]): number => median(runs.map((run) => run.latencyUs.p99));
    const figures = {
      machine: machineFacts(),
      command: `npx tsx bench/recovery.ts --size ${values.size} --seconds ${seconds}`,
      quietP99Us: p99(quiet),
      recoveringP99Us: p99(during),
      ratio: Number((p99(during) / p99(quiet)).toFixed(2)),
      longestGapMs: Math.max(...during.map((run) => run.longestGapMs)),
      secondsToClean: Number(secondsToClean.toFixed(1)),
    };
    process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
    if (figures.ratio <= maxRatio) return;
    process.stdout.write(`FINDING the p99 of clients is ${figures.ratio} times the quiet one\n`);
    process.exitCode = 1;
  } finally {
    cluster.remove();
  }
}

await main();
