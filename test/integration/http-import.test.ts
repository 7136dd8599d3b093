// Live import from a web server that drops connections, goes away, or has not what is wanted, by
// bin/cairn and real processes; the server is in this one.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { cairn, cairnJson } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-http-import-"));
const dir = path.join(folder, "cluster");
const mebibyte = 2 ** 20;
/** 24 MiB with data at both ends and a hole between */
const disk = Buffer.concat([
  randomBytes(6 * mebibyte),
  Buffer.alloc(12 * mebibyte),
  randomBytes(6 * mebibyte),
]);
const files: Record<string, Buffer> = {};

/** What the server does with an answer's body: sends it all, half of it, or nothing. */
type Manner = "whole" | "half" | "nothing" | "no ranges";
let manner: (answers: number) => Manner;
let answers = 0;
/** how often each range was asked for */
const asked = new Map<string, number>();
let server: Server;
let port = 0;

const urlOf = (name: string) => `http://127.0.0.1:${port}/${name}`;

function serve(): Server {
  return createServer((request, response) => {
    const bytes = files[path.basename(request.url ?? "")];
    if (bytes === undefined) return void response.writeHead(404).end("no such file");
    const how = manner(++answers);
    if (how === "nothing") return void response.destroy();
    const headers = { etag: '"one"' };
    if (how === "no ranges") return void response.writeHead(200, headers).end(bytes);
    const [, from, to] = /^bytes=([0-9]+)-([0-9]+)$/.exec(request.headers.range ?? "") ?? [];
    asked.set(`${from}`, (asked.get(`${from}`) ?? 0) + 1);
    const [first, last] = [Number(from), Math.min(Number(to), bytes.length - 1)];
    const part = bytes.subarray(first, last + 1);
    const range = `bytes ${first}-${last}/${bytes.length}`;
    response.writeHead(206, { ...headers, "content-range": range, "content-length": part.length });
    if (how === "whole") return void response.end(part);
    response.write(part.subarray(0, part.length / 2), () => response.destroy());
  });
}

async function listen(): Promise<void> {
  server = serve();
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  port = (server.address() as AddressInfo).port;
}

async function goAway(): Promise<void> {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
}

beforeAll(async () => {
  const raw = path.join(folder, "disk.raw");
  const qcow2 = path.join(folder, "disk.qcow2");
  writeFileSync(raw, disk);
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, qcow2]);
  files["disk.raw"] = disk;
  files["disk.qcow2"] = readFileSync(qcow2);
  const { code, stderr } = await cairn(dir, "up", "--osds", "3", "--osd-size", "4G");
  if (code !== 0) throw new Error(stderr);
  await listen();
}, 120_000);

afterAll(async () => {
  await goAway();
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

beforeEach(() => {
  manner = () => "whole";
  answers = 0;
  asked.clear();
});

afterEach(async () => {
  expect(await cairnJson(dir, "ls", "rbd"), "an image is left").toEqual([]);
});

function prepare(name: string, stream = urlOf(name)) {
  const type = path.extname(name).slice(1);
  const spec = JSON.stringify({ type, stream: { type: "http", url: stream } });
  return cairn(dir, "migration", "prepare", "--import-only", "--source-spec", spec, "rbd/web");
}

async function prepared(name: string): Promise<void> {
  expect(await prepare(name)).toMatchObject({ code: 0 });
}

const execute = () => cairn(dir, "migration", "execute", "rbd/web", "--no-progress");

async function expectDisk(): Promise<void> {
  const file = path.join(folder, "exported.raw");
  rmSync(file, { force: true });
  expect(await cairn(dir, "export", "rbd/web", file, "--no-progress")).toMatchObject({ code: 0 });
  expect(readFileSync(file).equals(disk)).toBe(true);
}

async function commitAndRemove(): Promise<void> {
  await cairnJson(dir, "migration", "commit", "rbd/web", "--no-progress");
  await expectDisk();
  await cairnJson(dir, "rm", "rbd/web", "--no-progress");
}

describe.each(["disk.raw", "disk.qcow2"])("%s from a web server", (name) => {
  it("that breaks off every third answer in the middle", { timeout: 120_000 }, async () => {
    manner = (count) => (count % 3 === 0 ? "half" : "whole");
    await prepared(name);
    await expectDisk();
    expect(await execute()).toMatchObject({ code: 0 });
    // The data is 48 chunks, which came twice.
    expect(answers).toBeGreaterThan(96);
    await goAway();
    await commitAndRemove();
    await listen();
  });

  it("that goes away while the data comes over, and comes again", {
    timeout: 120_000,
  }, async () => {
    await prepared(name);
    let left = 10;
    manner = () => (left-- > 0 ? "whole" : "nothing");
    const broken = await execute();
    expect(broken).toMatchObject({ code: 1, stderr: expect.stringContaining(urlOf(name)) });
    expect(broken.stderr).toMatch(/cannot be read/);
    expect(left).toBeLessThan(0);
    const file = path.join(folder, "half.raw");
    const unread = await cairn(dir, "export", "rbd/web", file, "--no-progress");
    expect(unread).toMatchObject({ code: 1, stderr: expect.stringContaining(urlOf(name)) });
    expect(() => readFileSync(file), "half a file").toThrow(/ENOENT/);
    manner = () => "whole";
    await expectDisk();
    expect(await execute()).toMatchObject({ code: 0 });
    await commitAndRemove();
  });

  it("that answers no ranges, has no such file, or is not there", { timeout: 60_000 }, async () => {
    manner = () => "no ranges";
    expect(await prepare(name)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/answers no ranges of files\n {2}Download the file/),
    });
    expect(await prepare(name, urlOf("other"))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/other: the server has no such file/),
    });
    await goAway();
    expect(await prepare(name)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/cannot be read: .*ECONNREFUSED/),
    });
    await listen();
  });
});

it("qcow2 whose tables break off is tried again, and refused when they never come", {
  timeout: 60_000,
}, async () => {
  // The first answer tells the size; what follows never comes whole.
  manner = (count) => (count === 1 ? "whole" : "half");
  const begun = performance.now();
  expect(await prepare("disk.qcow2")).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/cannot be read/),
  });
  // Once for the size, and four times for what it begins with.
  expect(Math.max(...asked.values())).toBe(5);
  expect(performance.now() - begun).toBeLessThan(20_000);
});

it("a URL given to import is told where it belongs", async () => {
  const refused = await cairn(dir, "import", urlOf("disk.raw"), "rbd/web", "--no-progress");
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toMatch(/cairn migration prepare --import-only/);
});
