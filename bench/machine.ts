// What a figure depends on: the machine, and the bare costs of a flush and of a loopback round
// trip, measured in the same run as what is compared with them.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
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

/**
 * Mean time of a durable 4 KiB overwrite (O_DIRECT and O_DSYNC, by dd), in microseconds: by one
 * writer, or by several at once, each in its own file, as the OSDs of a machine are.
 */
export function measureDurableWriteUs(folder: string, writers = 1): number {
  const count = 500;
  const paths = Array.from({ length: writers }, (_, i) => join(folder, `flush-probe-${i}`));
  const write = (...flags: string[]): number => {
    const started = process.hrtime.bigint();
    const dd = `dd if=/dev/zero bs=4k count=${count} status=none ${flags.join(" ")}`;
    execFileSync("sh", ["-c", `for path; do ${dd} of="$path" & done; wait`, "sh", ...paths]);
    return Number(process.hrtime.bigint() - started) / 1000 / count;
  };
  try {
    write("conv=fsync");
    return write("oflag=direct,dsync", "conv=notrunc");
  } finally {
    for (const path of paths) rmSync(path, { force: true });
  }
}

/**
 * Mean time of a read that depends on the one before, at random in 32 MiB, in nanoseconds, with
 * the walks through page tables that belong to it: it tells how much of the processor's last cache
 * a virtual machine has at the moment.
 */
export function measureMemoryNs(): number {
  const lineWords = 16; // 64 bytes
  const lines = (32 << 20) / 64;
  const next = new Uint32Array(lines * lineWords);
  // Sattolo's shuffle: one cycle through all lines, by a generator that is the same each time.
  const order = Uint32Array.from({ length: lines }, (_, i) => i);
  let state = 1;
  for (let i = lines - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % i;
    const kept = order[i] as number;
    order[i] = order[j] as number;
    order[j] = kept;
  }
  for (let i = 0; i < lines; i++) next[i * lineWords] = (order[i] as number) * lineWords;
  let at = 0;
  const walk = (rounds: number): number => {
    const started = process.hrtime.bigint();
    for (let i = 0; i < rounds * lines; i++) at = next[at] as number;
    if (at !== 0) throw new Error("the walk did not come back to its beginning");
    return Number(process.hrtime.bigint() - started) / (rounds * lines);
  };
  walk(1); // compiled by now
  return walk(3);
}

/** p50 of a bare loopback round trip by build/native/bench_net, in microseconds. */
export function measureLoopbackUs(root: string): number {
  const text = execFileSync(join(root, "build/native/bench_net"), ["1"], { encoding: "utf8" });
  const line = text.split("\n").find((l) => /bare/.test(l) && /QD ?1\b/.test(l));
  const found = line === undefined ? null : /p50[ =:]+([0-9.]+)/.exec(line);
  if (found === null) throw new Error(`bench_net printed no bare round trip:\n${text}`);
  return Number(found[1]);
}
