// Each flag of the map on a cluster of real processes: while it is set, what it forbids does not
// happen although there is every reason to; when it is unset, that happens at once.
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { ClusterStatus, OsdRow, PgRow } from "../../proto/commands.js";
import { cairn, cairnJson, callNoOsdSlow, daemonPid, SteadyWriter, spawnCairn } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-flags-"));
const dir = path.join(folder, "cluster");
/** the OSD that all this happens to */
const osd = 3;
const timeout = 60_000;
/** Far longer than it takes without the flag. */
const heldMs = 4000;
const raw = path.join(folder, "quiet.raw");
/** A client's: whatever the flag, its writes go on. */
let writer: SteadyWriter;
let process3: ChildProcess | undefined;

beforeAll(async () => {
  writeFileSync(raw, Buffer.alloc(32 << 20, "x"));
  await cairnJson(dir, "up", "--osds", "4", "--osd-size", "2G");
  await callNoOsdSlow(dir);
  await cairnJson(dir, "create", "rbd/load", "--size", "64M");
  writer = await SteadyWriter.start(dir, "rbd/load", 2);
});

afterAll(async () => {
  await writer.stop();
  process3?.kill("SIGKILL");
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

const setFlag = (flag: string) => cairnJson(dir, "osd", "set", flag);
const unsetFlag = (flag: string) => cairnJson(dir, "osd", "unset", flag);
const rows = () => cairnJson<PgRow[]>(dir, "pg", "ls");
const row = async () => (await cairnJson<OsdRow[]>(dir, "osd", "ls"))[osd];
const isUp = async () => (await row())?.up;
const isIn = async () => (await row())?.in;
const isClean = async () => {
  const { byState, total } = (await cairnJson<ClusterStatus>(dir, "status")).pgs;
  return byState["active+clean"] === total;
};

/** Holds under the flag for a while, and ceases to when the flag goes. */
async function heldBy<T>(flag: string, look: () => Promise<T>, held: T, free: T): Promise<void> {
  await sleep(heldMs);
  const seen = await look();
  const { writes } = writer;
  await unsetFlag(flag);
  expect(seen).toEqual(held);
  await expect.poll(look, { timeout }).toEqual(free);
  await expect.poll(() => writer.writes, { timeout }).toBeGreaterThan(writes);
}

/** Of the process that runs now: the cluster's own at first, later one that a test has started. */
async function stop(): Promise<void> {
  if (process3 === undefined) {
    process.kill(daemonPid(dir, `osd.${osd}`), "SIGTERM");
  } else {
    const exit = once(process3, "exit");
    process3.kill("SIGTERM");
    await exit;
  }
  await expect.poll(isUp, { timeout }).toBe(false);
}

function start(): void {
  process3 = spawnCairn(dir, "osd", "--id", String(osd));
}

async function restart(): Promise<void> {
  await stop();
  start();
  await expect.poll(isUp, { timeout }).toBe(true);
}

it("nodown: an OSD that does not answer stays up", async () => {
  await setFlag("nodown");
  const pid = daemonPid(dir, `osd.${osd}`);
  process.kill(pid, "SIGSTOP");
  try {
    await heldBy("nodown", isUp, true, false);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  // Wrongly, as it finds: it is back by itself.
  await expect.poll(isUp, { timeout }).toBe(true);
  await expect.poll(isClean, { timeout }).toBe(true);
});

it("noup: an OSD that starts stays down", async () => {
  await stop();
  await setFlag("noup");
  start();
  await heldBy("noup", isUp, false, true);
});

it("norecover: what an OSD has missed stays missing", async () => {
  await expect.poll(isClean, { timeout }).toBe(true);
  await stop();
  // Nobody waits for these: an object that a client writes to is recovered all the same.
  await cairnJson(dir, "import", raw, "rbd/quiet");
  await setFlag("norecover");
  start();
  await expect.poll(isUp, { timeout }).toBe(true);
  await heldBy("norecover", isClean, false, true);
});

it("noout: an OSD that is long down stays in; noin: it stays out when it is back", async () => {
  await cairnJson(dir, "config", "set", "mon.down_out_interval_ms", "1000");
  await setFlag("noout");
  await stop();
  await heldBy("noout", isIn, true, false);
  await setFlag("noin");
  start();
  await expect.poll(isUp, { timeout }).toBe(true);
  expect(await isIn()).toBe(false);
  await unsetFlag("noin");
  // The time is set to what is not reached by a restart.
  await cairnJson(dir, "config", "set", "mon.down_out_interval_ms", "");
  await restart();
  expect(await isIn()).toBe(true);
});

// PGs with more entries than a log keeps: what a new copy of them needs is a backfill. The copies
// of young PGs are made from the log, which neither flag holds back.
it("norebalance: PGs that have all their copies stay where they are", async () => {
  await cairnJson(dir, "pool", "create", "old", "--pg-num", "4");
  await cairnJson(dir, "create", "old/disk", "--size", "16M", "--object-size", "512K");
  const writes = ["--io-type", "write", "--io-total", "64M", "--io-threads", "32"];
  await cairnJson(dir, "bench", "old/disk", ...writes, "--time", "100s");
  await cairnJson(dir, "osd", "out", String(osd));
  await expect.poll(isClean, { timeout }).toBe(true);
  await setFlag("norebalance");
  await cairnJson(dir, "osd", "in", String(osd));
  await heldBy("norebalance", isClean, false, true);
});

it("nobackfill: no copy is made anew as a whole", async () => {
  await setFlag("nobackfill");
  await cairnJson(dir, "osd", "out", String(osd));
  await heldBy("nobackfill", isClean, false, true);
});

/** The PGs whose last scrub, light or deep, began after that time. */
const scrubbedSince = async (key: "lastMs" | "lastDeepMs", sinceMs: number) =>
  (await rows()).filter(({ scrub }) => (scrub?.[key] ?? 0) > sinceMs).length;

it.each([
  ["noscrub", "osd.scrub_interval", "lastMs"],
  ["nodeep-scrub", "osd.deep_scrub_interval", "lastDeepMs"],
] as const)("%s: no such scrub begins by schedule", async (flag, setting, key) => {
  await setFlag(flag);
  await sleep(1000);
  const sinceMs = Date.now();
  // Half a second: all PGs are overdue.
  await cairnJson(dir, "config", "set", setting, "0.00014");
  await heldBy(flag, async () => (await scrubbedSince(key, sinceMs)) > 0, false, true);
  await cairnJson(dir, "config", "set", setting, "");
});
