// What snapshots, clones and diffs cost.
//
//   npx tsx bench/images.ts [--objects N] [--seconds S] [--repeat N] [--dir FOLDER]
//
// Three OSDs, size 3. A thin image of 100 GiB with one 4 KiB block written in each of N objects.
// Printed: the p99 of client writes quiet and while snapshots are made and removed, and their
// ratio; how long making and removing one takes; the first 4 KiB write to a clone beside a plain
// one; `diff` of two snapshots with 1 % changed; sixty clones of one snapshot. All within this
// process, medians over the rounds.
import { parseArgs } from "node:util";
import { type ClusterClient, Image, Images, openLocked } from "../client/index.js";
import { systemClock, systemRandom } from "../common/ports.js";
import type { BenchResult } from "../native/binding.js";
import { BenchCluster, root } from "./bench-cluster.js";
import { machineFacts, median } from "./machine.js";

const { values } = parseArgs({
  options: {
    objects: { type: "string", default: "10000" },
    seconds: { type: "string", default: "5" },
    repeat: { type: "string", default: "3" },
    dir: { type: "string", default: root },
  },
});
const objects = Number(values.objects);
const durationMs = Number(values.seconds) * 1000;
const repeat = Number(values.repeat);
const objectBytes = 4 << 20;
const blockBytes = 4096;
const imageBytes = 100 * 2 ** 30;
const ports = { clock: systemClock, random: systemRandom };
const cloneCount = 60;

const round = (value: number): number => Number(value.toFixed(2));

async function timed(run: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await run();
  return performance.now() - started;
}

/** Runs task(0) to task(count - 1), so many at a time. */
async function inParallel(count: number, width: number, task: (index: number) => Promise<void>) {
  let next = 0;
  const worker = async () => {
    while (next < count) await task(next++);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

async function fill(image: Image, count: number): Promise<void> {
  const block = new Uint8Array(blockBytes).fill(0x5a);
  await inParallel(count, 64, (index) => image.write(index * objectBytes, block));
}

interface SnapshotFigures {
  quietP99Us: number;
  loadedP99Us: number;
  createMs: number;
  removeMs: number;
}

/** Waits until no PG has anything of removed snapshots left. */
async function trimmed(cluster: BenchCluster): Promise<void> {
  do await new Promise((done) => setTimeout(done, 1000));
  while (cluster.cairn("status").includes("snaptrim"));
}

/** The load goes through one client, which holds the lock; the verbs come from another one. */
async function snapshotsUnderLoad(
  cluster: BenchCluster,
  client: ClusterClient,
  verbs: Images,
): Promise<SnapshotFigures> {
  const own = new Images(client, "rbd", ports);
  const locked = await openLocked(own, "thin");
  const load = (): Promise<BenchResult> =>
    client.io.bench(locked.handle, {
      ioType: "write",
      ioBytes: blockBytes,
      pattern: "rand",
      queueDepth: 8,
      durationMs,
      seed: 1,
    });
  const p99Us = (result: BenchResult) => result.latencyNs.p99 / 1000;
  const [quiet, loaded, createMs, removeMs]: [number[], number[], number[], number[]] = [
    [],
    [],
    [],
    [],
  ];
  try {
    await load();
    for (let i = 0; i < repeat; i++) {
      await trimmed(cluster);
      quiet.push(p99Us(await load()));
      let running = true;
      const result = load().finally(() => {
        running = false;
      });
      for (let n = 0; running; n++) {
        const name = `s${i}-${n}`;
        createMs.push(await timed(() => verbs.snapshots.create("thin", name)));
        await new Promise((done) => setTimeout(done, 500));
        removeMs.push(await timed(() => verbs.snapshots.remove("thin", name)));
        await new Promise((done) => setTimeout(done, 500));
      }
      loaded.push(p99Us(await result));
    }
  } finally {
    await locked.close();
  }
  return {
    quietP99Us: median(quiet),
    loadedP99Us: median(loaded),
    createMs: median(createMs),
    removeMs: median(removeMs),
  };
}

/** First writes of a block, each to another object, of an image where nothing is there yet. */
async function firstWritesUs(image: Image, from: number): Promise<number[]> {
  const block = new Uint8Array(blockBytes).fill(1);
  const times: number[] = [];
  for (let index = from; index < from + 200; index++) {
    times.push(1000 * (await timed(() => image.write(index * objectBytes + blockBytes, block))));
  }
  return times;
}

interface DiffFigures {
  changedBlocks: number;
  ms: number;
}

/** Of two snapshots of the thin image, with one of a hundred objects changed between them. */
async function diffOfOnePercent(client: ClusterClient, thin: Image): Promise<DiffFigures> {
  const block = new Uint8Array(blockBytes).fill(2);
  await thin.createSnapshot("before");
  await inParallel(objects / 100, 16, (index) => thin.write(index * 100 * objectBytes, block));
  await thin.createSnapshot("after");
  const later = await Image.open(client, ports, "rbd/thin@after");
  const times: number[] = [];
  let changedBlocks = 0;
  for (let i = 0; i < repeat; i++) {
    changedBlocks = 0;
    const count = async () => {
      for await (const { length } of later.diff("before")) changedBlocks += length / blockBytes;
    };
    times.push(await timed(count));
  }
  await later.close();
  return { changedBlocks, ms: round(median(times)) };
}

/** Of a new image and of a clone, in turns. */
async function firstWrites(client: ClusterClient, images: Images) {
  await images.create("plain", imageBytes, { overcommit: true });
  const plain = await Image.open(client, ports, "rbd/plain");
  const clone = await Image.open(client, ports, "rbd/clone0");
  const [plainUs, cloneUs]: [number[], number[]] = [[], []];
  for (let i = 0; i < repeat; i++) {
    plainUs.push(...(await firstWritesUs(plain, i * 200)));
    cloneUs.push(...(await firstWritesUs(clone, i * 200)));
  }
  await plain.close();
  await clone.close();
  return {
    plainP50Us: round(median(plainUs)),
    cloneP50Us: round(median(cloneUs)),
    ratio: round(median(cloneUs) / median(plainUs)),
  };
}

async function main(): Promise<void> {
  const cluster = new BenchCluster(values.dir);
  const clients: ClusterClient[] = [];
  const connect = async (): Promise<ClusterClient> => {
    const client = await cluster.connect();
    clients.push(client);
    return client;
  };
  try {
    cluster.cairn("up", "--osds", "3");
    const client = await connect();
    const images = new Images(client, "rbd", ports);
    await images.create("thin", imageBytes, { overcommit: true });
    const thin = await Image.open(client, ports, "rbd/thin");
    await fill(thin, objects);
    const diff = await diffOfOnePercent(client, thin);
    await thin.close();
    const clonesMs = await timed(async () => {
      for (let i = 0; i < cloneCount; i++) {
        await images.clones.create("thin", "after", { scope: images.scope, name: `clone${i}` });
      }
    });
    const firstWrite = await firstWrites(client, images);
    const verbs = new Images(await connect(), "rbd", ports);
    const underLoad = await snapshotsUnderLoad(cluster, client, verbs);
    const options = `--objects ${objects} --seconds ${values.seconds} --repeat ${repeat}`;
    const figures = {
      machine: machineFacts(),
      command: `npx tsx bench/images.ts ${options}`,
      snapshots: {
        quietP99Us: round(underLoad.quietP99Us),
        loadedP99Us: round(underLoad.loadedP99Us),
        ratio: round(underLoad.loadedP99Us / underLoad.quietP99Us),
        createMs: round(underLoad.createMs),
        removeMs: round(underLoad.removeMs),
      },
      firstWrite,
      diff,
      clones: { count: cloneCount, ms: round(clonesMs) },
    };
    process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  } finally {
    for (const client of clients) await client.close();
    cluster.remove();
  }
}

await main();
