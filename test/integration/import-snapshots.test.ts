// Live import of one moment: an internal snapshot of a qcow2 file, compared with what qemu-img
// makes of it, and a snapshot of an image that is used on.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cairn } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-import-snapshots-"));
const dir = path.join(folder, "cluster");
const disk = path.join(folder, "disk.qcow2");

const tool = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: "utf8", cwd: folder });

function write(...writes: string[]): void {
  const commands = writes.flatMap((each) => ["-c", `write -q ${each}`]);
  tool("qemu-io", "-f", "qcow2", ...commands, disk);
}

beforeAll(async () => {
  tool("qemu-img", "create", "-q", "-f", "qcow2", disk, "24M");
  write("-P 1 1M 3M", "-P 2 17M 70k");
  tool("qemu-img", "snapshot", "-c", "installed", disk);
  write("-P 3 2M 1M", "-z 1M 512k", "-P 4 20M 1M");
  tool("qemu-img", "snapshot", "-c", "configured", disk);
  write("-P 5 0 24M");
  const { code, stderr } = await cairn(dir, "up", "--osds", "1", "--osd-size", "2G");
  if (code !== 0) throw new Error(stderr);
}, 120_000);

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

async function ok(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await cairn(dir, ...words);
  if (code !== 0) throw new Error(`cairn ${words.join(" ")}: exit code ${code}\n${stderr}`);
  return stdout.trimEnd();
}

const prepare = (...words: string[]) => ok("migration", "prepare", "--import-only", ...words);

async function exported(image: string): Promise<Buffer> {
  const file = path.join(folder, "exported.raw");
  rmSync(file, { force: true });
  await ok("export", image, file, "--no-progress");
  return readFileSync(file);
}

function converted(...words: string[]): Buffer {
  const file = path.join(folder, "converted.raw");
  tool("qemu-img", "convert", "-O", "raw", ...words, disk, file);
  return readFileSync(file);
}

describe("a snapshot of a qcow2 file", () => {
  const spec = JSON.stringify({
    ...{ type: "qcow2", snap_name: "configured" },
    stream: { type: "file", file_path: disk },
  });
  it.each([
    ["by its name", "installed", [disk, "--snap", "installed"]],
    ["by its id", "2", ["--snap", "2", disk]],
    ["in a source spec", "2", ["--source-spec", spec]],
  ])("%s", async (_how, snapshot, words) => {
    const wanted = converted("-l", snapshot);
    expect(wanted.equals(converted())).toBe(false);
    await prepare(...words, "rbd/disk");
    expect((await exported("rbd/disk")).equals(wanted)).toBe(true);
    expect(await ok("info", "rbd/disk")).toMatch(/prepared, from .*disk\.qcow2, snapshot [12]/);
    await ok("migration", "execute", "rbd/disk");
    await ok("migration", "commit", "rbd/disk");
    expect((await exported("rbd/disk")).equals(wanted)).toBe(true);
    await ok("rm", "rbd/disk");
  });

  it("on a web server", async () => {
    const bytes = readFileSync(disk);
    const server = createServer(({ headers }, response) => {
      const [, first = "0", last = ""] =
        /^bytes=([0-9]+)-([0-9]+)$/.exec(headers.range ?? "") ?? [];
      const end = Math.min(Number(last), bytes.length - 1);
      const range = `bytes ${first}-${end}/${bytes.length}`;
      response.writeHead(206, { "content-range": range, etag: '"one"' });
      response.end(bytes.subarray(Number(first), end + 1));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.qcow2`;
    await prepare(url, "--snap", "configured", "rbd/disk");
    expect((await exported("rbd/disk")).equals(converted("-l", "configured"))).toBe(true);
    await ok("migration", "abort", "rbd/disk");
    server.close();
  });

  it("that is not there is refused, and one that is named twice", async () => {
    const words = ["migration", "prepare", "--import-only"];
    const none = await cairn(dir, ...words, disk, "--snap", "other", "rbd/disk");
    expect(none).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no snapshot with .*oth/),
    });
    const twice = await cairn(dir, ...words, "--source-spec", spec, "--snap", "a", "rbd/disk");
    expect(twice).toMatchObject({ code: 2, stderr: expect.stringMatching(/given twice/) });
    expect(await ok("ls", "rbd")).toBe("");
  });
});

describe("a snapshot of an image", () => {
  const spec = { type: "native", pool_name: "rbd", image_name: "vm", snap_name: "s" };
  it.each([
    ["as a word", ["rbd/vm@s"]],
    ["in parts", ["--image", "vm", "--snap", "s"]],
    ["in a source spec", ["--source-spec", JSON.stringify(spec)]],
  ])("%s", async (_how, words) => {
    await ok("import", disk, "rbd/vm", "--no-progress");
    const wanted = await exported("rbd/vm");
    await ok("snap", "create", "rbd/vm@s");
    await ok("bench", "rbd/vm", "--io-type", "write", "--io-total", "4M", "--io-size", "64K");
    await prepare(...words, "rbd/copy");
    expect((await exported("rbd/copy")).equals(wanted)).toBe(true);
    expect(await ok("info", "rbd/copy")).toMatch(/prepared, from rbd\/vm@s/);
    // The source is used on, and its snapshot is kept while it is needed.
    await ok("snap", "rm", "rbd/vm@s");
    expect((await exported("rbd/copy")).equals(wanted)).toBe(true);
    await ok("migration", "execute", "rbd/copy");
    await ok("rm", "rbd/vm");
    await ok("migration", "commit", "rbd/copy");
    expect(await ok("info", "rbd/copy")).not.toMatch(/parent|migration/);
    expect((await exported("rbd/copy")).equals(wanted)).toBe(true);
    await ok("rm", "rbd/copy");
  });
});
