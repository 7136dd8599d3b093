// kill -9 of a client in the middle of verbs on images, again and again, on a real cluster. Then
// everything is removed by the verbs, and nothing is left.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ClusterClient, Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { cairn, cairnJson } from "./support.js";

const root = path.join(fileURLToPath(import.meta.url), "../../..");
const folder = mkdtempSync(path.join(root, ".test-kills-"));
const dir = path.join(folder, "cluster");
let port = 0;

beforeAll(async () => {
  const up = ["up", "--osds", "3", "--osd-size", "4G"];
  const { monitor } = await cairnJson<{ monitor: { port: number } }>(dir, ...up);
  port = monitor.port;
});

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

interface Victim {
  child: ChildProcess;
  verbs: string[];
  ended: Promise<number | null>;
}

function start(seed: number): Victim {
  const script = path.join(root, "test/integration/image-verbs.ts");
  const args = ["--import", "tsx", script, String(port), String(seed)];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  const verbs: string[] = [];
  child.stdout?.on("data", (chunk: Buffer) => verbs.push(...chunk.toString().trim().split("\n")));
  const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
  return { child, verbs, ended };
}

/** Tries until the locks and watches of the killed have run out. */
async function persist(run: () => Promise<unknown>): Promise<void> {
  await expect.poll(() => run().then(() => "done", String), { timeout: 60_000 }).toBe("done");
}

async function removeAll(images: Images): Promise<void> {
  for (const [name] of await images.groups.list()) {
    await persist(() => images.groups.remove(name));
  }
  for (const { id } of await images.trash.list()) {
    await images.trash.restore(id, `trash-${id}`);
  }
  for (const { name, parent } of await images.list()) {
    if (parent !== undefined) await persist(() => images.clones.flatten(name));
  }
  for (const { name } of await images.list()) {
    for (const snapshot of await images.snapshots.list(name)) {
      if (snapshot.protected) await images.snapshots.protect(name, snapshot.name, false);
    }
    await persist(() => images.snapshots.purge(name));
  }
  // Once more: a snapshot of a clone may have kept one of its parent until now.
  for (const { name } of await images.list()) await persist(() => images.snapshots.purge(name));
  for (const { name } of await images.list()) await persist(() => images.remove(name));
}

it("leaves nothing half made", { timeout: 400_000 }, async () => {
  let verbs = 0;
  for (let round = 1; round <= 6; round += 1) {
    const victim = start(round * 7919);
    await expect.poll(() => victim.verbs.length, { timeout: 60_000 }).toBeGreaterThan(10);
    await new Promise((resolve) => setTimeout(resolve, 1000 + round * 137));
    expect(victim.child.exitCode, victim.verbs.join(" ")).toBeNull();
    victim.child.kill("SIGKILL");
    await victim.ended;
    verbs += victim.verbs.length;
  }
  expect(verbs).toBeGreaterThan(60);
  const cluster = await ClusterClient.connect({ monitor: { host: "127.0.0.1", port } });
  try {
    // By this clock what the killed were making is long left over.
    const wallMs = () => systemClock.wallMs() + 600_000;
    const clock = { ...systemClock, wallMs };
    const images = new Images(cluster, "rbd", { clock, random: systemRandom });
    await removeAll(images);
    await images.create("last", 512);
    await images.remove("last");
    await images.groups.create("last");
    await images.groups.remove("last");
    const step = { code: "omapList" as const, key: "", value: new Uint8Array(), length: 100 };
    const { omap } = await cluster.io.operate(images.poolId, "rbd_directory", [step]);
    expect(omap.map(([key]) => key)).toEqual([]);
  } finally {
    await cluster.close();
  }
});
