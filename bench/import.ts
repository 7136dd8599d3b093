// Import of a qcow2 file beside `qemu-img convert` of it to a raw file on the same disk.
//
//   npx tsx bench/import.ts [--size 2G] [--data 1G] [--repeat N] [--dir FOLDER]
//
// The image has SIZE bytes of which DATA are random data. `qemu-img convert -t none` is followed by
// an fsync of its result: what Cairn stores is durable. In turns: qemu-img, import into a pool of
// size 1, import into a pool of size 3. Medians over the rounds, and ratios to qemu-img.
import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseSize } from "../common/units.js";
import { BenchCluster, root } from "./bench-cluster.js";
import { machineFacts, median } from "./machine.js";

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "2G" },
    data: { type: "string", default: "1G" },
    repeat: { type: "string", default: "3" },
    dir: { type: "string", default: root },
  },
});
const repeat = Number(values.repeat);

function seconds(run: () => void): number {
  const started = performance.now();
  run();
  return (performance.now() - started) / 1000;
}

/** Random data in every second stretch, so that holes and data take turns. */
function makeImage(folder: string): string {
  const raw = join(folder, "source.raw");
  const qcow2 = join(folder, "source.qcow2");
  const [sizeBytes, dataBytes] = [parseSize(values.size), parseSize(values.data)];
  const stretch = Buffer.alloc(16 << 20);
  const stretches = Math.floor(dataBytes / stretch.length);
  const strideBytes = Math.floor(sizeBytes / stretches / 65536) * 65536;
  const fd = openSync(raw, "w");
  try {
    for (let i = 0; i < stretches; i++) {
      writeSync(fd, randomFillSync(stretch), 0, stretch.length, i * strideBytes);
    }
  } finally {
    closeSync(fd);
  }
  execFileSync("truncate", ["-s", String(sizeBytes), raw]);
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, qcow2]);
  rmSync(raw);
  return qcow2;
}

function convert(source: string, folder: string): number {
  const target = join(folder, "converted.raw");
  try {
    return seconds(() => {
      const args = ["convert", "-f", "qcow2", "-O", "raw", "-t", "none", source, target];
      execFileSync("qemu-img", args);
      execFileSync("sync", [target]);
    });
  } finally {
    rmSync(target, { force: true });
  }
}

function main(): void {
  const cluster = new BenchCluster(values.dir);
  try {
    cluster.cairn("up", "--osds", "3");
    cluster.cairn("pool", "create", "single", "--size", "1");
    const source = makeImage(cluster.folder);
    const times: Record<"qemuImg" | "single" | "replicated", number[]> = {
      qemuImg: [],
      single: [],
      replicated: [],
    };
    const importInto = (pool: string): number => {
      const image = `${pool}/imported`;
      const taken = seconds(() => cluster.cairn("import", source, image, "--no-progress"));
      cluster.cairn("rm", image, "--no-progress");
      return taken;
    };
    for (let i = 0; i < repeat; i++) {
      times.qemuImg.push(convert(source, cluster.folder));
      times.single.push(importInto("single"));
      times.replicated.push(importInto("rbd"));
    }
    const [peer, single, replicated] = [times.qemuImg, times.single, times.replicated].map(median);
    const options = `--size ${values.size} --data ${values.data} --repeat ${repeat}`;
    const figures = {
      machine: machineFacts(),
      command: `npx tsx bench/import.ts ${options}`,
      qemuImgSeconds: Number(peer?.toFixed(2)),
      size1Seconds: Number(single?.toFixed(2)),
      size3Seconds: Number(replicated?.toFixed(2)),
      size1Speed: Number(((peer ?? 0) / (single ?? 0)).toFixed(2)),
      size3Speed: Number(((peer ?? 0) / (replicated ?? 0)).toFixed(2)),
    };
    process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  } finally {
    cluster.remove();
  }
}

main();
