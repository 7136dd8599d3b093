// Bits flipped on the disk of a real OSD: a deep scrub finds exactly those, a read is served from
// another copy and mends its own, repair mends the rest.
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CommandResult, Health, PgRow } from "../../proto/commands.js";
import { compareStores } from "./offline-stores.js";
import { flipBits, placesOf } from "./stored-bytes.js";
import { cairn, cairnJson, callNoOsdSlow, daemonPid } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-scrub-"));
const dir = path.join(folder, "cluster");
const raw = path.join(folder, "disk.raw");
const copy = path.join(folder, "copy.raw");
const blockBytes = 4096;
const objectBytes = 4 << 20;
const objectCount = 16;
const victim = 1;

interface Outcome {
  pgid: string;
  objects: number;
  errors: number;
  repaired: number;
}
type Inconsistent = CommandResult<"pg list inconsistent">;

let clusterId = "";
/** by object number: the block that was damaged */
const damaged = new Map<number, number>();

beforeAll(async () => {
  writeFileSync(raw, randomBytes(objectCount * objectBytes));
  // All of a store is searched for the blocks that are to be damaged.
  const size = ["--osds", "3", "--osd-size", "1G"];
  clusterId = (await cairnJson<{ clusterId: string }>(dir, "up", ...size)).clusterId;
  await callNoOsdSlow(dir);
  await cairnJson(dir, "import", raw, "rbd/disk");
});

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

async function stopped(osd: number): Promise<void> {
  const pid = daemonPid(dir, `osd.${osd}`);
  process.kill(pid, "SIGTERM");
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await sleep(100);
  }
}

/** Flips one bit in one block of each object, on one OSD's disk. */
async function damage(osd: number): Promise<void> {
  const image = readFileSync(raw);
  for (let object = 0; object < objectCount; object += 1) {
    damaged.set(object, (object * 67 + 5) % (objectBytes / blockBytes));
  }
  const blocks = [...damaged].map(([object, block]) => {
    const from = object * objectBytes + block * blockBytes;
    return image.subarray(from, from + blockBytes);
  });
  const store = path.join(dir, `osd.${osd}`, "store");
  const file = await open(store, "r");
  const places = await placesOf(file, blocks).finally(() => file.close());
  expect(Math.min(...places)).toBeGreaterThan(0);
  await flipBits(
    store,
    places.map((place, index) => place + 100 + index),
  );
}

async function scrub(mode: string): Promise<{ objects: number; errors: number; repaired: number }> {
  const { pgs } = await cairnJson<{ pgs: Outcome[] }>(dir, "pg", mode, "--pool", "rbd", "--wait");
  expect(pgs).toHaveLength(32);
  const sum = (of: (outcome: Outcome) => number) => pgs.reduce((all, pg) => all + of(pg), 0);
  return {
    objects: sum(({ objects }) => objects),
    errors: sum(({ errors }) => errors),
    repaired: sum(({ repaired }) => repaired),
  };
}

async function checkNames(): Promise<string[]> {
  // Its exit code says how bad it is.
  const { stdout } = await cairn(dir, "health", "--format", "json");
  return (JSON.parse(stdout) as Health).checks.map(({ name }) => name);
}

const hashOf = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");

describe("damage on the disk of one OSD", () => {
  let led: Inconsistent[] = [];

  it("is none at first", async () => {
    const found = await scrub("deep-scrub");
    expect(found).toMatchObject({ errors: 0, repaired: 0 });
    expect(found.objects).toBeGreaterThanOrEqual(objectCount);
  });

  it("is found by a deep scrub, all of it and nothing else", async () => {
    await stopped(victim);
    await damage(victim);
    await cairnJson(dir, "up");
    expect(await scrub("scrub")).toMatchObject({ errors: 0 });
    expect(await scrub("deep-scrub")).toMatchObject({ errors: objectCount, repaired: 0 });
    expect(await checkNames()).toEqual(["PG_DAMAGED", "OSD_SCRUB_ERRORS"]);

    const rows = await cairnJson<PgRow[]>(dir, "pg", "ls", "--state", "inconsistent");
    const lists = await Promise.all(
      rows.map(({ pgid }) => cairnJson<Inconsistent>(dir, "pg", "list-inconsistent", pgid)),
    );
    const blocks = lists.flatMap(({ objects }) =>
      objects.flatMap(({ bad }) =>
        bad.flatMap(({ osd, problem, badBlocks }) => {
          expect({ osd, problem }).toEqual({ osd: victim, problem: "none" });
          return badBlocks;
        }),
      ),
    );
    const byNumber = (a: number, b: number) => a - b;
    expect(blocks.sort(byNumber)).toEqual([...damaged.values()].sort(byNumber));
    const leads = new Set(rows.filter((row) => row.primary === victim).map(({ pgid }) => pgid));
    led = lists.filter(({ pgid }) => leads.has(pgid));
  });

  it("is served from another copy, and mended where a read meets it", async () => {
    expect((await cairn(dir, "export", "rbd/disk", copy)).code).toBe(0);
    expect(hashOf(copy)).toBe(hashOf(raw));
    const repairs = () =>
      readFileSync(path.join(dir, "log", `osd.${victim}.log`), "utf8")
        .split("\n")
        .filter((line) => line.includes("read repair: bad copy replaced"));
    const objects = led.reduce((sum, list) => sum + list.objects.length, 0);
    expect(objects).toBeGreaterThan(0);
    // A read does not wait for the repair.
    await expect.poll(repairs).toHaveLength(objects);
  });

  it("is mended by a repair, and gone then", async () => {
    const byReads = led.reduce((sum, { errors }) => sum + errors, 0);
    const left = objectCount - byReads;
    expect(await scrub("repair")).toMatchObject({ errors: left, repaired: left });
    expect(await scrub("deep-scrub")).toMatchObject({ errors: 0, repaired: 0 });
    expect(await checkNames()).toEqual([]);
    console.log(
      `injected ${objectCount}, detected ${objectCount}, repaired by reads ${byReads}, ` +
        `by repair ${left}, false positives 0`,
    );
  });

  it("leaves equal copies on all OSDs, also after a restart that knows of the scrubs", async () => {
    const pgs = await cairnJson<PgRow[]>(dir, "pg", "ls");
    await cairnJson(dir, "down");
    const { comparedBytes, differences } = await compareStores(dir, clusterId, pgs);
    expect(differences).toEqual([]);
    expect(comparedBytes).toBeGreaterThanOrEqual(objectCount * objectBytes);
    await cairnJson(dir, "up");
    const rows = await cairnJson<PgRow[]>(dir, "pg", "ls", "--pool", "rbd");
    expect(rows.filter(({ scrub }) => (scrub?.lastDeepMs ?? 0) > 0)).toHaveLength(32);
  });

  it("would not be called equal with a bit flipped in one of them", async () => {
    const pgs = await cairnJson<PgRow[]>(dir, "pg", "ls");
    await cairnJson(dir, "down");
    await damage(victim);
    const { differences } = await compareStores(dir, clusterId, pgs);
    expect(differences).toHaveLength(objectCount);
    expect(differences.every((text) => text.endsWith("1 bad blocks on osd.1"))).toBe(true);
    await cairnJson(dir, "up");
  });

  it("is asked for in vain when there is no such PG", async () => {
    const none = await cairn(dir, "pg", "repair", "99.0");
    expect(none.code).not.toBe(0);
    expect(none.stderr).toContain("there is no PG 99.0");
    const both = await cairn(dir, "pg", "scrub");
    expect(both.stderr).toContain("name either a PG or a pool");
  });
});
