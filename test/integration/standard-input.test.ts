// `cairn import -`: what comes in by standard input is imported to its end from where it stands, or
// not at all.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { cairn, cairnJson, program } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-standard-input-"));
const dir = path.join(folder, "cluster");
const spool = path.join(folder, "spool");
const raw = path.join(folder, "disk.raw");
const mebibyte = 2 ** 20;

beforeAll(async () => {
  mkdirSync(spool);
  writeFileSync(raw, randomBytes(3 * mebibyte));
  await cairnJson(dir, "up", "--osds", "1", "--osd-size", "2G");
});

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

const env = { ...process.env, CAIRN_DIR: dir, TMPDIR: spool };

/** `cairn import - rbd/IMAGE` whose standard input the test writes. */
function importing(image: string) {
  const child = spawn(process.execPath, [program, "import", "-", `rbd/${image}`], {
    env,
    stdio: ["pipe", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (part: Buffer) => {
    stderr += part.toString();
  });
  child.stdin.on("error", () => undefined);
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, stderr }));
  return { child, ended };
}

/** Programs of that name that the process has started. */
function started(child: ChildProcess, name: string): number[] {
  const ids = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
  return ids
    .split(" ")
    .filter((id) => id !== "" && readFileSync(`/proc/${id}/comm`, "utf8").trim() === name)
    .map(Number);
}

async function expectNothingLeft() {
  expect(readdirSync(spool)).toEqual([]);
  expect(await cairnJson(dir, "ls")).toEqual([]);
}

describe("cairn import -", () => {
  it("imports nothing when what reads the pipe is ended before its end", async () => {
    const { child, ended } = importing("cut");
    child.stdin.write(randomBytes(mebibyte));
    const cat = await vi.waitUntil(() => started(child, "cat")[0]);
    process.kill(cat, "SIGKILL");
    const { code, stderr } = await ended;
    expect(code).toBe(1);
    expect(stderr).toContain("standard input was not read to its end (SIGKILL)");
    await expectNothingLeft();
  });

  it("stops at once while nothing has come yet", async () => {
    const { child, ended } = importing("early");
    await vi.waitUntil(() => started(child, "dd").length > 0);
    child.kill("SIGINT");
    expect((await ended).code).not.toBe(0);
    await expectNothingLeft();
  });

  it("begins where standard input stands", async () => {
    const out = path.join(folder, "out.raw");
    const here = `"${process.execPath}" "${program}"`;
    const skip = "dd bs=1M count=1 of=/dev/null status=none";
    const script = `{ ${skip}; ${here} import - rbd/rest; } < ${raw}
      ${here} export rbd/rest ${out}`;
    execFileSync("sh", ["-ec", script], { env, stdio: ["ignore", "ignore", "inherit"] });
    expect(readFileSync(out).equals(readFileSync(raw).subarray(mebibyte))).toBe(true);
    await cairnJson(dir, "rm", "rbd/rest");
    await expectNothingLeft();
  });

  it("is what is named to somebody who gives it a pipe as a file", async () => {
    const fifo = path.join(folder, "fifo");
    execFileSync("mkfifo", [fifo]);
    const { code, stderr } = await cairn(dir, "import", fifo, "rbd/fifo");
    expect(code).toBe(2);
    expect(stderr).toContain(`cairn import - POOL/IMAGE < ${fifo}`);
  });
});
