// What an operator does and sees on a cluster of real processes: the flag pause, a full OSD, one
// whose disk is slow, one whose disk fails.
import { type ChildProcess, execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { FaultRequest } from "../../osd/fault-control.js";
import type { ClusterStatus, Health, OsdRow, PgRow } from "../../proto/commands.js";
import { cairn, cairnJson, callNoOsdSlow, daemonPid, SteadyWriter, spawnCairn } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-operator-"));
const dir = path.join(folder, "cluster");
const raw = path.join(folder, "disk.raw");

beforeAll(async () => {
  writeFileSync(raw, randomBytes(8 << 20));
  const { code, stderr } = await cairn(dir, "up", "--osds", "3", "--osd-size", "2G");
  if (code !== 0) throw new Error(stderr);
  await callNoOsdSlow(dir);
}, 120_000);

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

/** Exit code 1 is what health has when it is HEALTH_ERR. */
async function health(): Promise<Health> {
  return JSON.parse((await cairn(dir, "health", "--format", "json")).stdout) as Health;
}

async function until(what: string, isSo: () => Promise<boolean>, limitMs = 60_000): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await isSo())) {
    if (performance.now() > endMs) {
      const { checks } = await health();
      throw new Error(`${what}: not within ${limitMs} ms; health: ${JSON.stringify(checks)}`);
    }
    await sleep(500);
  }
}

const has = async (name: string) => (await health()).checks.some((check) => check.name === name);
const detailOf = async (name: string) =>
  (await health()).checks.find((check) => check.name === name)?.detail ?? [];

it("pause holds all I/O until it is unset, and is shown", async () => {
  expect((await cairn(dir, "osd", "set", "pause")).stdout).toMatch(/^pause is set/);
  expect((await cairnJson<ClusterStatus>(dir, "status")).flags).toEqual(["pause"]);
  expect(await detailOf("OSDMAP_FLAGS")).toEqual(["pause is set"]);
  let finished = false;
  const creating = cairn(dir, "create", "rbd/waits", "--size", "8M").finally(() => {
    finished = true;
  });
  await sleep(3000);
  expect(finished).toBe(false);
  await cairnJson(dir, "osd", "unset", "pause");
  expect((await creating).code).toBe(0);
  expect((await cairn(dir, "osd", "set", "nosuch")).code).toBe(2);
}, 60_000);

it("full OSDs refuse writes, not removals, and take them again when there is room", async () => {
  expect((await cairn(dir, "import", raw, "rbd/big")).code).toBe(0);
  await cairnJson(dir, "config", "set", "mon.full_ratio", "0.001");
  await until("OSD_FULL", () => has("OSD_FULL"));
  await until("refusal", async () =>
    /full/.test((await cairn(dir, "import", raw, "rbd/no")).stderr),
  );
  expect((await cairn(dir, "rm", "rbd/big")).code).toBe(0);
  await cairnJson(dir, "config", "set", "mon.full_ratio", "");
  await until("HEALTH_OK", async () => (await health()).status === "HEALTH_OK");
  expect((await cairn(dir, "import", raw, "rbd/yes")).code).toBe(0);
}, 180_000);

it("an OSD whose disk fails ends, is named, and stays away until it is started", async () => {
  const pid = daemonPid(dir, "osd.2");
  // From now on every write of the process fails, wherever it goes.
  execFileSync("prlimit", ["--pid", String(pid), "--fsize=4096"]);
  const write = cairn(dir, "import", raw, "rbd/after");
  await until("OSD_FAILED", () => has("OSD_FAILED"));
  expect(await detailOf("OSD_FAILED")).toEqual([expect.stringMatching(/^osd\.2 .*io_error/)]);
  expect((await write).code).toBe(0);
  await sleep(3000);
  const rows = await cairnJson<OsdRow[]>(dir, "osd", "ls");
  expect(rows[2]).toMatchObject({ up: false, failed: { code: "io_error" } });
  expect((await cairn(dir, "up")).code).toBe(0);
  expect(await has("OSD_FAILED")).toBe(false);
}, 180_000);

/** Tells the disk of an OSD that runs with --fault-disk how to behave. */
async function tellDisk(socketPath: string, faults: FaultRequest): Promise<void> {
  const socket = createConnection(socketPath);
  const answer = new Promise<string>((resolve, reject) => {
    socket.once("data", (chunk: Buffer) => resolve(chunk.toString()));
    socket.once("error", reject);
  });
  socket.write(`${JSON.stringify(faults)}\n`);
  expect(JSON.parse(await answer)).toHaveProperty("counters");
  socket.end();
}

/** Ends a daemon of the cluster and runs its OSD in the foreground, on a disk that obeys. */
async function onFaultDisk(id: number, socket: string): Promise<ChildProcess> {
  // The test before may have ended it.
  expect((await cairn(dir, "up")).code).toBe(0);
  process.kill(daemonPid(dir, `osd.${id}`), "SIGTERM");
  const isUp = async () => (await cairnJson<OsdRow[]>(dir, "osd", "ls"))[id]?.up === true;
  await until(`osd.${id} down`, async () => !(await isUp()));
  const child = spawnCairn(dir, "osd", "--id", String(id), "--fault-disk", socket);
  await until(`osd.${id} up`, isUp);
  return child;
}

it.each([
  ["+50 ms for each operation of the disk", { delayMs: 50 }],
  ["50 IOPS", { operationsPerSecond: 50 }],
])(
  "a slow OSD (%s) is named with its figure, and leads no PG any more",
  async (_, faults) => {
    await cairnJson(dir, "config", "set", "mon.slow_osd_latency_ms", "");
    await cairn(dir, "rm", "rbd/load");
    expect((await cairn(dir, "create", "rbd/load", "--size", "64M")).code).toBe(0);
    const socket = path.join(folder, "disk.sock");
    const child = await onFaultDisk(1, socket);
    const writer = await SteadyWriter.start(dir, "rbd/load", 8);
    try {
      await tellDisk(socket, { holdWrites: false, ...faults });
      await until("OSD_SLOW", () => has("OSD_SLOW"));
      const [line] = await detailOf("OSD_SLOW");
      expect(line).toMatch(
        /^osd\.1 \(host .*\): a commit takes [0-9.]+ ms, on its peers [0-9.]+ ms/,
      );
      const pgs = () => cairnJson<PgRow[]>(dir, "pg", "ls");
      const leadsNone = async () => (await pgs()).every(({ primary }) => primary !== 1);
      await until("osd.1 to lead no PG", leadsNone);
      expect((await pgs()).every(({ acting }) => acting.includes(1))).toBe(true);
    } finally {
      await tellDisk(socket, { holdWrites: false });
      await writer.stop();
      const exit = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await exit;
    }
  },
  240_000,
);

it.each([
  ["has no room all of a sudden", { full: true }, "no_space"],
  ["fails its flushes", { failFlushes: true }, "io_error"],
])(
  "an OSD whose disk %s ends, once and for all, and is named",
  async (_, faults, code) => {
    const socket = path.join(folder, "disk.sock");
    const child = await onFaultDisk(1, socket);
    const exit = new Promise((resolve) => child.once("exit", resolve));
    await tellDisk(socket, { holdWrites: false, ...faults });
    // Every copy of it is on two other disks when that is through.
    const out = `rbd/${code}`;
    expect((await cairn(dir, "import", raw, out)).code).toBe(0);
    await until("OSD_FAILED", () => has("OSD_FAILED"));
    expect(await detailOf("OSD_FAILED")).toEqual([
      expect.stringMatching(new RegExp(`^osd\\.1 .*: ${code}: `)),
    ]);
    expect(await exit).toBe(1);
    expect((await cairn(dir, "up")).code).toBe(0);
    const read = path.join(folder, `${code}.raw`);
    expect((await cairn(dir, "export", out, read)).code).toBe(0);
    expect(readFileSync(read).equals(readFileSync(raw))).toBe(true);
  },
  120_000,
);

it("an OSD whose disk cannot be read ends, is named, and its data is read elsewhere", async () => {
  const many = path.join(folder, "many.raw");
  writeFileSync(many, randomBytes(32 << 20));
  expect((await cairn(dir, "import", many, "rbd/many", "--object-size", "256K")).code).toBe(0);
  const socket = path.join(folder, "disk.sock");
  const child = await onFaultDisk(1, socket);
  const exit = new Promise((resolve) => child.once("exit", resolve));
  const states = async () => (await cairnJson<ClusterStatus>(dir, "status")).pgs.byState;
  await until("clean", async () => Object.keys(await states()).join() === "active+clean");
  await tellDisk(socket, { holdWrites: false, failReads: true });
  const out = path.join(folder, "out.raw");
  expect((await cairn(dir, "export", "rbd/many", out)).code).toBe(0);
  expect(readFileSync(out).equals(readFileSync(many))).toBe(true);
  await until("OSD_FAILED", () => has("OSD_FAILED"));
  expect(await detailOf("OSD_FAILED")).toEqual([
    expect.stringMatching(/^osd\.1 .*io_error.*16 reads of the disk failed/),
  ]);
  expect(await exit).toBe(1);
  expect((await cairn(dir, "up")).code).toBe(0);
}, 240_000);
