// Cairn beside Ceph on this machine, in one run and in turns: three OSDs each, size 3, an image of
// which every block has been written; 4 KiB random writes at QD32 and QD1, and reads.
//
//   npx tsx bench/ceph.ts [--seconds S] [--repeat N] [--dir FOLDER]
//
// While one cluster is measured the other one stands idle. Needs Ceph's daemons, which nothing else
// here does: apt-get install ceph-mon ceph-osd ceph-common fio
import { parseArgs } from "node:util";
import { BenchCluster, type BenchJson, type Load, root } from "./bench-cluster.js";
import { type CephBench, CephCluster, missingCephPackages } from "./ceph-cluster.js";
import { machineFacts, median } from "./machine.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "8" },
    repeat: { type: "string", default: "3" },
    dir: { type: "string", default: root },
  },
});
const osdCount = 3;
const osdBytes = 8 * 2 ** 30;
const imageSize = "1G";

const loads: Record<string, Omit<Load, "seconds">> = {
  writeQd32: { ioType: "write", queueDepth: 32 },
  writeQd1: { ioType: "write", queueDepth: 1 },
  readQd32: { ioType: "read", queueDepth: 32 },
};

interface Pair {
  cairn: CephBench;
  ceph: CephBench;
}

function asPeer({ iops, latencyUs, cpuUsPerOp }: BenchJson): CephBench {
  const { total, client, osds } = cpuUsPerOp;
  if (total === null || osds === null) throw new Error("a daemon was restarted meanwhile");
  return {
    iops,
    meanUs: latencyUs.mean,
    p99Us: latencyUs.p99,
    cpuUsPerOp: { total, client, osds },
  };
}

function summary(pairs: readonly Pair[]) {
  const of = (side: keyof Pair, pick: (run: CephBench) => number) =>
    Number(median(pairs.map((pair) => pick(pair[side]))).toFixed(1));
  const both = (pick: (run: CephBench) => number) => {
    const [cairn, ceph] = [of("cairn", pick), of("ceph", pick)];
    return { cairn, ceph, ratio: Number((cairn / ceph).toFixed(2)) };
  };
  return {
    iops: both((run) => run.iops),
    meanUs: both((run) => run.meanUs),
    p99Us: both((run) => run.p99Us),
    cpuUsPerOp: both((run) => run.cpuUsPerOp.total),
    cpuUsOsds: both((run) => run.cpuUsPerOp.osds),
    cpuUsClient: both((run) => run.cpuUsPerOp.client),
  };
}

async function main(): Promise<void> {
  const missing = missingCephPackages();
  if (missing.length > 0) {
    throw new Error(`not installed: apt-get install ${[...new Set(missing)].join(" ")}`);
  }
  const seconds = Number(values.seconds);
  const cairn = new BenchCluster(values.dir);
  const ceph = new CephCluster(values.dir, osdCount);
  try {
    cairn.cairn("up", "--osds", String(osdCount), "--osd-size", String(osdBytes));
    cairn.makeImage(imageSize);
    await ceph.start(osdBytes, imageSize);
    const pairs = new Map<string, Pair[]>(Object.keys(loads).map((name) => [name, []]));
    for (let i = 0; i < Number(values.repeat); i++) {
      for (const [name, load] of Object.entries(loads)) {
        const own = asPeer(cairn.run({ ...load, seconds }));
        pairs.get(name)?.push({ cairn: own, ceph: ceph.bench({ ...load, seconds }) });
      }
    }
    const figures = Object.fromEntries([...pairs].map(([name, of]) => [name, summary(of)]));
    const command = `npx tsx bench/ceph.ts --seconds ${values.seconds} --repeat ${values.repeat}`;
    const text = JSON.stringify({ machine: machineFacts(), command, ...figures }, null, 2);
    process.stdout.write(`${text}\n`);
  } finally {
    cairn.remove();
    await ceph.remove();
  }
}

await main();
