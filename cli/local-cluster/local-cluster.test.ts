// The folder of a local cluster, its lock, and pid files.
import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ClusterPaths, prepareFolder, readClusterFile, writeClusterFile } from "./cluster-dir.js";
import { daemonFailure, stopDaemons } from "./daemons.js";
import { lockFolder } from "./dir-lock.js";
import { down } from "./down.js";
import { claimPidFile, findProcess, isAlive, readPidFile, residentBytes } from "./processes.js";
import { type UpOptions, up } from "./up.js";

let dir = "";
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "cairn-dir-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

/** A process that sleeps; with `stubborn` it takes no notice of SIGTERM. */
async function sleeper(stubborn = false): Promise<{ pid: number; startTicks: number }> {
  const script = stubborn
    ? 'trap "" TERM; echo up; while :; do sleep 0.05; done'
    : "echo up; exec sleep 60";
  const child = spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "ignore"] });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const found = findProcess(child.pid ?? 0);
  expect(found).toBeDefined();
  return found ?? { pid: 0, startTicks: 0 };
}

describe("processes", () => {
  it("finds the living, with their memory", () => {
    const self = findProcess(process.pid);
    expect(self && isAlive(self)).toBe(true);
    expect(residentBytes(process.pid)).toBeGreaterThan(1e6);
    expect(findProcess(2 ** 22 + 1)).toBeUndefined();
  });

  it("takes a pid that is another process's by now for gone", async () => {
    const { pid, startTicks } = await sleeper();
    const file = path.join(dir, "a.pid");
    writeFileSync(file, `${pid} ${startTicks}\n`);
    expect(readPidFile(file)).toEqual({ pid, startTicks });
    writeFileSync(file, `${pid} ${startTicks - 1}\n`);
    expect(readPidFile(file)).toBeUndefined();
    writeFileSync(file, "garbage\n");
    expect(readPidFile(file)).toBeUndefined();
  });

  it("lets one process have a pid file", async () => {
    const { pid, startTicks } = await sleeper();
    const file = path.join(dir, "a.pid");
    writeFileSync(file, `${pid} ${startTicks}\n`);
    expect(() => claimPidFile(file, "osd.0")).toThrow(`osd.0 runs already, as process ${pid}`);
    writeFileSync(file, `${pid} ${startTicks - 1}\n`);
    const release = claimPidFile(file, "osd.0");
    expect(readPidFile(file)?.pid).toBe(process.pid);
    release();
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe("stopDaemons", () => {
  it("asks first, kills after the grace, and signals nobody else", async () => {
    const paths = new ClusterPaths(dir);
    mkdirSync(paths.runDir);
    const [polite, stubborn, stranger] = await Promise.all([sleeper(), sleeper(true), sleeper()]);
    writeFileSync(paths.pidFile("osd.0"), `${polite.pid} ${polite.startTicks}\n`);
    writeFileSync(paths.pidFile("osd.1"), `${stubborn.pid} ${stubborn.startTicks}\n`);
    writeFileSync(paths.pidFile("mon"), `${stranger.pid} ${stranger.startTicks - 1}\n`);
    const report = await stopDaemons(paths, ["osd.0", "osd.1", "mon"], 300);
    expect(report).toEqual({ stopped: ["osd.0", "osd.1"], killed: ["osd.1"] });
    expect([polite, stubborn, stranger].map(isAlive)).toEqual([false, false, true]);
  });
});

describe("lockFolder", () => {
  it("lets one in, and takes over the lock of the dead", async () => {
    const paths = new ClusterPaths(dir);
    const unlock = lockFolder(paths);
    expect(() => lockFolder(paths)).toThrow(/is being started or stopped by process/);
    unlock();
    const { pid, startTicks } = await sleeper();
    writeFileSync(paths.lockFile, `${pid} ${startTicks}\n`);
    expect(() => lockFolder(paths)).toThrow(`by process ${pid}`);
    writeFileSync(paths.lockFile, `${pid} ${startTicks - 1}\n`);
    lockFolder(paths)();
    expect(readdirSync(dir)).toEqual([]);
  });
});

const content = {
  kind: "cairn-cluster" as const,
  version: 1 as const,
  state: "ready" as const,
  clusterId: "00000000-0000-4000-8000-000000000001",
  monitor: { host: "127.0.0.1", port: 1 },
  http: { host: "127.0.0.1", port: 2 },
  osds: [{ id: 0, sizeBytes: 2 ** 30 }],
};

describe("down", () => {
  it.each(["", "/"])("purges what a link leads to, and the link: link%s", async (end) => {
    const [real, link] = [path.join(dir, "real"), path.join(dir, "link")];
    mkdirSync(path.join(real, "osd.0"), { recursive: true });
    writeClusterFile(real, content);
    symlinkSync(real, link);
    const report = await down({ dir: `${link}${end}`, purge: true, graceMs: 1000 });
    expect(report.purged).toBe(true);
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe("up", () => {
  const call = (asked: Pick<UpOptions, "osdCount" | "osdBytes">) => {
    const rest = { timeoutMs: 0, signal: new AbortController().signal, say: () => undefined };
    const session = () => Promise.reject(new Error("reached"));
    return up({ dir, ...asked, ...rest }, session);
  };

  it("refuses what contradicts the cluster that is there", async () => {
    // A monitor that runs: nothing is started.
    const { pid, startTicks } = await sleeper();
    const { runDir, pidFile } = { runDir: path.join(dir, "run"), pidFile: "mon.pid" };
    mkdirSync(runDir);
    writeFileSync(path.join(runDir, pidFile), `${pid} ${startTicks}\n`);
    writeClusterFile(dir, content);
    const [count, bytes] = [1, 2 ** 30];
    const refusals: [Pick<UpOptions, "osdCount" | "osdBytes">, RegExp][] = [
      [{ osdCount: 7, osdBytes: undefined }, /has 1 OSDs, not 7/],
      [{ osdCount: count, osdBytes: 2 ** 40 }, /has OSDs of 1 GiB, not 1 TiB/],
    ];
    for (const [asked, says] of refusals) {
      const refused = expect(call(asked)).rejects;
      await refused.toMatchObject({
        code: "invalid_argument",
        message: expect.stringMatching(says),
        remedy: expect.stringMatching(/Leave --osds and --osd-size out/),
      });
    }
    for (const osdCount of [undefined, count]) {
      await expect(call({ osdCount, osdBytes: bytes })).rejects.toThrow("reached");
    }
    expect(existsSync(path.join(dir, "cluster.json"))).toBe(true);
  });
});

describe("a daemon that does not start", () => {
  const daemon = { name: "mon" as const, pid: 0, exit: () => "exit code 1" };

  it("is told with its log, or with the last of it when that goes", () => {
    const paths = new ClusterPaths(dir);
    expect(daemonFailure(paths, daemon, false).remedy).toBeUndefined();
    mkdirSync(paths.logDir);
    const lines = ["info", "error", "info"].map((level) => JSON.stringify({ level, msg: level }));
    writeFileSync(paths.logFile("mon"), `${lines.join("\n")}\n`);
    expect(daemonFailure(paths, daemon, true).remedy).toBe(`Its log: ${paths.logFile("mon")}`);
    const told = 'The last trouble in the log of mon: {"level":"error","msg":"error"}';
    expect(daemonFailure(paths, daemon, false).remedy).toBe(told);
  });
});

describe("cluster.json", () => {
  it("is written whole and read back", () => {
    expect(readClusterFile(dir)).toBeUndefined();
    writeClusterFile(dir, content);
    expect(readClusterFile(dir)).toEqual(content);
    expect(readdirSync(dir)).toEqual(["cluster.json"]);
    expect(readFileSync(path.join(dir, "cluster.json"), "utf8").endsWith("}\n")).toBe(true);
  });

  it("is refused when it is damaged or of a later version", () => {
    writeFileSync(path.join(dir, "cluster.json"), JSON.stringify({ ...content, version: 2 }));
    expect(() => readClusterFile(dir)).toThrow(/damaged: bad cluster.json at \/version/);
    writeFileSync(path.join(dir, "cluster.json"), "{");
    expect(() => readClusterFile(dir)).toThrow(/damaged/);
  });

  it("marks a folder as ours", () => {
    const inner = path.join(dir, "a", "b");
    expect(prepareFolder(inner)).toBe(path.join(dir, "a"));
    expect(prepareFolder(inner)).toBeUndefined();
    writeFileSync(path.join(inner, "letter.txt"), "dear");
    expect(() => prepareFolder(inner)).toThrow(/not empty and holds no cluster/);
    writeClusterFile(inner, content);
    expect(prepareFolder(inner)).toBeUndefined();
    expect(() => prepareFolder(path.join(inner, "letter.txt"))).toThrow(/is no folder/);
  });
});
