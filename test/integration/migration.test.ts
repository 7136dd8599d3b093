// Live import and migration on a cluster of real processes: what qemu-img wrote, and what an NBD
// client writes all the time, is compared byte by byte at the end.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ImageInfo } from "../../client/index.js";
import { cairn, cairnJson, startCairn } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-migration-"));
const dir = path.join(folder, "cluster");
const program = path.resolve("bin/cairn");
const mebibyte = 2 ** 20;
const base = path.join(folder, "base.raw");
const overlay = path.join(folder, "overlay.qcow2");
const packed = path.join(folder, "packed.qcow2");
const flat = path.join(folder, "flat.raw");
const plain = path.join(folder, "plain.qcow2");
const chained = path.join(folder, "chained.qcow2"); // overlay, its backing file by name alone

const tool = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: "utf8", cwd: folder, timeout: 60_000 });

/** Bytes that compress, and tell where they were. */
function pattern(lengthBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at + 4 <= lengthBytes; at += 64) bytes.writeUInt32LE(at ^ seed, at);
  return bytes;
}

beforeAll(async () => {
  writeFileSync(base, pattern(20 * mebibyte, 0x5a5a0000));
  tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay, "48M");
  for (const write of ["-P 1 1M 3M", "-P 2 17M 70k", "-P 3 40M 1M", "-z 5M 1M"]) {
    tool("qemu-io", "-f", "qcow2", "-c", `write -q ${write}`, overlay);
  }
  tool("qemu-img", "convert", "-c", "-O", "qcow2", overlay, packed);
  tool("qemu-img", "convert", "-O", "raw", overlay, flat);
  tool("qemu-img", "convert", "-O", "qcow2", overlay, plain);
  copyFileSync(overlay, chained);
  tool("qemu-img", "rebase", "-u", "-b", "base.raw", "-F", "raw", chained);
  const { code, stderr } = await cairn(dir, "up", "--osds", "3", "--osd-size", "4G");
  if (code !== 0) throw new Error(stderr);
}, 120_000);

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

/** Runs a verb when nobody counts as a user any more: one that was killed does for a while. */
async function onceFree(...words: string[]) {
  for (const startMs = performance.now(); ; ) {
    const outcome = await cairn(dir, ...words);
    const waits = performance.now() - startMs < 60_000;
    if (!waits || !/in use by|locked now by/.test(outcome.stderr)) return outcome;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

async function ok(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await cairn(dir, ...words);
  if (code !== 0) throw new Error(`cairn ${words.join(" ")}: exit code ${code}\n${stderr}`);
  return stdout.trimEnd();
}

const migrate = (verb: string, ...words: string[]) => ok("migration", verb, ...words);
const importOf = (file: string, image: string) => migrate("prepare", "--import-only", file, image);

async function exported(image: string): Promise<Buffer> {
  const file = path.join(folder, "exported.raw");
  rmSync(file, { force: true });
  await ok("export", image, file, "--no-progress");
  return readFileSync(file);
}

/** An NBD client, qemu-io, that does one command after the other. */
class NbdClient {
  private readonly child: ChildProcess;
  private text = "";

  constructor(socket: string, name: string) {
    this.child = spawn("qemu-io", ["-f", "raw", `nbd+unix:///${name}?socket=${socket}`], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    // That it has ended, run() sees.
    this.child.stdin?.on("error", () => undefined);
    this.child.stdout?.on("data", (chunk: Buffer) => {
      this.text += chunk.toString();
    });
  }

  async run(command: string): Promise<string> {
    this.text = "";
    this.child.stdin?.write(`${command}\n`);
    while (!/bytes at offset|failed|error/i.test(this.text)) {
      const hasEnded = (this.child.exitCode ?? this.child.signalCode) !== null;
      if (hasEnded) throw new Error(`qemu-io ended: ${this.text}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    if (/failed|error/i.test(this.text)) throw new Error(`${command}: ${this.text}`);
    return this.text;
  }

  async close(): Promise<void> {
    this.child.stdin?.end("quit\n");
    await once(this.child, "exit");
  }
}

/** A guest that writes and reads at random places until it is stopped, and its model. */
class Guest {
  operations = 0;
  longestMs = 0;
  private stopped = false;
  private seed = 7;
  private readonly work: Promise<void>;

  constructor(
    private readonly client: NbdClient,
    readonly disk: Buffer,
  ) {
    this.work = this.loop();
    this.work.catch(() => undefined);
  }

  private random(below: number): number {
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) >>> 0;
    return this.seed % below;
  }

  private async loop(): Promise<void> {
    while (!this.stopped) {
      const sectors = 1 + this.random(300);
      const offset = this.random(this.disk.length / 512 - sectors) * 512;
      const value = 1 + this.random(250);
      const bytes = sectors * 512;
      const began = performance.now();
      await this.client.run(`write -P ${value} ${offset} ${bytes}`);
      this.disk.fill(value, offset, offset + bytes);
      await this.client.run(`read -P ${value} ${offset} ${bytes}`);
      this.longestMs = Math.max(this.longestMs, performance.now() - began);
      this.operations += 1;
    }
  }

  /** Until it has done some more. */
  async more(operations: number): Promise<void> {
    const goal = this.operations + operations;
    while (this.operations < goal) {
      await Promise.race([this.work, new Promise((resolve) => setTimeout(resolve, 10))]);
    }
  }

  async stop(): Promise<Buffer> {
    this.stopped = true;
    await this.work;
    await this.client.close();
    return this.disk;
  }
}

describe("an image that is used while it is imported", () => {
  it.each([
    ["a qcow2 file with a backing file", () => overlay],
    ["a compressed qcow2 file", () => packed],
    ["a raw file", () => flat],
  ])("reads from %s", async (_what, file) => {
    await importOf(file(), "rbd/disk");
    expect((await cairnJson<ImageInfo>(dir, "info", "rbd/disk")).features).toContain("migrating");
    expect((await exported("rbd/disk")).equals(readFileSync(flat))).toBe(true);
    expect(await ok("info", "rbd/disk")).toMatch(/migration: +prepared, from \//);
    await migrate("execute", "rbd/disk");
    await migrate("execute", "rbd/disk");
    await migrate("commit", "rbd/disk");
    expect((await exported("rbd/disk")).equals(readFileSync(flat))).toBe(true);
    expect((await cairnJson<ImageInfo>(dir, "info", "rbd/disk")).features).not.toContain(
      "migrating",
    );
    await ok("rm", "rbd/disk");
  });

  it("is written and read by a guest all the while", async () => {
    await importOf(packed, "rbd/disk");
    const socket = path.join(folder, "a.sock");
    const server = await startCairn(dir, "attach", "rbd/disk", "--nbd", `unix:${socket}`);
    const guest = new Guest(new NbdClient(socket, "disk"), readFileSync(flat));
    await guest.more(20);
    const refused = await cairn(dir, "migration", "commit", "rbd/disk");
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/cairn migration execute rbd\/disk/),
    });
    await Promise.all([migrate("execute", "rbd/disk"), guest.more(20)]);
    await guest.more(5);
    await migrate("commit", "rbd/disk");
    await guest.more(5);
    const disk = await guest.stop();
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
    expect((await exported("rbd/disk")).equals(disk)).toBe(true);
    await ok("rm", "rbd/disk");
  });

  it("gets all of it, however often the copying is killed", async () => {
    await importOf(plain, "rbd/disk");
    for (let delayMs = 200; delayMs <= 700; delayMs += 100) {
      const copying = spawn(process.execPath, [program, "migration", "execute", "rbd/disk"], {
        env: { ...process.env, CAIRN_DIR: dir },
        stdio: "ignore",
      });
      const over = once(copying, "exit");
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      copying.kill("SIGKILL");
      await over;
    }
    await migrate("execute", "rbd/disk");
    await migrate("commit", "rbd/disk");
    expect((await exported("rbd/disk")).equals(readFileSync(flat))).toBe(true);
    expect((await onceFree("rm", "rbd/disk")).code).toBe(0);
  });
});

interface Web {
  server: Server;
  url: string;
  /** of the ranges that were answered */
  bytes: number;
  etag: string;
  ranges: boolean;
}

/** The file as /disk, and what is beside it by name. */
async function serveFile(file: string): Promise<Web> {
  const web: Web = { server: createServer(), url: "", bytes: 0, etag: '"one"', ranges: true };
  web.server.on("request", (request, response) => {
    const name = path.basename(request.url ?? "");
    const wanted = name === "disk" ? file : path.join(path.dirname(file), name);
    const fd = openSync(wanted, "r");
    try {
      const { size } = fstatSync(fd);
      const [, first, last] = /^bytes=([0-9]+)-([0-9]+)$/.exec(request.headers.range ?? "") ?? [];
      if (!web.ranges || first === undefined) {
        response.writeHead(200, { "content-length": size, etag: web.etag });
        response.end(readFileSync(wanted));
        return;
      }
      const bytes = Buffer.alloc(Math.min(Number(last), size - 1) - Number(first) + 1);
      readSync(fd, bytes, 0, bytes.length, Number(first));
      web.bytes += bytes.length;
      const range = `bytes ${first}-${Number(first) + bytes.length - 1}/${size}`;
      response.writeHead(206, { "content-range": range, etag: web.etag });
      response.end(bytes);
    } finally {
      closeSync(fd);
    }
  });
  web.server.listen(0, "127.0.0.1");
  await once(web.server, "listening");
  web.url = `http://127.0.0.1:${(web.server.address() as AddressInfo).port}/disk`;
  return web;
}

describe("an image that comes from a web server", () => {
  it.each([
    ["qcow2", plain],
    ["raw", flat],
    ["qcow2", chained],
  ])("is used at once, and fetches what is read: %s", async (type, file) => {
    const web = await serveFile(file);
    const spec = JSON.stringify({ type, stream: { type: "http", url: web.url } });
    await migrate("prepare", "--import-only", "--source-spec", spec, "rbd/web");
    // Of the data, a part at most: that there are tables.
    expect(web.bytes).toBeLessThan(statSync(flat).size / 2);
    expect((await exported("rbd/web")).equals(readFileSync(flat))).toBe(true);
    await migrate("execute", "rbd/web");
    web.server.close();
    await migrate("commit", "rbd/web");
    expect((await exported("rbd/web")).equals(readFileSync(flat))).toBe(true);
    await ok("rm", "rbd/web");
  });

  it("is refused when the file has changed since, or the server answers no ranges", async () => {
    const web = await serveFile(flat);
    const specFile = path.join(folder, "spec.json");
    const stream = { type: "http", url: web.url };
    writeFileSync(specFile, JSON.stringify({ type: "raw", stream }));
    const words = ["--import-only", "--source-spec-path", specFile, "rbd/web"];
    web.ranges = false;
    const whole = await cairn(dir, "migration", "prepare", ...words);
    expect(whole).toMatchObject({ code: 1, stderr: expect.stringMatching(/answers no ranges/) });
    web.ranges = true;
    await migrate("prepare", ...words);
    web.etag = '"two"';
    const changed = await cairn(dir, "migration", "execute", "rbd/web");
    expect(changed.code).toBe(1);
    expect(changed.stderr).toMatch(/not the file any more that it was/);
    web.etag = '"one"';
    await migrate("execute", "rbd/web");
    await migrate("abort", "rbd/web");
    expect(await ok("ls", "rbd")).not.toContain("web");
    web.server.close();
  });
});

describe("an image that is moved", () => {
  it("is written by a guest all the while, and goes to another pool", async () => {
    await ok("pool", "create", "fast", "--pg-num", "8");
    await ok("import", flat, "rbd/vm", "--no-progress");
    const socket = path.join(folder, "b.sock");
    const server = await startCairn(dir, "attach", "rbd/vm", "--nbd", `unix:${socket}`);
    const guest = new Guest(new NbdClient(socket, "vm"), readFileSync(flat));
    await guest.more(20);
    await migrate("prepare", "rbd/vm", "fast/vm2", "--object-size", "1M");
    await guest.more(20);
    expect((await cairn(dir, "snap", "create", "fast/vm2@s")).stderr).toMatch(/migration execute/);
    expect((await cairn(dir, "export", "rbd/vm", "-")).stderr).toMatch(/Use fast\/vm2/);
    await migrate("execute", "rbd/vm");
    await guest.more(5);
    const inUse = await cairn(dir, "migration", "abort", "fast/vm2");
    expect(inUse.code).toBe(1);
    await migrate("commit", "fast/vm2");
    await guest.more(20);
    expect(await ok("ls", "rbd")).not.toContain("vm");
    await ok("snap", "create", "fast/vm2@s");
    const disk = await guest.stop();
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
    expect((await exported("fast/vm2")).equals(disk)).toBe(true);
    console.log(`the longest request of the guest took ${Math.round(guest.longestMs)} ms`);
  });

  it("is what it was when that is undone", async () => {
    await ok("import", flat, "rbd/vm", "--no-progress");
    await ok("image-meta", "set", "rbd/vm", "owner", "anna");
    await migrate("prepare", "rbd/vm", "rbd/other");
    expect(await ok("image-meta", "get", "rbd/other", "owner")).toBe("anna");
    expect(await ok("du", "--pool", "rbd", "--no-progress")).not.toMatch(/^vm /m);
    const socket = path.join(folder, "c.sock");
    const server = await startCairn(dir, "attach", "rbd/other", "--nbd", `unix:${socket}`);
    const client = new NbdClient(socket, "other");
    await client.run("write -P 9 0 1M");
    await client.close();
    server.child.kill("SIGTERM");
    await server.ended;
    await migrate("abort", "rbd/vm");
    expect((await exported("rbd/vm")).equals(readFileSync(flat))).toBe(true);
    await ok("rm", "rbd/vm");
  });
});

describe("an image with clones that is moved", () => {
  beforeAll(async () => {
    await ok("namespace", "create", "rbd/ns");
  });

  it.each(["commit", "abort"])(
    "leaves a clone in use, and a clone of that, what they were: %s",
    async (end) => {
      const [child, grandchild] = ["rbd/child", "rbd/grandchild"];
      await ok("import", flat, "rbd/gold", "--no-progress");
      await ok("snap", "create", "rbd/gold@s");
      await ok("clone", "rbd/gold@s", child);
      await ok("snap", "create", `${child}@cs`);
      await ok("clone", `${child}@cs`, grandchild);
      const socket = path.join(folder, "clone.sock");
      const server = await startCairn(dir, "attach", child, "--nbd", `unix:${socket}`);
      const guest = new Guest(new NbdClient(socket, "child"), readFileSync(flat));
      await guest.more(20);
      const reader = path.join(folder, "reader.sock");
      const words = ["attach", grandchild, "--nbd", `unix:${reader}`, "--read-only"];
      const readers = await startCairn(dir, ...words);
      const same = async () => {
        expect((await exported(grandchild)).equals(readFileSync(flat))).toBe(true);
        tool("qemu-img", "compare", "-f", "raw", "-F", "raw", flat, nbd(reader, "grandchild"));
      };
      await migrate("prepare", "rbd/gold", "rbd/ns/silver");
      await Promise.all([same(), guest.more(5)]);
      await Promise.all([migrate("execute", "rbd/ns/silver"), guest.more(5)]);
      await same();
      for (const delayMs of [300, 450, 600]) {
        const words = ["migration", end, "rbd/ns/silver"];
        const env = { ...process.env, CAIRN_DIR: dir };
        const dying = spawn(process.execPath, [program, ...words], { env, stdio: "ignore" });
        const over = once(dying, "exit");
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        dying.kill("SIGKILL");
        await over;
        await Promise.all([same(), guest.more(5)]);
      }
      const left = await onceFree("migration", end, "rbd/ns/silver");
      if (left.code !== 0) expect(left.stderr).toMatch(/not the target of|there is no image/);
      await Promise.all([same(), guest.more(20)]);
      const [parent, gone] =
        end === "commit" ? ["rbd/ns/silver", "rbd/gold"] : ["rbd/gold", "rbd/ns/silver"];
      expect(await ok("children", parent)).toBe(`${child} @s`);
      expect(await ok("info", child)).toMatch(new RegExp(`parent: +${parent}@s`));
      expect((await cairn(dir, "info", gone)).code).not.toBe(0);
      const disk = await guest.stop();
      for (const { child: process, ended } of [server, readers]) {
        process.kill("SIGTERM");
        expect(await ended).toBe(0);
      }
      expect((await exported(child)).equals(disk)).toBe(true);
      await ok("rm", grandchild);
      await ok("snap", "purge", child);
      await ok("rm", child);
      await ok("snap", "purge", parent);
      await ok("rm", parent);
    },
    120_000,
  );
});

const nbd = (socket: string, name: string) => `nbd+unix:///${name}?socket=${socket}`;

describe("what cannot be", () => {
  it.each([
    ["a file that is not there", /there is no|no such file|not found|ENOENT/i, 1, "none.raw"],
    ["a source spec and a file", /one source/, 2, flat, "--source-spec", "{}"],
    ["a source spec of qcow2 over a raw file", /qcow2/, 2, "--source-spec", qcow2Spec(flat)],
  ])("%s is refused", async (_what, message, code, ...words) => {
    const refused = await cairn(dir, "migration", "prepare", "--import-only", ...words, "rbd/bad");
    expect(refused.stderr).toMatch(message);
    expect(refused.code).toBe(code);
    expect(await ok("ls", "rbd")).not.toContain("bad");
  });

  it("a backing file that is missing, an encrypted file, an image that exists", async () => {
    const lost = path.join(folder, "lost.qcow2");
    tool(
      "qemu-img",
      "create",
      "-q",
      "-u",
      "-f",
      "qcow2",
      "-b",
      "gone.raw",
      "-F",
      "raw",
      lost,
      "8M",
    );
    const secret = path.join(folder, "secret.qcow2");
    tool("qemu-img", "create", "-q", "-f", "qcow2", secret, "8M");
    // The header's crypt_method: LUKS.
    const bytes = readFileSync(secret);
    bytes.writeUInt32BE(2, 32);
    writeFileSync(secret, bytes);
    const prepare = (...words: string[]) =>
      cairn(dir, "migration", "prepare", "--import-only", ...words);
    expect((await prepare(lost, "rbd/bad")).stderr).toMatch(/gone\.raw/);
    expect((await prepare(secret, "rbd/bad")).stderr).toMatch(/encrypt/);
    await ok("create", "rbd/there", "--size", "8M");
    expect((await prepare(flat, "rbd/there")).stderr).toMatch(/exists/);
    for (const verb of ["execute", "commit", "abort"]) {
      const refused = await cairn(dir, "migration", verb, "rbd/there");
      expect(refused).toMatchObject({
        code: expect.any(Number),
        stderr: expect.stringMatching(/not the target of a migration\n.*migration prepare/),
      });
      expect(refused.code).not.toBe(0);
    }
  });

  it("a file that has changed since", async () => {
    const file = path.join(folder, "changing.raw");
    writeFileSync(file, pattern(mebibyte, 1));
    utimesSync(file, 1000, 1000);
    await importOf(file, "rbd/changing");
    writeFileSync(file, pattern(mebibyte, 2));
    const refused = await cairn(dir, "export", "rbd/changing", path.join(folder, "x.raw"));
    expect(refused.stderr).toMatch(/not the file any more that it was\n.*migration abort/);
    expect((await cairn(dir, "rm", "rbd/changing")).stderr).toMatch(/migration abort/);
    await migrate("abort", "rbd/changing");
    expect(existsSync(file)).toBe(true);
  });
});

function qcow2Spec(file: string): string {
  return JSON.stringify({ type: "qcow2", stream: { type: "file", file_path: file } });
}
