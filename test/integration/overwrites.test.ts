// Small overwrites move to new places of an OSD's store, unless the OSD is told that they stay;
// either way they are read back, also by OSDs that are started the other way.
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, expect, it } from "vitest";
import { cairn, cairnJson, metricsOf } from "./support.js";

const variable = "CAIRN_OVERWRITES";
const reported = { timeout: 60_000, interval: 250 };
const folder = mkdtempSync(path.join(tmpdir(), "cairn-overwrites-"));
const dir = path.join(folder, "cluster");
const valueBefore = process.env[variable];

afterEach(async () => {
  await cairn(dir, "down");
  if (valueBefore === undefined) delete process.env[variable];
  else process.env[variable] = valueBefore;
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A counter of both OSDs since their start; undefined: not reported by both yet. */
async function counted(name: string): Promise<number | undefined> {
  const lines = (await metricsOf(dir)).split("\n").filter((line) => line.startsWith(`${name}{`));
  const sum = lines.reduce((total, line) => total + Number(line.split(" ").at(-1)), 0);
  return lines.length === 2 ? sum : undefined;
}

async function overwriteAtRandom(seed: number): Promise<void> {
  const load = ["--io-type", "write", "--io-size", "4K", "--io-pattern", "rand"];
  await cairnJson(dir, "bench", "rbd/a", ...load, "--io-total", "4M", "--seed", String(seed));
}

async function digest(): Promise<string> {
  const file = path.join(folder, "exported");
  await cairnJson(dir, "export", "rbd/a", file);
  const found = createHash("sha256").update(readFileSync(file)).digest("hex");
  rmSync(file);
  return found;
}

it("overwrites move, or stay where they were, as the OSD is told", async () => {
  process.env[variable] = "move";
  await cairnJson(dir, "up", "--osds", "2", "--osd-size", "2G");
  await cairnJson(dir, "create", "rbd/a", "--size", "16M");
  const fill = ["--io-type", "write", "--io-size", "1M", "--io-pattern", "seq"];
  await cairnJson(dir, "bench", "rbd/a", ...fill, "--io-total", "16M");
  await overwriteAtRandom(1);
  await expect
    .poll(() => counted("cairn_store_redirected_blocks_total"), reported)
    .toBeGreaterThan(1000);
  const moved = await digest();
  await cairn(dir, "down");

  process.env[variable] = "stay";
  await cairnJson(dir, "up");
  expect(await digest()).toBe(moved);
  await overwriteAtRandom(2);
  await expect.poll(() => counted("cairn_writes_total"), reported).toBeGreaterThan(1000);
  expect(await counted("cairn_store_redirected_blocks_total")).toBe(0);
  const stayed = await digest();
  expect(stayed).not.toBe(moved);
  await cairn(dir, "down");

  process.env[variable] = "move";
  await cairnJson(dir, "up");
  expect(await digest()).toBe(stayed);
});

it("another word is refused", async () => {
  const { code, stderr } = await cairn(dir, "osd", "--id", "0", "--overwrites", "sometimes");
  expect(code).toBe(2);
  expect(stderr).toMatch(/--overwrites.*move.*stay/s);
});
