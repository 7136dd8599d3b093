// The figures of a small cluster: three OSDs on this machine, size 3.
//
//   npx tsx bench/cluster.ts [--seconds S] [--repeat N] [--age S] [--size SIZE] [--dir FOLDER]
//
// 4 KiB random writes at QD32 (CPU per write over all daemons and the client) and at QD1 (latency
// beside a bare loopback round trip and a bare durable write of the same run), random reads, 1 MiB
// reads in order, what the daemons use when idle, and what a read at random in 32 MiB of memory
// takes, to tell the hours of a virtual machine apart. Medians over N repeats.
// "new" is what comes after the image was filled in order, while the OSDs' sparse files still grow
// under overwrites; the rest comes after --age seconds of random writes more. The cluster is made
// in a new folder and removed. --size is that of the image, of which the OSDs' files need up to
// nine times as much, and 2 GiB.
import { parseArgs } from "node:util";
import { BenchCluster, type BenchJson, type Load, root } from "./bench-cluster.js";
import { idleOf } from "./idle.js";
import {
  machineFacts,
  measureDurableWriteUs,
  measureLoopbackUs,
  measureMemoryNs,
  median,
} from "./machine.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "8" },
    repeat: { type: "string", default: "3" },
    age: { type: "string", default: "60" },
    size: { type: "string", default: "4G" },
    dir: { type: "string", default: root },
  },
});
const osdCount = 3;

function of(runs: BenchJson[], pick: (run: BenchJson) => number | null): number {
  const known = runs.map(pick).filter((figure) => figure !== null);
  if (known.length < runs.length) throw new Error("a daemon was restarted during the benchmark");
  return Number(median(known).toFixed(1));
}

function writes(runs: BenchJson[]) {
  return {
    iops: of(runs, (run) => run.iops),
    cpuUsPerWrite: of(runs, (run) => run.cpuUsPerOp.total),
    cpuUsClient: of(runs, (run) => run.cpuUsPerOp.client),
    cpuUsOsds: of(runs, (run) => run.cpuUsPerOp.osds),
    p99Us: of(runs, (run) => run.latencyUs.p99),
  };
}

function readsInOrder(run: BenchJson) {
  return {
    mbPerS: of([run], ({ mbPerS }) => mbPerS),
    cpuUsPerRead: of([run], ({ cpuUsPerOp }) => cpuUsPerOp.total),
  };
}

async function main(): Promise<void> {
  const cluster = new BenchCluster(values.dir);
  const seconds = Number(values.seconds);
  try {
    cluster.cairn("up", "--osds", String(osdCount));
    const pids = Array.from({ length: osdCount }, (_, osd) => cluster.pidOf(`osd.${osd}`));
    const idleFresh = await Promise.all(pids.map(idleOf));
    cluster.makeImage(values.size);
    const idleFilled = await Promise.all(pids.map(idleOf));
    const idleLater = await Promise.all(pids.map(idleOf));
    const repeats = Number(values.repeat);
    const deepLoad: Load = { ioType: "write", queueDepth: 32, seconds };
    const inOrder: Load = { ioType: "read", ioSize: "1M", pattern: "seq", queueDepth: 4, seconds };
    const inOrderNew = cluster.run(inOrder);
    const deepNew = Array.from({ length: repeats }, () => cluster.run(deepLoad));
    cluster.run({ ...deepLoad, seconds: Number(values.age) });
    const deep: BenchJson[] = [];
    const shallow: BenchJson[] = [];
    const reads: BenchJson[] = [];
    const memoryNs: number[] = [];
    const loopbackUs: number[] = [];
    const durableWriteUs: number[] = [];
    const durableWritesAtOnceUs: number[] = [];
    for (let i = 0; i < repeats; i++) {
      deep.push(cluster.run(deepLoad));
      memoryNs.push(measureMemoryNs());
      loopbackUs.push(measureLoopbackUs(root));
      durableWriteUs.push(measureDurableWriteUs(cluster.folder));
      durableWritesAtOnceUs.push(measureDurableWriteUs(cluster.folder, osdCount));
      shallow.push(cluster.run({ ioType: "write", queueDepth: 1, seconds }));
      reads.push(cluster.run({ ioType: "read", queueDepth: 32, seconds }));
    }
    const figures = {
      machine: machineFacts(),
      memoryReadNs: Number(median(memoryNs).toFixed(0)),
      command:
        `npx tsx bench/cluster.ts --seconds ${values.seconds} --repeat ${values.repeat} ` +
        `--age ${values.age} --size ${values.size}`,
      writeQd32New: writes(deepNew),
      writeQd32: writes(deep),
      writeQd1: {
        meanUs: of(shallow, (run) => run.latencyUs.mean),
        p50Us: of(shallow, (run) => run.latencyUs.p50),
        loopbackRoundTripUs: Number(median(loopbackUs).toFixed(1)),
        durableWriteUs: Number(median(durableWriteUs).toFixed(1)),
        durableWritesAtOnceUs: Number(median(durableWritesAtOnceUs).toFixed(1)),
      },
      readQd32: {
        iops: of(reads, (run) => run.iops),
        cpuUsPerRead: of(reads, (run) => run.cpuUsPerOp.total),
      },
      read1MInOrderNew: readsInOrder(inOrderNew),
      read1MInOrder: readsInOrder(cluster.run(inOrder)),
      idleOsds: idleFresh,
      idleOsdsAfterFill: idleFilled,
      idleOsdsTenSecondsLater: idleLater,
    };
    process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  } finally {
    cluster.remove();
  }
}

await main();
