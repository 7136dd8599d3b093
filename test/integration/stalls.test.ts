// How long clients wait when an OSD dies or freezes under 4 KiB random writes, 32 at a time. What a
// busy machine costs by itself is measured before and allowed on top.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { BenchReport } from "../../cli/bench-report.js";
import type { ClusterStatus } from "../../proto/commands.js";
import { cairn, cairnJson, callNoOsdSlow, daemonPid } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-stalls-"));
const dir = path.join(folder, "cluster");
const timeout = 60_000;

beforeAll(async () => {
  await cairnJson(dir, "up", "--osds", "3", "--osd-size", "2G");
  await callNoOsdSlow(dir);
  await cairnJson(dir, "create", "rbd/load", "--size", "128M");
});

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

function load(seconds: number): Promise<BenchReport> {
  const shape = ["--io-type", "write", "--io-size", "4K", "--io-threads", "32"];
  return cairnJson<BenchReport>(dir, "bench", "rbd/load", ...shape, "--time", `${seconds}s`);
}

async function isClean(): Promise<boolean> {
  const { osds, pgs } = await cairnJson<ClusterStatus>(dir, "status");
  return osds.up === 3 && pgs.byState["active+clean"] === pgs.total;
}

it.each([
  ["SIGKILL", 1000],
  ["SIGSTOP", 3000],
] as const)("%s of an OSD holds clients up for less than %d ms", async (signal, limitMs) => {
  await expect.poll(isClean, { timeout }).toBe(true);
  // Objects that are there already: what is measured is the OSD, not the making of them.
  const quiet = await load(4);
  const pid = daemonPid(dir, "osd.1");
  const running = load(9);
  await sleep(3000);
  process.kill(pid, signal);
  const { longestGapMs, series } = await running;
  const { osds } = await cairnJson<ClusterStatus>(dir, "status");
  if (signal === "SIGSTOP") process.kill(pid, "SIGCONT");
  await cairn(dir, "up");
  const text = `${signal}: longest gap ${longestGapMs} ms, quiet ${quiet.longestGapMs} ms`;
  process.stdout.write(`${text}\n`);
  expect(longestGapMs, text).toBeLessThan(limitMs + quiet.longestGapMs);
  // It has met the OSD, and I/O went on behind it.
  expect(osds.up).toBe(2);
  expect(Math.max(...series.slice(-15))).toBeGreaterThan(0);
});
