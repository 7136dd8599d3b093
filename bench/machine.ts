// What a figure depends on: the machine, and the bare costs of a flush and of a loopback round
// trip, measured in the same run as what is compared with them.
import { execFileSync } from "node:child_process";
import { closeSync, fdatasyncSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

export function machineFacts(): string {
  const cpu = cpus()[0]?.model ?? "unknown CPU";
  const memoryGib = (totalmem() / 2 ** 30).toFixed(0);
  const system = `Linux ${release()}, Node ${process.version}`;
  return `${cpu}, ${cpus().length} CPUs, ${memoryGib} GiB, ${system}`;
}

/** Median time of a 4 KiB overwrite and an fdatasync, in microseconds, in a folder. */
export function measureFlushUs(folder: string): { writeUs: number; fdatasyncUs: number } {
  const path = join(folder, "flush-probe");
  const fd = openSync(path, "w+", 0o600);
  const block = Buffer.alloc(4096, 1);
  const writes: number[] = [];
  const flushes: number[] = [];
  try {
    for (let i = 0; i < 64; i++) writeSync(fd, block, 0, block.length, i * block.length);
    fsyncSync(fd);
    for (let i = 0; i < 500; i++) {
      const start = process.hrtime.bigint();
      writeSync(fd, block, 0, block.length, (i % 64) * block.length);
      const written = process.hrtime.bigint();
      fdatasyncSync(fd);
      writes.push(Number(written - start) / 1000);
      flushes.push(Number(process.hrtime.bigint() - written) / 1000);
    }
  } finally {
    closeSync(fd);
    rmSync(path, { force: true });
  }
  return { writeUs: median(writes), fdatasyncUs: median(flushes) };
}

/** p50 of a bare loopback round trip by build/native/bench_net, in microseconds. */
export function measureLoopbackUs(root: string): number {
  const text = execFileSync(join(root, "build/native/bench_net"), ["1"], { encoding: "utf8" });
  const line = text.split("\n").find((l) => /bare/.test(l) && /QD ?1\b/.test(l));
  const found = line === undefined ? null : /p50[ =:]+([0-9.]+)/.exec(line);
  if (found === null) throw new Error(`bench_net printed no bare round trip:\n${text}`);
  return Number(found[1]);
}
