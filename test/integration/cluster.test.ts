// A cluster of real processes through bin/cairn: images, a kill -9 under load and the recovery
// after it, and everything that a user can do wrong.
import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BenchReport } from "../../cli/bench-report.js";
import { ClusterClient, type ImageInfo, Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import type { ClusterStatus, OsdRow, PgRow } from "../../proto/commands.js";
import { compareStores } from "./offline-stores.js";
import { cairn, cairnJson, callNoOsdSlow, daemonPid, startCairn } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-cluster-"));
const dir = path.join(folder, "cluster");
const raw = path.join(folder, "disk.raw");
const mebibyte = 2 ** 20;
const healthy = { status: "HEALTH_OK", checks: [] };
/** PGs that have just been made peer. */
const healthyWithin = { timeout: 60_000 };

let clusterId = "";
let monitorPort = 0;

function hashOf(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

/** 48 MiB with data at the start, in the middle and at an odd end. */
function makeRaw(): void {
  writeFileSync(raw, randomBytes(5 * mebibyte));
  truncateSync(raw, 48 * mebibyte);
  const fd = openSync(raw, "r+");
  writeSync(fd, randomBytes(mebibyte + 512), 0, mebibyte + 512, 20 * mebibyte + 1024);
  writeSync(fd, randomBytes(512), 0, 512, 48 * mebibyte - 512);
}

beforeAll(async () => {
  makeRaw();
  const up = await cairnJson<{ clusterId: string; monitor: { port: number } }>(
    dir,
    "up",
    "--osds",
    "3",
    "--osd-size",
    "4G",
  );
  clusterId = up.clusterId;
  monitorPort = up.monitor.port;
  await callNoOsdSlow(dir);
});

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

describe("a local cluster", () => {
  it("is healthy, and closed to others", async () => {
    await expect.poll(() => cairnJson(dir, "health"), healthyWithin).toEqual(healthy);
    const status = await cairnJson<ClusterStatus>(dir, "status");
    expect(status.osds).toEqual({ total: 3, up: 3, in: 3 });
    expect(status.pgs).toEqual({ total: 32, byState: { "active+clean": 32 } });
    const modes = ["", "mon", "osd.0", "log", "run"].map((name) => statSync(path.join(dir, name)));
    expect(modes.map(({ mode }) => mode & 0o777)).toEqual(Array(5).fill(0o700));
    const { osds } = { osds: await cairnJson<OsdRow[]>(dir, "osd", "ls") };
    expect(osds.map(({ address }) => address.host)).toEqual(Array(3).fill("127.0.0.1"));
  });

  it("stays as it is when it is started again", async () => {
    expect(await cairnJson(dir, "up")).toMatchObject({ created: false, started: [], clusterId });
  });

  it("prints for people what it prints as JSON", async () => {
    const shown: [word: string, ...verb: string[]][] = [
      ["HEALTH_OK", "status"],
      ["HEALTH_OK", "health"],
      ["osd.2", "osd", "tree"],
      ["127", "osd", "ls"],
      ["1.1f", "pg", "ls"],
      ["rbd", "pool", "ls"],
    ];
    for (const [word, ...verb] of shown) {
      const output = async () => (await cairn(dir, ...verb)).stdout;
      await expect.poll(output, healthyWithin).toContain(word);
    }
  });

  it("takes settings that reach the daemons' logs", async () => {
    await cairnJson(dir, "config", "set", "osd.1.log_level", "debug");
    expect((await cairn(dir, "config", "get", "osd.1.log_level")).stdout).toBe("debug\n");
    const unknown = await cairn(dir, "config", "set", "osd.colour", "red");
    expect(unknown).toMatchObject({ code: 2, stdout: "" });
    expect(unknown.stderr).toContain('there is no setting "osd.colour"');
    await cairnJson(dir, "config", "set", "osd.1.log_level", "");
  });

  it("makes and removes pools", async () => {
    await cairnJson(dir, "pool", "create", "small", "--size", "1", "--pg-num", "8");
    await cairnJson(dir, "create", "small/a", "--size", "1M");
    expect(await cairnJson<ImageInfo[]>(dir, "ls", "small")).toHaveLength(1);
    expect((await cairn(dir, "pool", "rm", "small")).code).toBe(2);
    await cairnJson(dir, "create", "rbd/there", "--size", "1M", "--data-pool", "small");
    const needed = await cairn(dir, "pool", "rm", "small", "small");
    expect(needed).toMatchObject({ code: 1, stderr: expect.stringContaining("rbd/there has its") });
    await cairnJson(dir, "pool", "rm", "small", "small", "--force");
    await cairnJson(dir, "rm", "rbd/there");
    expect((await cairn(dir, "ls", "small")).stderr).toContain('there is no pool "small"');
  });
});

describe("images", () => {
  it("are listed, resized and removed", async () => {
    await cairnJson(dir, "create", "rbd/a", "--size", "64M");
    expect(await cairnJson<ImageInfo>(dir, "info", "rbd/a")).toMatchObject({
      sizeBytes: 64 * mebibyte,
      objectCount: 16,
    });
    await cairnJson(dir, "resize", "rbd/a", "--size", "128M");
    expect((await cairn(dir, "resize", "rbd/a", "--size", "32M")).code).toBe(2);
    await cairnJson(dir, "resize", "rbd/a", "--size", "32M", "--allow-shrink");
    expect((await cairnJson<ImageInfo[]>(dir, "ls"))[0]).toMatchObject({
      sizeBytes: 32 * mebibyte,
    });
    await cairnJson(dir, "rm", "rbd/a");
    expect(await cairnJson(dir, "ls")).toEqual([]);
  });

  it("come out as they went in, from a file and through pipes", async () => {
    await cairnJson(dir, "import", raw, "rbd/disk");
    const out = path.join(folder, "out.raw");
    await cairnJson(dir, "export", "rbd/disk", out);
    expect(hashOf(out)).toBe(hashOf(raw));
    expect(statSync(out).blocks * 512).toBeLessThan(16 * mebibyte);
    rmSync(out);
    const piped = path.join(folder, "piped.raw");
    const program = `"${process.execPath}" bin/cairn`;
    execFileSync(
      "sh",
      [
        "-c",
        `cat ${raw} | ${program} import - rbd/piped && ${program} export rbd/piped - > ${piped}`,
      ],
      { env: { ...process.env, CAIRN_DIR: dir }, stdio: ["ignore", "ignore", "inherit"] },
    );
    expect(hashOf(piped)).toBe(hashOf(raw));
    rmSync(piped);
    await cairnJson(dir, "rm", "rbd/piped");
  });

  /** Entries of images of this name that are not there yet. */
  async function pendingOf(name: string): Promise<string[]> {
    const client = await ClusterClient.connect({
      monitor: { host: "127.0.0.1", port: monitorPort },
    });
    try {
      const images = new Images(client, "rbd", { clock: systemClock, random: systemRandom });
      const entries = await images.pending();
      return entries.filter((entry) => entry.name === name).map(({ id }) => id);
    } finally {
      await client.close();
    }
  }

  it("leave nothing when an import is stopped or killed", async () => {
    const big = path.join(folder, "big.raw");
    writeFileSync(big, Buffer.alloc(700 * mebibyte, "x"));
    const env = { ...process.env, CAIRN_DIR: dir };
    for (const signal of ["SIGINT", "SIGKILL"] as const) {
      const child = spawn(process.execPath, ["bin/cairn", "import", big, "rbd/stopped"], {
        env,
        stdio: "ignore",
      });
      // 700 MiB take longer than a look at what is pending.
      while ((await pendingOf("stopped")).length === 0) {
        expect(child.exitCode).toBeNull();
        await sleep(20);
      }
      child.kill(signal);
      const code = await new Promise((resolve) => child.on("exit", resolve));
      expect(code).toBe(signal === "SIGINT" ? 1 : null);
      const names = (await cairnJson<ImageInfo[]>(dir, "ls")).map(({ name }) => name);
      expect(names).toEqual(["disk"]);
      // What a killed one has left is cleared away when it has not been renewed for two minutes.
      expect(await pendingOf("stopped")).toHaveLength(signal === "SIGINT" ? 0 : 1);
    }
    rmSync(big);
  });
});

describe("exports", () => {
  it("serve until they are told to stop, at a socket that is the user's alone", async () => {
    const socket = path.join(folder, "a.sock");
    const attached = await startCairn(dir, "attach", "rbd/disk", "--vhost-user", socket);
    expect(attached.line).toBe(`attached rbd/disk at ${socket}\n`);
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    const second = await cairn(dir, "attach", "rbd/disk", "--vhost-user", socket);
    expect(second).toMatchObject({ code: 1, stdout: "" });
    expect(second.stderr).toContain(socket);
    attached.child.kill("SIGTERM");
    expect(await attached.ended).toBe(0);
    expect(existsSync(socket)).toBe(false);
  });

  it("need no cluster for a disk of zeros, and take over the socket of the dead", async () => {
    const socket = path.join(folder, "null.sock");
    const args = ["attach", "--null", "1G", "--vhost-user", socket, "--format", "json"];
    const killed = await startCairn(path.join(folder, "none"), ...args);
    expect(JSON.parse(killed.line)).toMatchObject({ attached: "null", sizeBytes: 2 ** 30 });
    killed.child.kill("SIGKILL");
    await killed.ended;
    expect(existsSync(socket)).toBe(true);
    const next = await startCairn(path.join(folder, "none"), ...args);
    next.child.kill("SIGINT");
    expect(await next.ended).toBe(0);
    expect(existsSync(socket)).toBe(false);
  });
});

describe("an OSD that is killed under load", () => {
  let bench: BenchReport;

  it("is taken out of the acting sets, and I/O goes on", async () => {
    await cairnJson(dir, "create", "rbd/load", "--size", "256M");
    const load = ["--io-type", "write", "--io-threads", "8", "--time", "8s"];
    const running = cairnJson<BenchReport>(dir, "bench", "rbd/load", ...load);
    await sleep(3000);
    process.kill(daemonPid(dir, "osd.1"), "SIGKILL");
    bench = await running;
    const status = await cairnJson<ClusterStatus>(dir, "status");
    process.stdout.write(
      `kill -9 under load: longest gap ${bench.longestGapMs} ms, ${bench.iops} IOPS, ` +
        `p99 ${bench.latencyUs.p99} us\n`,
    );
    expect(bench.operations).toBeGreaterThan(100);
    // The last two seconds of the run lie well behind the kill.
    expect(Math.max(...bench.series.slice(-20))).toBeGreaterThan(0);
    expect(bench.longestGapMs).toBeLessThan(5000);
    expect(status.osds).toEqual({ total: 3, up: 2, in: 3 });
    expect(status.health.status).toBe("HEALTH_WARN");
    const pgs = await cairnJson<PgRow[]>(dir, "pg", "ls", "--state", "degraded");
    expect(pgs.length).toBeGreaterThan(0);
    expect(pgs.every(({ acting }) => !acting.includes(1))).toBe(true);
  });

  it("catches up after its restart", async () => {
    expect(await cairnJson(dir, "up")).toMatchObject({ started: ["osd.1"] });
    const status = () => cairnJson<ClusterStatus>(dir, "status");
    expect((await status()).pgs.byState).toEqual({ "active+clean": 32 });
    await expect.poll(async () => (await status()).health, healthyWithin).toEqual(healthy);
  });

  it("has copies equal to the others', and the images are as they were", async () => {
    const pgs = await cairnJson<PgRow[]>(dir, "pg", "ls");
    expect(await cairnJson(dir, "down")).toMatchObject({ killed: [], purged: false });
    const { names, comparedBytes, differences } = await compareStores(dir, clusterId, pgs);
    expect(differences).toEqual([]);
    expect([...names.values()].flat().length).toBeGreaterThan(64);
    expect(comparedBytes).toBeGreaterThan(6 * mebibyte);
    await cairnJson(dir, "up");
    const out = path.join(folder, "after.raw");
    await cairnJson(dir, "export", "rbd/disk", out);
    expect(hashOf(out)).toBe(hashOf(raw));
  });
});

describe("bad input", () => {
  interface BadInput {
    what: string;
    args: string[];
    says: RegExp;
    code?: 1 | 2;
  }
  const file = (name: string) => path.join(folder, name);
  const bad: BadInput[] = [
    { what: "an image that exists", args: ["create", "rbd/disk", "--size", "1G"], says: /exists/ },
    {
      what: "an import to an image that exists",
      args: ["import", raw, "rbd/disk"],
      says: /image rbd\/disk exists/,
    },
    {
      what: "a size of 0",
      args: ["create", "rbd/zero", "--size", "0"],
      says: /0 bytes cannot be/,
      code: 2,
    },
    {
      what: "a size beyond capacity",
      args: ["create", "rbd/vast", "--size", "1T"],
      says: /beyond the capacity of the pool/,
    },
    {
      what: "a new size beyond capacity",
      args: ["resize", "rbd/disk", "--size", "1T"],
      says: /beyond the capacity/,
    },
    { what: "a truncated qcow2", args: ["import", file("cut.qcow2"), "rbd/x"], says: /beyond|cut/ },
    { what: "a qcow2 header alone", args: ["import", file("head.qcow2"), "rbd/x"], says: /head/ },
    {
      what: "another format",
      args: ["import", file("x.vmdk"), "rbd/x"],
      says: /it is a VMDK file/,
    },
    {
      what: "an empty file",
      args: ["import", file("empty"), "rbd/x"],
      says: /the file is empty/,
      code: 2,
    },
    {
      what: "a file that is not there",
      args: ["import", file("none"), "rbd/x"],
      says: /no such file/,
    },
    { what: "an image that is not there", args: ["info", "rbd/none"], says: /there is no image/ },
    { what: "a pool that is not there", args: ["ls", "none"], says: /there is no pool "none"/ },
    { what: "an OSD that is not there", args: ["osd", "out", "77"], says: /osd.77/ },
    {
      what: "an export over a file",
      args: ["export", "rbd/disk", raw],
      says: /disk.raw exists/,
    },
    {
      what: "an export into no folder",
      args: ["export", "rbd/disk", file("no/such/file")],
      says: /no such file|ENOENT/,
    },
  ];

  beforeAll(async () => {
    const whole = file("whole.qcow2");
    execFileSync("qemu-img", ["convert", "-O", "qcow2", raw, whole]);
    copyFileSync(whole, file("cut.qcow2"));
    truncateSync(file("cut.qcow2"), 2 * mebibyte);
    copyFileSync(whole, file("head.qcow2"));
    truncateSync(file("head.qcow2"), 64);
    writeFileSync(file("x.vmdk"), Buffer.concat([Buffer.from("KDMV"), Buffer.alloc(4096)]));
    writeFileSync(file("empty"), "");
  });

  it.each(bad)("$what: a clear error, and nothing is left", async ({ args, says, code = 1 }) => {
    const before = readdirSync(folder);
    const images = await cairnJson<ImageInfo[]>(dir, "ls");
    const result = await cairn(dir, ...args);
    expect(result.stderr).toMatch(says);
    expect(result.stderr).toMatch(/^cairn: /);
    expect(result).toMatchObject({ code, stdout: "" });
    expect(await cairnJson<ImageInfo[]>(dir, "ls")).toEqual(images);
    expect(readdirSync(folder)).toEqual(before);
  });

  it("a monitor that is not there, and one of another cluster", async () => {
    const none = await cairn(dir, "status", "--monitor", "127.0.0.1:1");
    expect(none).toMatchObject({ code: 1 });
    expect(none.stderr).toContain("no monitor answers at 127.0.0.1:1");
    const other = path.join(folder, "other");
    mkdirSync(other);
    const text = readFileSync(path.join(dir, "cluster.json"), "utf8");
    const otherId = "00000000-0000-4000-8000-00000000000f";
    writeFileSync(path.join(other, "cluster.json"), text.replace(clusterId, otherId));
    const wrong = await cairn(other, "status");
    expect(wrong).toMatchObject({ code: 1 });
    expect(wrong.stderr).toContain(`not of cluster ${otherId} but of ${clusterId}`);
  });
});

describe("daemons that cannot start", () => {
  const monitor = () => `127.0.0.1:${monitorPort}`;
  const data = path.join(folder, "osd.7");

  it("a busy data folder, a busy store, a busy port", async () => {
    const folderBusy = await cairn(dir, "osd", "--id", "0");
    expect(folderBusy.code).toBe(1);
    expect(folderBusy.stderr).toMatch(/osd.0 runs already, as process/);
    const own = path.join(dir, "osd.0");
    const storeBusy = await cairn(dir, "osd", "--id", "0", "--data", own, "--monitor", monitor());
    expect(storeBusy.code).toBe(1);
    expect(storeBusy.stderr).toMatch(/in use by another process/);
    const mon = path.join(folder, "mon2");
    const mapBusy = await cairn(dir, "monitor", "--data", path.join(dir, "mon"));
    expect(mapBusy.code).toBe(1);
    expect(mapBusy.stderr).toMatch(/another monitor is running/);
    await cairnJson(dir, "monitor", "mkfs", "--data", mon);
    const portBusy = await cairn(dir, "monitor", "--data", mon, "--listen", monitor());
    expect(portBusy.code).toBe(1);
    expect(portBusy.stderr).toContain(`${monitor()} (for the control protocol) is in use`);
  });

  it("a store of another OSD, of another cluster, and one that exists", async () => {
    const foreign = "00000000-0000-4000-8000-00000000000f";
    const mkfs = ["osd", "mkfs", "--id", "7", "--data", data, "--size", "2G"];
    await cairnJson(dir, ...mkfs, "--cluster-id", foreign);
    const run = ["--data", data, "--monitor", monitor()];
    const otherId = await cairn(dir, "osd", "--id", "8", ...run);
    expect(otherId.code).toBe(1);
    expect(otherId.stderr).toMatch(/is of osd.7, not osd.8/);
    const otherCluster = await cairn(dir, "osd", "--id", "7", ...run);
    expect(otherCluster.code).toBe(1);
    expect(otherCluster.stderr).toMatch(/cluster/);
    const again = await cairn(dir, ...mkfs, "--monitor", monitor());
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/exists already|holds an OSD already/);
    const swapped = path.join(folder, "osd.9");
    await cairnJson(
      dir,
      "osd",
      "mkfs",
      "--id",
      "9",
      "--data",
      swapped,
      "--size",
      "2G",
      "--monitor",
      monitor(),
    );
    copyFileSync(path.join(data, "store"), path.join(swapped, "store"));
    const otherStore = await cairn(
      dir,
      "osd",
      "--id",
      "9",
      "--data",
      swapped,
      "--monitor",
      monitor(),
    );
    expect(otherStore.code).toBe(1);
    expect(otherStore.stderr).toMatch(/cluster|osd\.7/);
    expect((await cairnJson<OsdRow[]>(dir, "osd", "ls")).map(({ id }) => id)).toEqual([0, 1, 2]);
  });

  it("a damaged superblock", async () => {
    const damaged = path.join(folder, "osd.11");
    const mkfs = ["osd", "mkfs", "--id", "11", "--data", damaged, "--size", "2G"];
    await cairnJson(dir, ...mkfs, "--monitor", monitor());
    const store = path.join(damaged, "store");
    const fd = openSync(store, "r+");
    const { size } = statSync(store);
    // Both copies: the first and the last 4 KiB. The magic at their start stays.
    for (const copy of [0, size - 4096]) writeSync(fd, randomBytes(1024), 0, 1024, copy + 64);
    const run = await cairn(dir, "osd", "--id", "11", "--data", damaged, "--monitor", monitor());
    expect(run.code).toBe(1);
    expect(run.stderr).toMatch(/superblock/);
  });
});

describe("frames that are none", () => {
  it("close their connection with one log line, and nothing else", async () => {
    const [osd] = await cairnJson<OsdRow[]>(dir, "osd", "ls");
    const targets: [log: string, port: number][] = [
      ["mon.log", monitorPort],
      ["osd.0.log", osd?.address.port ?? 0],
    ];
    for (const [log, port] of targets) {
      const logFile = path.join(dir, "log", log);
      const lineCount = () => readFileSync(logFile, "utf8").split("\n").length;
      const before = lineCount();
      await sendGarbage(port);
      await expect.poll(lineCount, { timeout: 10_000 }).toBeGreaterThan(before);
      await sleep(300);
      expect({ log, lines: lineCount() - before }).toEqual({ log, lines: 1 });
    }
    await expect.poll(() => cairnJson(dir, "health"), healthyWithin).toEqual(healthy);
  });

  /** Resolves when the other side has closed. */
  function sendGarbage(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1");
      socket.setTimeout(5000, () => reject(new Error(`port ${port} stays open`)));
      socket.on("error", () => undefined);
      socket.on("close", () => resolve());
      socket.on("data", () => undefined);
      socket.end(randomBytes(4096));
    });
  }
});
