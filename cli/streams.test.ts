// The built CLI where its standard output or standard error cannot be written to, and where its
// working directory is gone or its folder cannot be made. Needs `npm run build`.
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const program = fileURLToPath(new URL("../bin/cairn", import.meta.url));
const cairn = `"${process.execPath}" "${program}"`;
const folder = mkdtempSync(path.join(tmpdir(), "cairn-streams-"));
const limitMs = 20_000;
const full = "cannot write the output: no space left on device";

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a line of the shell in the folder of this test. */
function shell(line: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const { CAIRN_DIR: _, ...env } = process.env;
    const options = { cwd: folder, env, timeout: limitMs, killSignal: "SIGKILL" as const };
    execFile("sh", ["-c", line], options, (error, stdout, stderr) => {
      const code = typeof error?.code === "number" ? error.code : error === null ? 0 : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/** The exit code of what a pipeline begins with. */
async function codeBefore(line: string, rest: string): Promise<number> {
  const file = path.join(folder, "code");
  await shell(`{ ${line}; echo $? >"${file}"; } ${rest}`);
  return Number(readFileSync(file, "utf8"));
}

describe("standard output", () => {
  it("without a reader ends a verb that prints, quietly", async () => {
    expect(await codeBefore(`${cairn} --help 2>err`, "| true")).toBe(0);
    expect(readFileSync(path.join(folder, "err"), "utf8")).toBe("");
  });

  it.each([
    ["", `cairn: ${full}\n`],
    [" --format json", `{"error":{"code":"no_space","message":"${full}"}}\n`],
  ])("that is full is an error of one line%s", async (format, stderr) => {
    const line = `${cairn} auth${format} >/dev/full`;
    expect(await shell(line)).toEqual({ code: 1, stdout: "", stderr });
  });

  it("without a reader does not end a verb that serves", async () => {
    const socket = path.join(folder, "nbd");
    const args = [program, "attach", "--null", "1G", "--nbd", `unix:${socket}`];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise((resolve) => child.on("exit", resolve));
    child.stdout.destroy();
    try {
      await expect.poll(() => existsSync(socket)).toBe(true);
      // It prints right behind it: what comes now, comes after.
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(child.exitCode).toBeNull();
      const greeting = await new Promise<Buffer>((resolve, reject) => {
        const client = connect(socket).once("error", reject);
        client.once("data", (data) => {
          client.destroy();
          resolve(data);
        });
      });
      expect(greeting.subarray(0, 8).toString()).toBe("NBDMAGIC");
      child.kill("SIGTERM");
      expect(await ended).toBe(0);
      expect(existsSync(socket)).toBe(false);
    } finally {
      child.kill("SIGKILL");
    }
  });
});

it("standard error without a reader does not end a verb before it has cleaned up", async () => {
  const dir = path.join(folder, "too-small");
  expect(await codeBefore(`${cairn} up --dir "${dir}" --osd-size 1M`, "2>&1 | true")).toBe(2);
  expect(existsSync(dir)).toBe(false);
});

describe("cairn up", () => {
  it("says so when its folder cannot be made", async () => {
    const { code, stderr } = await shell(`exec ${cairn} up --dir /proc/x`);
    expect(stderr).toMatch(/^cairn: cannot make \/proc\/x: .*\n {2}Choose a folder/);
    expect(code).toBe(1);
  });

  it("says so when the working directory is gone", async () => {
    mkdirSync(path.join(folder, "gone"));
    const { code, stderr } = await shell(`cd gone && rmdir ../gone && ${cairn} up`);
    expect(stderr).toMatch(/^cairn: the working directory is gone\n {2}Change to one/);
    expect(code).toBe(1);
  });

  it("names no log that goes when the first start fails", async () => {
    const dir = path.join(folder, "late");
    const line = `${cairn} up --dir "${dir}" --osds 1 --osd-size 1G --timeout 0`;
    const { code, stderr } = await shell(line);
    expect(stderr).toMatch(/waited too long for the monitor to listen\n {2}Allow more time/);
    expect(stderr).not.toMatch(/Look into|Its log/);
    expect({ code, left: existsSync(dir) }).toEqual({ code: 1, left: false });
  });

  it("says what to do about a store that no file system takes", async () => {
    const { code, stderr } = await shell(`${cairn} up --dir large --osds 1 --osd-size 7P`);
    expect(stderr).toMatch(/File too large\n {2}.* no file of 7 PiB: make it smaller/);
    expect(code).toBe(1);
  });
});
