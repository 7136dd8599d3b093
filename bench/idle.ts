// What a process uses while nobody asks it for anything.
import { readFileSync } from "node:fs";
import { native } from "../native/index.js";

export interface Idle {
  cpuPercent: number;
  rssMib: number;
}

/** Over ten seconds from now; the memory at their end. */
export async function idleOf(pid: number): Promise<Idle> {
  const seconds = 10;
  const before = native.processCpuNs(pid) ?? 0;
  await new Promise((done) => setTimeout(done, seconds * 1000));
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const rssKib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
  const cpuPercent = ((native.processCpuNs(pid) ?? 0) - before) / seconds / 1e7;
  return {
    cpuPercent: Number(cpuPercent.toFixed(2)),
    rssMib: Number((rssKib / 1024).toFixed(1)),
  };
}
