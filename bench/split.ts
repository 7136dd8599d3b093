// What clients notice of it when the PGs of a pool are split.
//
//   npx tsx bench/split.ts [--objects N] [--pgs N] [--seconds S] [--repeat N] [--dir FOLDER]
//
// Three OSDs, size 3. A pool of few PGs with N objects of one 4 KiB block each. 4 KiB random writes
// at QD8 to another image of the pool; meanwhile pg_num is doubled, each round with a new pool.
// Printed, as medians of the rounds: the longest time without a finished write and the longest
// write, the p99 before and behind, and the seconds until all PGs are clean and placed by CRUSH.
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Image, Images } from "../client/index.js";
import { systemClock, systemRandom } from "../common/ports.js";
import { BenchCluster, type BenchJson, type Load, root } from "./bench-cluster.js";
import { machineFacts, median } from "./machine.js";

const { values } = parseArgs({
  options: {
    objects: { type: "string", default: "20000" },
    pgs: { type: "string", default: "8" },
    seconds: { type: "string", default: "8" },
    repeat: { type: "string", default: "3" },
    dir: { type: "string", default: root },
  },
});
const objects = Number(values.objects);
const pgs = Number(values.pgs);
const seconds = Number(values.seconds);
const objectBytes = 4 << 20;
const writersAtOnce = 64;
const pollMs = 100;
const limitMs = 120_000;
const ports = { clock: systemClock, random: systemRandom };

/** Writes one block to each object of a thin image. */
async function fill(cluster: BenchCluster, pool: string): Promise<void> {
  const client = await cluster.connect();
  try {
    const sizeBytes = objects * objectBytes;
    await new Images(client, pool, ports).create("thin", sizeBytes, { overcommit: true });
    const image = await Image.open(client, ports, `${pool}/thin`);
    const block = new Uint8Array(4096).fill(0x5a);
    let next = 0;
    const writer = async () => {
      while (next < objects) await image.write(next++ * objectBytes, block);
    };
    await Promise.all(Array.from({ length: writersAtOnce }, writer));
    await image.close();
  } finally {
    await client.close();
  }
}

/** Seconds until CRUSH places all PGs of the pool, and they are clean. */
async function untilSpread(cluster: BenchCluster, pool: string): Promise<number> {
  const client = await cluster.connect();
  try {
    for (const startMs = performance.now(); performance.now() - startMs < limitMs; ) {
      const { pgs: states, splits } = await client.command("status", {});
      const clean = states.byState["active+clean"] ?? 0;
      if (splits === undefined && clean === states.total) {
        return (performance.now() - startMs) / 1000;
      }
      await sleep(pollMs);
    }
  } finally {
    await client.close();
  }
  throw new Error(`the PGs of ${pool} did not become clean`);
}

interface Round {
  before: BenchJson;
  during: BenchJson;
  after: BenchJson;
  secondsToClean: number;
}

async function splitUnderLoad(cluster: BenchCluster, pool: string): Promise<Round> {
  cluster.cairn("pool", "create", pool, "--size", "3", "--pg-num", String(pgs));
  await fill(cluster, pool);
  cluster.cairn("create", `${pool}/load`, "--size", "64M");
  const load: Load = { ioType: "write", queueDepth: 8, seconds };
  const spec = `${pool}/load`;
  await cluster.runBeside(load, spec);
  const before = await cluster.runBeside(load, spec);
  const running = cluster.runBeside(load, spec);
  await sleep((seconds * 1000) / 3);
  cluster.cairn("pool", "set", pool, "pg_num", String(2 * pgs));
  const secondsToClean = await untilSpread(cluster, pool);
  const during = await running;
  const after = await cluster.runBeside(load, spec);
  return { before, during, after, secondsToClean };
}

async function main(): Promise<void> {
  const cluster = new BenchCluster(values.dir);
  try {
    cluster.cairn("up", "--osds", "3");
    const rounds: Round[] = [];
    for (let i = 0; i < Number(values.repeat); i++) {
      rounds.push(await splitUnderLoad(cluster, `round${i}`));
    }
    const of = (pick: (round: Round) => number) => ({
      median: Number(median(rounds.map(pick)).toFixed(1)),
      max: Number(Math.max(...rounds.map(pick)).toFixed(1)),
    });
    const figures = {
      machine: machineFacts(),
      command:
        `npx tsx bench/split.ts --objects ${objects} --pgs ${pgs} --seconds ${seconds} ` +
        `--repeat ${values.repeat}`,
      longestGapMs: of(({ during }) => during.longestGapMs),
      longestGapBeforeMs: of(({ before }) => before.longestGapMs),
      longestWriteMs: of(({ during }) => during.latencyUs.max / 1000),
      longestWriteBeforeMs: of(({ before }) => before.latencyUs.max / 1000),
      p99BeforeMs: of(({ before }) => before.latencyUs.p99 / 1000),
      p99AfterMs: of(({ after }) => after.latencyUs.p99 / 1000),
      secondsToClean: of((round) => round.secondsToClean),
    };
    process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  } finally {
    cluster.remove();
  }
}

await main();
