// How far the sparse files of three OSDs grow while an image is overwritten in order without a
// pause by writes of 1 MiB, at what speed that goes, and what is left after.
//
//   npx tsx bench/growth.ts [--size SIZE] [--seconds S] [--dir FOLDER]
//
// The files of the OSDs are sampled twice a second. With size 3 they hold three times the image.
// The file system needs room for what they grow to. The cluster is made in a new folder and
// removed.
import { statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BenchCluster, root } from "./bench-cluster.js";
import { idleOf } from "./idle.js";
import { machineFacts } from "./machine.js";

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "1G" },
    seconds: { type: "string", default: "15" },
    dir: { type: "string", default: root },
  },
});
const osdCount = 3;
const statBlockBytes = 512; // the unit of st_blocks, stat(2)

async function main(): Promise<void> {
  const cluster = new BenchCluster(values.dir);
  const osds = Array.from({ length: osdCount }, (_, osd) => `osd.${osd}`);
  const allocatedMib = () =>
    osds
      .map((osd) => statSync(join(cluster.folder, "cluster", osd, "store")).blocks)
      .reduce((sum, blocks) => sum + blocks * (statBlockBytes / 2 ** 20), 0);
  try {
    cluster.cairn("up", "--osds", String(osdCount));
    cluster.cairn("create", "rbd/bench", "--size", values.size);
    const emptyMib = allocatedMib();
    let mostMib = 0;
    const sampler = setInterval(() => {
      mostMib = Math.max(mostMib, allocatedMib());
    }, 500);
    const run = await cluster
      .runBeside({
        ioType: "write",
        ioSize: "1M",
        pattern: "seq",
        queueDepth: 4,
        seconds: Number(values.seconds),
      })
      .finally(() => clearInterval(sampler));
    const idle = await Promise.all(osds.map((osd) => idleOf(cluster.pidOf(osd))));
    const figures = {
      machine: machineFacts(),
      command: `npx tsx bench/growth.ts --size ${values.size} --seconds ${values.seconds}`,
      mbPerS: Number(run.mbPerS.toFixed(0)),
      p99Us: run.latencyUs.p99,
      writtenMib: run.operations,
      cpuUsPerWrite: run.cpuUsPerOp.total,
      filesMib: {
        empty: Math.round(emptyMib),
        most: Math.round(mostMib),
        tenSecondsLater: Math.round(allocatedMib()),
      },
      idleOsdsAfter: idle,
    };
    process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  } finally {
    cluster.remove();
  }
}

await main();
