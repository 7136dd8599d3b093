// Outside oracles on a real cluster: an image that qemu-img wrote is imported, served over NBD, and
// compared by qemu-img, nbdinfo and nbdcopy; what nbdcopy writes is exported and compared again.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = join(fileURLToPath(import.meta.url), "../../..");
const folder = mkdtempSync(join(root, ".test-nbd-"));
const cluster = join(folder, "cluster");
const source = join(folder, "source.qcow2");
const socket = join(folder, "nbd.sock");
const uri = `nbd+unix:///disk?socket=${socket}`;

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8", cwd: folder });
}
function cairn(...args: string[]): string {
  return run(process.execPath, join(root, "bin/cairn"), ...args, "--dir", cluster);
}

async function attach(): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    [join(root, "bin/cairn"), "attach", "rbd/disk", "--nbd", `unix:${socket}`, "--dir", cluster],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  for (let waitedMs = 0; !existsSync(socket); waitedMs += 50) {
    if (waitedMs > 20_000 || child.exitCode !== null) throw new Error("attach gave no socket");
    await new Promise((done) => setTimeout(done, 50));
  }
  return child;
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((done) => child.on("exit", (code) => done(code)));
}

describe("an image over NBD", () => {
  let server: ChildProcess;

  beforeAll(async () => {
    const raw = join(folder, "part.raw");
    writeFileSync(raw, randomBytes(9 * 1024 * 1024 + 512));
    run("qemu-img", "create", "-q", "-f", "qcow2", source, "64M");
    for (const offset of ["1M", "20M", "50M"]) {
      run("qemu-io", "-f", "qcow2", "-c", `write -q -s ${raw} ${offset} 9M`, source);
    }
    run("qemu-io", "-f", "qcow2", "-c", "write -q -z 22M 3M", source);
    cairn("up");
    cairn("import", source, "rbd/disk");
    server = await attach();
  });

  afterAll(async () => {
    if (server?.exitCode === null) {
      const exit = ended(server);
      server.kill("SIGTERM");
      await exit;
    }
    cairn("down", "--purge");
    rmSync(folder, { recursive: true, force: true });
  });

  it("has the content of the imported file", () => {
    expect(run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", source, uri)).toContain(
      "identical",
    );
  });

  it("tells its size, its flags and its allocation", () => {
    const info = JSON.parse(run("nbdinfo", "--json", uri)) as {
      exports: Array<Record<string, unknown>>;
    };
    expect(info.exports[0]).toMatchObject({
      "export-size": 64 * 1024 * 1024,
      is_read_only: false,
      can_flush: true,
      can_fua: true,
      can_trim: true,
      can_zero: true,
      can_multi_conn: true,
    });
    const map = JSON.parse(run("nbdinfo", "--json", "--map", uri)) as Array<{
      length: number;
      type: number;
    }>;
    const dataBytes = map.filter((e) => (e.type & 2) === 0).reduce((sum, e) => sum + e.length, 0);
    expect(map.reduce((sum, e) => sum + e.length, 0)).toBe(64 * 1024 * 1024);
    expect(dataBytes).toBeGreaterThanOrEqual(24 * 1024 * 1024);
    expect(dataBytes).toBeLessThan(29 * 1024 * 1024);
  });

  it("keeps what nbdcopy writes, also in an export", () => {
    const copy = join(folder, "copy.raw");
    writeFileSync(copy, randomBytes(64 * 1024 * 1024));
    run("nbdcopy", "--connections=4", copy, uri);
    const exported = join(folder, "exported.raw");
    cairn("export", "rbd/disk", exported);
    run("cmp", copy, exported);
    expect(run("qemu-img", "compare", "-f", "raw", "-F", "raw", copy, uri)).toContain("identical");
  });

  it("ends cleanly on SIGTERM and removes its socket", async () => {
    const exit = ended(server);
    server.kill("SIGTERM");
    expect(await exit).toBe(0);
    expect(existsSync(socket)).toBe(false);
  });
});
