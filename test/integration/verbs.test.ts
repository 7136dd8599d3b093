// Verbs whose work is done by more than one process: advisory locks, options for all pools, purges
// by schedule; `top` and `trace` of images that are used here; the bounds of `bench`.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BenchReport } from "../../cli/bench-report.js";
import {
  type ActivityRow,
  ClusterClient,
  type DeviceTrace,
  Image,
  type ImageInfo,
  Images,
  openLocked,
  type TraceSummary,
} from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import type { LogEntry } from "../../proto/commands.js";
import { cairn, cairnJson, daemonPid, startCairn } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-verbs-"));
const dir = path.join(folder, "cluster");
const ports = { clock: systemClock, random: systemRandom };
const mebibyte = 2 ** 20;
const block = 4096;
let client: ClusterClient;

const ok = async (line: string) => {
  const outcome = await cairn(dir, ...line.split(" "));
  if (outcome.code !== 0) throw new Error(`cairn ${line}: ${outcome.code}\n${outcome.stderr}`);
  return outcome.stdout.trimEnd();
};
const json = <T>(line: string): Promise<T> => cairnJson<T>(dir, ...line.split(" "));

beforeAll(async () => {
  await cairnJson(dir, "up", "--osds", "3", "--osd-size", "4G");
  const { control } = JSON.parse(readFileSync(path.join(dir, "mon", "addresses.json"), "utf8"));
  client = await ClusterClient.connect({ monitor: control, log: () => undefined });
  await ok("create rbd/disk1 --size 64M");
});

afterAll(async () => {
  await client?.close();
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

/** Runs `work` again and again until `during` has ended. */
async function whileWorking<T>(work: () => Promise<unknown>, during: Promise<T>): Promise<T> {
  let over = false;
  const worker = (async () => {
    while (!over) await work();
  })();
  try {
    return await during;
  } finally {
    over = true;
    await worker;
  }
}

describe("trash purge schedule, set", () => {
  it("is listed", async () => {
    for (const name of ["old", "young"]) await ok(`create rbd/${name} --size 16M`);
    await ok("trash mv rbd/old");
    await ok("trash mv rbd/young --expires-at 1d");
    await ok("trash purge schedule add --pool rbd 1m");
    await ok("trash purge schedule add 1d 03:30+02:00");
    expect(await ok("trash purge schedule ls -R")).toMatch(
      /- +- +every 1d starting at 01:30:00 UTC/,
    );
    process.kill(daemonPid(dir, "mon"), "SIGKILL");
    await ok("up");
  });
});

describe("lock add", () => {
  it("excludes other locks until it is taken away, and nothing else", async () => {
    const lock = await json<{ id: string; client: string }>("lock add disk1 backup");
    const refused = await cairn(dir, "lock", "add", "rbd/disk1", "mine", "--shared", "readers");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`cairn lock rm POOL/IMAGE backup client.${lock.client}`);
    await ok("bench disk1 --io-total 64K --io-size 4K");
    expect(await ok("lock ls disk1")).toMatch(new RegExp(`client.${lock.client} +backup +excl`));
    await ok(`lock rm disk1 backup client.${lock.client}`);
    await ok("lock add disk1 a --shared readers");
    await ok("lock add disk1 b --shared readers");
    expect(await json<unknown[]>("lock ls disk1")).toMatchObject([
      { kind: "shared", id: "a", tag: "readers" },
      { kind: "shared", id: "b", tag: "readers" },
    ]);
    for (const id of ["a", "b"]) await ok(`lock rm disk1 ${id}`);
    expect(await json("lock ls disk1")).toEqual([]);
    const missing = await cairn(dir, "lock", "rm", "disk1", "a");
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining("cairn lock ls") });
    expect((await cairn(dir, "lock", "add", "disk1")).code).toBe(2);
  });
});

describe("config global", () => {
  it("holds for images without values of their own", async () => {
    await ok("config global set global rbd_qos_write_iops_limit 20");
    expect(await ok("config global get global rbd_qos_write_iops_limit")).toBe("20");
    expect(await ok("config image ls disk1")).toMatch(/rbd_qos_write_iops_limit +20 +global/);
    const limited = await json<BenchReport>("bench disk1 --io-total 100K --io-threads 1");
    expect(limited.elapsedMs).toBeGreaterThan(800);
    await ok("config pool set rbd rbd_qos_write_iops_limit 0");
    const free = () => json<BenchReport>("bench disk1 --io-total 100K --io-threads 1");
    // Less than with the limit it takes on a busy machine, too, if not each time.
    await expect
      .poll(async () => (await free()).elapsedMs, { timeout: 60_000 })
      .toBeLessThan(Math.min(800, limited.elapsedMs));
    await ok("config pool rm rbd rbd_qos_write_iops_limit");
    await ok("config global rm global rbd_qos_write_iops_limit");
    expect(await json("config global ls global")).toEqual({});
    const gone = await cairn(dir, "config", "global", "get", "client", "rbd_qos_iops_limit");
    expect(gone).toMatchObject({ code: 1, stderr: expect.stringContaining("config global ls") });
    for (const bad of ["osd.1 rbd_qos_iops_limit 5", "global rbd_cache 5", "global"]) {
      expect((await cairn(dir, "config", "global", "set", ...bad.split(" "))).code).toBe(2);
    }
  });
});

describe("a limit that is set while an image is in use", () => {
  it.each([
    ["its pool", "config pool set rbd", "config pool rm rbd"],
    ["all pools", "config global set global", "config global rm global"],
  ])("holds there within seconds, as it does for all images of %s", async (_of, set, unset) => {
    const option = "rbd_qos_write_iops_limit";
    const used = await openLocked(new Images(client, "rbd", ports), "disk1");
    await used.takeLock();
    /** Of ten writes at once, how many had to wait. */
    const throttled = async () => {
      const before = await client.io.deviceStats(used.handle);
      const bytes = new Uint8Array(block);
      const writes = Array.from({ length: 10 }, () => client.io.writeDevice(used.handle, 0, bytes));
      await Promise.all(writes);
      const after = await client.io.deviceStats(used.handle);
      return (after.counters.throttled ?? 0) - (before.counters.throttled ?? 0);
    };
    expect(await throttled()).toBe(0);
    await ok(`${set} ${option} 20`);
    await expect.poll(throttled, { timeout: 10_000 }).toBeGreaterThan(5);
    await ok(`${unset} ${option}`);
    await expect.poll(throttled, { timeout: 10_000 }).toBe(0);
    await used.close();
  });
});

describe("top", () => {
  it("shows who writes and who reads, with rates that fit", async () => {
    const image = await Image.open(client, ports, "rbd/disk1");
    const reader = await Image.open(client, ports, "rbd/disk1", { readOnly: true });
    const work = async () => {
      await image.write(0, new Uint8Array(block).fill(7));
      await reader.read(0, 2 * block);
    };
    const shown = await whileWorking(
      work,
      ok("top rbd --count 1 --interval 1s --sort write-iops --format json"),
    );
    const { images } = JSON.parse(shown) as { images: ActivityRow[] };
    expect(images.map(({ name }) => name)).toEqual(["rbd/disk1"]);
    const [row] = images;
    expect(row?.writeIops).toBeGreaterThan(1);
    expect(row?.readIops).toBeGreaterThan(1);
    expect((row?.writeBytesPerS ?? 0) / (row?.writeIops ?? 1)).toBeCloseTo(block, 0);
    expect((row?.readBytesPerS ?? 0) / (row?.readIops ?? 1)).toBeCloseTo(2 * block, 0);
    expect(row?.writeLatencyMs).toBeGreaterThan(0);
    await image.close();
    // The one that only reads is shown, too.
    const rest = await whileWorking(
      () => reader.read(0, block),
      ok("perf image iostat rbd --iterations 1 --interval 500ms --sort-by read-ops"),
    );
    expect(rest).toMatch(/rbd\/disk1 +[1-9]\d*\/s +0\/s/);
    await reader.close();
    const nobody = await ok("top --count 1 --interval 200ms");
    expect(nobody).toContain("no image is in use");
    expect((await cairn(dir, "top", "--interval", "1ms")).code).toBe(2);
    expect((await cairn(dir, "top", "nopool", "--count", "1")).code).toBe(1);
  });
});

describe("trace", () => {
  const stages = ["queue", "client", "network", "primaryQueue", "primary", "disk", "replicas"];
  const sumOf = (summary: TraceSummary) =>
    stages.reduce((sum, stage) => sum + summary[stage as keyof TraceSummary].meanNs, 0);

  it("tells where the time went, of each kind of request", async () => {
    const image = await Image.open(client, ports, "rbd/disk1");
    const work = async () => {
      await image.write(0, new Uint8Array(block).fill(1));
      await image.read(0, block);
      await image.discard(mebibyte, block);
      await image.flush();
    };
    const { traces } = await whileWorking(
      work,
      json<{ traces: DeviceTrace[] }>("trace rbd/disk1 --seconds 2"),
    );
    expect(traces).toHaveLength(1);
    const [{ reads, writes, discards, flushes }] = traces as [DeviceTrace];
    for (const summary of [reads, writes, discards]) {
      expect(summary?.total.count).toBeGreaterThan(5);
      const whole = summary?.total.meanNs ?? 0;
      expect(Math.abs(sumOf(summary as TraceSummary) - whole)).toBeLessThan(whole / 1000 + 10);
      expect(summary?.network.meanNs).toBeGreaterThan(0);
    }
    expect(writes.disk.meanNs).toBeGreaterThan(0);
    expect(writes.replica.count).toBe(writes.total.count);
    expect(flushes?.total.count).toBeGreaterThan(5);
    // One of three: with an even number the same ones of the four would be traced each time.
    const text = await whileWorking(work, ok("trace rbd/disk1 --seconds 1 --every 3"));
    for (const words of [/\d+ discards traced/, /slowest replica/, /total .* 100\.0%/]) {
      expect(text).toMatch(words);
    }
    await image.close();
    const nobody = await cairn(dir, "trace", "rbd/disk1", "--seconds", "1");
    expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining("cairn bench") });
  });
});

describe("bench", () => {
  it("ends by its bytes, reads its share, and has all figures", async () => {
    const report = await json<BenchReport>(
      "bench disk1 --io-type rw --rw-mix-read 100 --io-total 1M --io-size 8K --io-pattern full-seq",
    );
    expect(report.operations).toBe(128);
    const { iops, mbPerS, longestGapMs, latencyUs, cpuUsPerOp } = report;
    for (const figure of [iops, mbPerS, longestGapMs, ...Object.values(latencyUs)]) {
      expect(figure).toBeGreaterThan(0);
    }
    expect(Object.keys(latencyUs)).toEqual(["mean", "p50", "p95", "p99", "p999", "max"]);
    expect(Object.keys(cpuUsPerOp)).toEqual(expect.arrayContaining(["total", "client", "osds"]));
    expect(cpuUsPerOp.total).toBeGreaterThan(0);
    for (const bad of ["--rw-mix-read 101", "--io-total 0", "--io-type what", "--io-pattern x"]) {
      expect((await cairn(dir, "bench", "disk1", ...bad.split(" "))).code).toBe(2);
    }
  });
});

describe("import and export", () => {
  it("take the name from the file, and the file's from the image", async () => {
    const file = path.join(folder, "from-file");
    writeFileSync(file, Buffer.alloc(mebibyte, 5));
    expect((await json<ImageInfo>(`import ${file} --no-progress`)).name).toBe("from-file");
    await ok("pool create fast --size 2 --pg-num 8");
    const named = await json<ImageInfo>(`import --path ${file} --dest-pool fast --dest b`);
    expect(named).toMatchObject({ pool: "fast", name: "b" });
    const out = path.join(folder, "out");
    await ok(`export rbd/from-file --path ${out} --no-progress`);
    expect(readFileSync(out).equals(readFileSync(file))).toBe(true);
    const nameless = await cairn(dir, "import", "-");
    expect(nameless).toMatchObject({ code: 2, stderr: expect.stringContaining("POOL/IMAGE") });
  });
});

describe("an image that a program has open", () => {
  it("is found under its new name, and after a migration in its new place", async () => {
    await ok("create rbd/moving --size 16M");
    const image = await Image.open(client, ports, "rbd/moving");
    await image.write(0, new Uint8Array(block).fill(3));
    await ok("mv rbd/moving rbd/renamed");
    expect((await image.info()).name).toBe("renamed");
    await ok("migration prepare rbd/renamed fast/moved");
    await expect.poll(async () => (await image.info()).pool, { timeout: 20_000 }).toBe("fast");
    await ok("migration execute fast/moved --no-progress");
    await image.createSnapshot("s");
    expect((await image.snapshots()).map(({ name }) => name)).toEqual(["s"]);
    expect((await image.read(0, 1))[0]).toBe(3);
    await image.close();
    const { child, ended } = await startCairn(dir, "watch", "fast/moved");
    expect((await cairn(dir, "rm", "fast/moved")).code).toBe(1);
    child.kill("SIGINT");
    expect(await ended).toBe(0);
  });
});

// Behind the others, which take as long as the next whole minute.
describe("trash purge schedule, due", () => {
  it("has the cluster purge what has expired, also after the monitor was killed", async () => {
    const left = () => json<{ name: string }[]>("trash ls rbd");
    await expect
      .poll(async () => (await left()).map(({ name }) => name), {
        timeout: 110_000,
        interval: 1000,
      })
      .toEqual(["young"]);
    const status = () =>
      json<{ pool: string; last: object | null }[]>("trash purge schedule status");
    await expect
      .poll(async () => (await status())[0], { timeout: 30_000 })
      .toMatchObject({
        pool: "rbd",
        last: { removed: expect.any(Number), endedAt: expect.any(Number) },
      });
    const lines = await json<{ entries?: LogEntry[] } | LogEntry[]>("log last 100");
    expect(JSON.stringify(lines)).toContain(
      "trash of rbd purged by its schedule: removed 1 images",
    );
    await ok("trash purge schedule rm --pool rbd 1m");
    const again = await cairn(dir, "trash", "purge", "schedule", "rm", "--pool", "rbd", "1m");
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("schedule ls") });
    for (const bad of ["1s", "1d 25:00", "1h --namespace ns", ""]) {
      const words = bad.split(" ").filter((word) => word !== "");
      expect((await cairn(dir, "trash", "purge", "schedule", "add", ...words)).code).toBe(2);
    }
    expect((await cairn(dir, "trash", "purge", "schedule", "add", "-p", "no", "1h")).code).toBe(1);
  });
});
