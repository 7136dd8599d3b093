// An OSD with room for the block maps that are in use asks its disk for none of them; one with too
// little room does.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, expect, it } from "vitest";
import { cairn, cairnJson, metricsOf } from "./support.js";

const variable = "CAIRN_METADATA_CACHE";
const folder = mkdtempSync(path.join(tmpdir(), "cairn-metadata-cache-"));
const dir = path.join(folder, "cluster");
const valueBefore = process.env[variable];

afterEach(async () => {
  await cairn(dir, "down", "--purge");
  if (valueBefore === undefined) delete process.env[variable];
  else process.env[variable] = valueBefore;
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A counter of the OSD, once it has reported more than so many writes. */
async function counted(name: string, writes: number): Promise<number> {
  const value = (text: string, of: string) =>
    Number(new RegExp(`^${of}\\{[^}]*\\} (\\d+)$`, "m").exec(text)?.[1] ?? Number.NaN);
  let text = "";
  await expect
    .poll(
      async () => {
        text = await metricsOf(dir);
        return value(text, "cairn_store_transactions_total");
      },
      { timeout: 60_000, interval: 250 },
    )
    .toBeGreaterThan(writes);
  return value(text, name);
}

/** How often the OSD asked its disk while an image of 768 MiB that is full was overwritten. */
async function loadsUnder(cache: string): Promise<number> {
  process.env[variable] = cache;
  await cairnJson(dir, "up", "--osds", "1", "--osd-size", "4G");
  await cairnJson(dir, "create", "rbd/a", "--size", "768M");
  const inOrder = ["--io-type", "write", "--io-size", "1M", "--io-pattern", "seq"];
  await cairnJson(dir, "bench", "rbd/a", ...inOrder, "--io-total", "768M");
  const loads = "cairn_store_metadata_loads_total";
  const before = await counted(loads, 767);
  const atRandom = ["--io-type", "write", "--io-size", "4K", "--io-pattern", "rand"];
  // Several checkpoints: what waits for the first one is in memory in any case.
  await cairnJson(dir, "bench", "rbd/a", ...atRandom, "--io-total", "256M");
  return (await counted(loads, 65_000)) - before;
}

it("asks for what does not fit", async () => {
  expect(await loadsUnder("1M")).toBeGreaterThan(200);
});

it("asks for nothing where all fits", async () => {
  expect(await loadsUnder("32M")).toBeLessThan(50);
});
