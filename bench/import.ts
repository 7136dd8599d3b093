// Import of an image file beside `qemu-img convert` of it to a raw file on the same disk.
//
//   npx tsx bench/import.ts [--source qcow2|raw|compressed] [--size 2G] [--data 1G] [--repeat N]
//                           [--dir FOLDER]
//
// The image has SIZE bytes of which DATA are random data (of a compressed one every second half of
// 4 KiB, so that it compresses), in stretches with holes between them. `qemu-img convert -t none`
// is followed by an fsync of its result: what Cairn stores is durable. In turns: qemu-img, import
// into a pool of size 1, import into a pool of size 3; first once each without being counted, which
// also brings the source into the page cache. Medians over the rounds, and ratios to qemu-img.
import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseSize } from "../common/units.js";
import { BenchCluster, root } from "./bench-cluster.js";
import { machineFacts, median } from "./machine.js";

const { values } = parseArgs({
  options: {
    source: { type: "string", default: "qcow2" },
    size: { type: "string", default: "2G" },
    data: { type: "string", default: "1G" },
    repeat: { type: "string", default: "5" },
    dir: { type: "string", default: root },
  },
});
const repeat = Number(values.repeat);
const osds = ["osd.0", "osd.1", "osd.2"];

/** Of one conversion or import. */
interface Cost {
  seconds: number;
  /** of the program, and of the OSDs meanwhile */
  cpuSeconds: number;
}

/** @param program runs to its end, as a child */
function measured(program: () => void, daemons: readonly number[]): Cost {
  // What the last one left to be written back or discarded is not this one's.
  execFileSync("sync");
  const before = cpuSecondsWith(daemons);
  const started = performance.now();
  program();
  const seconds = (performance.now() - started) / 1000;
  return { seconds, cpuSeconds: cpuSecondsWith(daemons) - before };
}

/** utime and stime, or cutime and cstime: proc(5) counts them as fields 14 to 17. */
function cpuSeconds(pid: number | "self", firstField: 14 | 16): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // Behind the name, which may contain anything, comes field 3.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticksPerSecond = 100;
  return (Number(fields[firstField - 3]) + Number(fields[firstField - 2])) / ticksPerSecond;
}

/** Of all children that have ended, and of the daemons; threads that have ended count too. */
function cpuSecondsWith(daemons: readonly number[]): number {
  return daemons.reduce((sum, pid) => sum + cpuSeconds(pid, 14), cpuSeconds("self", 16));
}

function fillRandom(stretch: Buffer): Buffer {
  randomFillSync(stretch);
  if (values.source !== "compressed") return stretch;
  const block = 4096;
  for (let at = 0; at < stretch.length; at += block) stretch.fill(1, at + block / 2, at + block);
  return stretch;
}

/** Data in every second stretch, so that holes and data take turns. */
function makeRaw(path: string): void {
  const [sizeBytes, dataBytes] = [parseSize(values.size), parseSize(values.data)];
  const stretch = Buffer.alloc(16 << 20);
  const stretches = Math.max(1, Math.floor(dataBytes / stretch.length));
  const strideBytes = Math.floor(sizeBytes / stretches / 65536) * 65536;
  const fd = openSync(path, "w");
  try {
    for (let i = 0; i < stretches; i++) {
      writeSync(fd, fillRandom(stretch), 0, stretch.length, i * strideBytes);
    }
  } finally {
    closeSync(fd);
  }
  execFileSync("truncate", ["-s", String(sizeBytes), path]);
}

function makeSource(folder: string): string {
  const raw = join(folder, "made.raw");
  const source = join(folder, `source.${values.source === "raw" ? "raw" : "qcow2"}`);
  makeRaw(raw);
  if (values.source === "raw") {
    renameSync(raw, source);
    return source;
  }
  const how = values.source === "compressed" ? ["-c"] : [];
  execFileSync("qemu-img", ["convert", ...how, "-f", "raw", "-O", "qcow2", raw, source]);
  rmSync(raw);
  return source;
}

function convert(source: string, folder: string): Cost {
  const target = join(folder, "converted.raw");
  const format = values.source === "raw" ? "raw" : "qcow2";
  try {
    return measured(() => {
      const args = ["convert", "-f", format, "-O", "raw", "-t", "none", source, target];
      execFileSync("qemu-img", args);
      execFileSync("sync", [target]);
    }, []);
  } finally {
    rmSync(target, { force: true });
  }
}

function importInto(cluster: BenchCluster, pool: string, source: string): Cost {
  const image = `${pool}/imported`;
  const daemons = osds.map((name) => cluster.pidOf(name));
  const cost = measured(() => cluster.cairn("import", source, image, "--no-progress"), daemons);
  cluster.cairn("rm", image, "--no-progress");
  return cost;
}

function summary(costs: readonly Cost[], peerSeconds: number) {
  const seconds = median(costs.map((cost) => cost.seconds));
  return {
    seconds: Number(seconds.toFixed(2)),
    speed: Number((peerSeconds / seconds).toFixed(2)),
    cpuSeconds: Number(median(costs.map((cost) => cost.cpuSeconds)).toFixed(2)),
  };
}

function main(): void {
  const cluster = new BenchCluster(values.dir);
  try {
    cluster.cairn("up", "--osds", String(osds.length));
    cluster.cairn("pool", "create", "single", "--size", "1");
    const source = makeSource(cluster.folder);
    const rounds = Array.from({ length: repeat + 1 }, () => ({
      qemuImg: convert(source, cluster.folder),
      single: importInto(cluster, "single", source),
      replicated: importInto(cluster, "rbd", source),
    })).slice(1);
    const qemuImg = rounds.map((round) => round.qemuImg);
    const peerSeconds = median(qemuImg.map((cost) => cost.seconds));
    const { source: kind, size, data } = values;
    const options = `--source ${kind} --size ${size} --data ${data} --repeat ${repeat}`;
    const figures = {
      machine: machineFacts(),
      command: `npx tsx bench/import.ts ${options}`,
      qemuImg: summary(qemuImg, peerSeconds),
      size1: summary(
        rounds.map((round) => round.single),
        peerSeconds,
      ),
      size3: summary(
        rounds.map((round) => round.replicated),
        peerSeconds,
      ),
    };
    process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  } finally {
    cluster.remove();
  }
}

main();
