// A monitor that has lost its store: it is refused, made anew from the OSDs, and everything that
// was written is there again.
import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { ClusterStatus, OsdRow, PgRow } from "../../proto/commands.js";
import { firstEpochOf } from "../../proto/generation.js";
import { cairn, cairnJson, callNoOsdSlow, daemonPid, SteadyWriter } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-rebuild-"));
const dir = path.join(folder, "cluster");
const osds = [0, 1, 2];
const sha256 = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");

beforeAll(async () => {
  const { code, stderr } = await cairn(dir, "up", "--osds", "3", "--osd-size", "2G");
  if (code !== 0) throw new Error(stderr);
  await callNoOsdSlow(dir);
}, 120_000);

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

/** Everything at once, as by a power cut. */
async function killAll(): Promise<void> {
  const pids = ["mon", ...osds.map((id) => `osd.${id}`)].map((name) => daemonPid(dir, name));
  for (const pid of pids) process.kill(pid, "SIGKILL");
  const gone = (pid: number) => !existsSync(`/proc/${pid}`);
  while (!pids.every(gone)) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** Flips a byte in each file of LevelDB that holds values. */
function damageStore(): void {
  const store = path.join(dir, "mon", "store");
  for (const name of readdirSync(store).filter((file) => /\.(log|ldb)$/.test(file))) {
    const file = path.join(store, name);
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff;
    writeFileSync(file, bytes);
  }
}

interface Rebuilt {
  epoch: number;
  fromEpoch: number;
  notRecovered: string[];
}

it("refuses the damaged store, rebuilds it in a new generation, and has all data", async () => {
  const written = path.join(folder, "in.raw");
  writeFileSync(written, randomBytes(24 << 20));
  expect((await cairn(dir, "import", written, "rbd/disk")).code).toBe(0);
  await cairnJson(dir, "config", "set", "osd.op_complaint_ms", "20000");
  await cairnJson(dir, "osd", "primary-affinity", "1", "0.5");
  expect((await cairn(dir, "create", "rbd/load", "--size", "16M")).code).toBe(0);
  const writer = await SteadyWriter.start(dir, "rbd/load", 8);
  const before = await cairnJson<ClusterStatus>(dir, "status");
  const behind = async () =>
    (await cairnJson<PgRow[]>(dir, "pg", "ls")).filter(({ epoch }) => epoch < before.epoch);
  await expect.poll(behind, { timeout: 60_000 }).toEqual([]);
  // The OSDs store a map behind what follows from it.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await killAll();

  damageStore();
  const refused = await cairn(dir, "monitor", "--dir", dir);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/cairn monitor rebuild/);
  const mon = path.join(dir, "mon");
  const osdDirs = osds.map((id) => path.join(dir, `osd.${id}`));
  const given = osdDirs.flatMap((osdDir) => ["--osd-dir", osdDir]);
  expect((await cairn(dir, "monitor", "rebuild", "--data", mon, ...given)).stderr).toMatch(
    /already holds a monitor's map store/,
  );
  renameSync(mon, path.join(dir, "mon.damaged"));
  const few = await cairn(dir, "monitor", "rebuild", "--data", mon, ...given.slice(2));
  expect(few.stderr).toMatch(/osd.0 ran when/);
  expect(existsSync(mon)).toBe(false);

  const mapFile = path.join(folder, "osd0.map");
  await cairnJson(dir, "osd", "export-map", "--data", osdDirs[0] ?? "", "--out", mapFile);
  const rebuild = ["monitor", "rebuild", "--data", mon, "--map-file", mapFile, ...given.slice(2)];
  // One that ran may be left out; what is lost by that is listed.
  const partial = path.join(folder, "partial");
  const without = ["monitor", "rebuild", "--data", partial, "--without", "0", ...given.slice(2)];
  expect((await cairn(dir, ...without)).stdout).toMatch(
    /not recovered:\n +settings, flags, pools, .*\n +what only osd\.0 knew of: it was left out/,
  );
  const made = await cairnJson<Rebuilt>(dir, ...rebuild);
  expect(made).toMatchObject({ epoch: firstEpochOf(1), fromEpoch: before.epoch });
  expect(made.notRecovered).toEqual([
    expect.stringMatching(`^settings, flags, pools, .* changed after epoch ${before.epoch}$`),
  ]);

  expect((await cairn(dir, "up")).code).toBe(0);
  const health = async () => (await cairn(dir, "health")).stdout;
  await expect.poll(health, { timeout: 60_000 }).toMatch(/HEALTH_OK/);
  const after = await cairnJson<ClusterStatus>(dir, "status");
  expect(after.clusterId).toBe(before.clusterId);
  expect(after.epoch).toBeGreaterThan(firstEpochOf(1));
  expect(after.pgs.byState).toEqual({ "active+clean": after.pgs.total });
  expect(await cairnJson(dir, "config", "ls")).toMatchObject({ "osd.op_complaint_ms": "20000" });
  const rows = await cairnJson<OsdRow[]>(dir, "osd", "ls");
  expect(rows.map(({ primaryAffinity }) => primaryAffinity)).toEqual([undefined, 0.5, undefined]);
  const read = path.join(folder, "out.raw");
  expect((await cairn(dir, "export", "rbd/disk", read)).code).toBe(0);
  expect(sha256(read)).toBe(sha256(written));
  // The client that was writing all the time has gone over to the new generation.
  const { writes } = writer;
  await expect.poll(() => writer.writes, { timeout: 30_000 }).toBeGreaterThan(writes + 8);
  await writer.stop();
  // It takes new data, and new maps.
  expect((await cairn(dir, "import", written, "rbd/more")).code).toBe(0);
  expect((await cairn(dir, "osd", "set", "noout")).code).toBe(0);
}, 240_000);
