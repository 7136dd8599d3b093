// CPU clocks of processes: what `cairn bench` tells the CPU time of an operation from.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { native } from "./index.js";

test("counts less than a tick of the scheduler, and what ended threads used", async () => {
  const before = native.processCpuNs(process.pid) ?? Number.NaN;
  const after = native.processCpuNs(process.pid) ?? Number.NaN;
  expect(after).toBeGreaterThan(before);
  const spinMs = 100;
  const source = `const end = performance.now() + ${spinMs}; while (performance.now() < end);`;
  const worker = new Worker(source, { eval: true });
  await once(worker, "exit");
  const ended = native.processCpuNs(process.pid) ?? Number.NaN;
  // Other processes may have had the CPU most of that time; starting the thread costs some, too.
  expect(ended - after).toBeGreaterThan(1e6);
});

test("reads another process's clock while it lives", async () => {
  const child = spawn("sh", ["-c", "while :; do :; done"], { stdio: "ignore" });
  await once(child, "spawn");
  const pid = child.pid ?? 0;
  const before = native.processCpuNs(pid) ?? Number.NaN;
  await expect
    .poll(() => native.processCpuNs(pid), { timeout: 10_000 })
    .toBeGreaterThan(before + 1e6);
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(native.processCpuNs(pid)).toBeUndefined();
  expect(native.processCpuNs(2 ** 22 + 1)).toBeUndefined();
});
