// A guest boots from its own boot loader on a replicated volume: `npm start -- --once`, twice. The
// guest counts its boots on its disk, so the second run shows that the first one's writes are
// there.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const root = join(fileURLToPath(import.meta.url), "../../..");
const folder = mkdtempSync(join(root, ".e2e-"));

const command = [join(root, "scripts/start.mjs"), "--dir", join(folder, "cluster")];

function start(...args: string[]) {
  return spawnSync(process.execPath, [...command, ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 230_000,
  });
}

/** Signals `npm start` as soon as it has printed a text; what it prints, when it has ended. */
function startUntil(text: string, signal: NodeJS.Signals): Promise<string> {
  const child = spawn(process.execPath, command, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let isSignalled = false;
  const take = (chunk: Buffer) => {
    output += chunk.toString("latin1");
    if (isSignalled || !output.includes(text)) return;
    isSignalled = true;
    child.kill(signal);
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  return new Promise((done) => child.on("exit", () => done(output)));
}

/** Command lines of living processes that name the folder: daemons and clients of the cluster. */
function leftOver(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return "";
      }
    })
    .filter((line) => line.includes(folder));
}

describe("npm start", () => {
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("boots the demo guest, and its writes last over a restart of everything", () => {
    for (const boot of [1, 2]) {
      const run = start("--once");
      expect(run.status, `${run.stdout}\n${run.stderr}`).toBe(0);
      expect(run.stdout).toContain(`booted ${boot} times`);
      expect(run.stdout).toContain("GUEST-READY");
    }
  });

  it.each([
    ["* starting the cluster", "SIGTERM"],
    ["started mon", "SIGINT"],
    ["* attaching", "SIGHUP"],
    ["* booting", "SIGTERM"],
    ["GUEST-READY", "SIGHUP"],
  ] as const)("that is stopped at %j by %s leaves no process behind", async (text, signal) => {
    const output = await startUntil(text, signal);
    expect(output).toContain(`* ${signal}: stopping`);
    expect(leftOver()).toEqual([]);
  });

  it("refuses wrong arguments with exit code 2, a missing image and a folder with 1", () => {
    expect(start("--nonsense").status).toBe(2);
    const missing = start("--once", "--image", join(folder, "no-such.qcow2"));
    expect(missing.status).toBe(1);
    expect(missing.stderr).toContain("no such file");
    const noImage = start("--once", "--image", folder);
    expect(noImage.status).toBe(1);
    expect(noImage.stderr).toBe(`${folder} is a folder, not a disk image\n`);
  });
});
