// A pool gets more PGs while clients write to it and OSDs are killed: nothing of what was there is
// lost or changed, who lost the lock stays locked out, and all ends clean and spread.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PgRow } from "../../proto/commands.js";
import { compareStores } from "./offline-stores.js";
import { cairn, cairnJson, daemonPid, program, SteadyWriter } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-split-"));
const dir = path.join(folder, "cluster");
const raw = path.join(folder, "disk.raw");
const pool = "grow";
const image = `${pool}/disk`;
/** Objects of 256 KiB: some in each of 64 PGs. */
const imageBytes = 64 << 20;
const objectSize = "256K";
const osdIds = [0, 1, 2, 3];
const cleanLimitMs = 60_000;

let clusterId = "";
let writer: SteadyWriter;
let oldHolder: Holder;

/** A bench that has the lock of an image until it is told of the loss. */
class Holder {
  readonly ended: Promise<number | null>;
  stderr = "";
  private readonly child: ChildProcess;

  constructor(spec: string) {
    const args = ["bench", spec, "--io-type", "write", "--time", "10m"];
    this.child = spawn(process.execPath, [program, ...args], {
      env: { ...process.env, CAIRN_DIR: dir },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.stderr += chunk;
    });
    this.ended = new Promise((resolve) => this.child.on("exit", resolve));
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}

beforeAll(async () => {
  writeFileSync(raw, randomBytes(imageBytes));
  const size = ["--osds", String(osdIds.length), "--osd-size", "4G"];
  clusterId = (await cairnJson<{ clusterId: string }>(dir, "up", ...size)).clusterId;
  // On a busy machine an OSD is slow at times, and reported so.
  await cairnJson(dir, "config", "set", "mon.slow_osd_latency_ms", "60000");
  await cairnJson(dir, "pool", "create", pool, "--size", "3", "--pg-num", "8");
  await cairnJson(dir, "import", raw, image, "--object-size", objectSize);
  for (const name of ["load", "locked"]) {
    const sizes = ["--size", "16M", "--object-size", objectSize];
    await cairnJson(dir, "create", `${pool}/${name}`, ...sizes);
  }
});

afterAll(async () => {
  oldHolder?.signal("SIGKILL");
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

const hashOf = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");

async function exported(spec: string): Promise<string> {
  const file = path.join(folder, "exported.raw");
  rmSync(file, { force: true });
  const { code, stderr } = await cairn(dir, "export", spec, file, "--no-progress");
  if (code !== 0) throw new Error(`export of ${spec}: ${stderr}`);
  return hashOf(file);
}

const setting = async (name: string) =>
  (await cairn(dir, "pool", "get", pool, name)).stdout.trimEnd();

/** Raises pg_num, kills an OSD as soon as that is in the map, and starts it again. */
async function splitUnderKill(pgNum: number, victim: number): Promise<void> {
  const pid = daemonPid(dir, `osd.${victim}`);
  await cairnJson(dir, "pool", "set", pool, "pg_num", String(pgNum));
  process.kill(pid, "SIGKILL");
  expect(await exported(image)).toBe(hashOf(raw));
  await sleep(2000);
  await cairnJson(dir, "up");
}

/** CRUSH places as many PGs as there are, and all of them are clean. */
async function untilSpread(pgNum: number): Promise<void> {
  const states = async () => {
    const pgs = await cairnJson<PgRow[]>(dir, "pg", "ls", "--pool", pool);
    return pgs.map(({ state }) => state);
  };
  const timeout = { timeout: cleanLimitMs, interval: 500 };
  await expect.poll(() => setting("pgp_num"), timeout).toBe(String(pgNum));
  await expect.poll(states, timeout).toEqual(new Array(pgNum).fill("active+clean"));
}

describe("a pool that gets more PGs under writes", () => {
  it("goes from 8 to 16 and on to 64, each time with an OSD that is killed meanwhile", async () => {
    expect(await exported(image)).toBe(hashOf(raw));
    writer = await SteadyWriter.start(dir, `${pool}/load`, 8);
    oldHolder = new Holder(`${pool}/locked`);
    const holder = async () =>
      (await cairnJson<{ holder?: object }>(dir, "status", `${pool}/locked`)).holder;
    await expect.poll(holder).toBeDefined();
    await splitUnderKill(16, 1);
    await untilSpread(16);
    oldHolder.signal("SIGSTOP");
    await splitUnderKill(64, 2);
    await untilSpread(64);
    const before = writer.writes;
    await expect.poll(() => writer.writes).toBeGreaterThan(before + 100);
    await writer.stop();
    expect(await exported(image)).toBe(hashOf(raw));
  });

  it("refuses what a holder of a lock sends who was frozen before and has lost it", async () => {
    const all = ["--io-type", "write", "--io-size", "1M", "--io-pattern", "seq"];
    await cairnJson(dir, "bench", `${pool}/locked`, ...all, "--io-total", "16M");
    const taken = await exported(`${pool}/locked`);
    oldHolder.signal("SIGCONT");
    expect(await oldHolder.ended).toBe(1);
    expect(oldHolder.stderr).toMatch(/lock/);
    expect(await exported(`${pool}/locked`)).toBe(taken);
  });

  it("can't be given fewer, and is told why", async () => {
    for (const name of ["pg_num", "pgp_num"]) {
      const refused = await cairn(dir, "pool", "set", pool, name, "32");
      expect(refused.code).toBe(2);
      expect(refused.stderr).toMatch(/PGs cannot be merged|pgp_num can only be raised/);
      expect(await setting(name)).toBe("64");
    }
    const odd = await cairn(dir, "pool", "set", pool, "pg_num", "65");
    expect(odd).toMatchObject({ code: 2, stderr: expect.stringContaining("power of two") });
  });

  it("has nothing that a deep scrub finds, and each object in its PG on three OSDs", async () => {
    const { pgs } = await cairnJson<{ pgs: { errors: number }[] }>(
      dir,
      ...["pg", "deep-scrub", "--pool", pool, "--wait"],
    );
    expect(pgs).toHaveLength(64);
    expect(pgs.filter(({ errors }) => errors > 0)).toEqual([]);
    const rows = await cairnJson<PgRow[]>(dir, "pg", "ls", "--pool", pool);
    await cairnJson(dir, "down");
    for (const { acting } of rows) expect(acting).toHaveLength(3);
    const { names, comparedBytes, differences } = await compareStores(dir, clusterId, rows);
    expect(differences).toEqual([]);
    expect(comparedBytes).toBeGreaterThanOrEqual(imageBytes);
    const placed = new Set<string>();
    for (const name of [...names.values()].flat()) {
      if (name.startsWith(".")) continue;
      expect(placed.has(name), `${name} is in two PGs`).toBe(false);
      placed.add(name);
    }
    expect(placed.size).toBeGreaterThan(imageBytes / (256 << 10));
  });
});
