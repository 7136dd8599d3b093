// Files of a real web server in this process: ranges, versions, and servers that do it wrong.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { fstatSync, read } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { HttpFile, httpChunkBytes } from "./http-file.js";

const bytes = randomBytes(5 * httpChunkBytes + 1234);
const served: string[] = [];
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const server = createServer((request, response) => answer(request, response));
let url = "";

function ranged(headers: Record<string, string> = { etag: '"one"' }, size = bytes.length) {
  return (request: IncomingMessage, response: ServerResponse) => {
    const range = /^bytes=([0-9]+)-([0-9]+)$/.exec(request.headers.range ?? "");
    const [first, last] = [Number(range?.[1]), Math.min(Number(range?.[2]), bytes.length - 1)];
    served.push(`${first}+${last - first + 1}`);
    response.writeHead(206, { "content-range": `bytes ${first}-${last}/${size}`, ...headers });
    response.end(bytes.subarray(first, last + 1));
  };
}

beforeAll(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk`;
});
afterAll(() => void server.close());
beforeEach(() => {
  served.length = 0;
  answer = ranged();
});

describe("a file of a web server", () => {
  it("gives its bytes, and fetches each chunk once while it is kept", async () => {
    const file = await HttpFile.open(url);
    expect([file.sizeBytes, file.mark]).toEqual([bytes.length, '"one"']);
    served.length = 0;
    const ranges = [
      [10, 100],
      [httpChunkBytes - 5, 10],
      [0, 3 * httpChunkBytes],
      [bytes.length - 7, 7],
    ] as const;
    const read = await Promise.all(ranges.map(([offset, length]) => file.read(offset, length)));
    for (const [index, [offset, length]] of ranges.entries()) {
      expect(read[index]?.equals(bytes.subarray(offset, offset + length))).toBe(true);
    }
    expect(served).toHaveLength(4);
    expect((await file.read(20, 10)).equals(bytes.subarray(20, 30))).toBe(true);
    expect(served).toHaveLength(4);
    await expect(file.read(bytes.length, 1)).rejects.toMatchObject({ code: "io_error" });
    await file.close();
  });

  it("gives what the native core wants into a file, as often as it is wanted", async () => {
    const file = await HttpFile.open(url);
    const into = Buffer.alloc(bytes.length);
    for (const round of [1, 2]) {
      await Promise.all([file.fetch(0, httpChunkBytes), file.fetch(2 * httpChunkBytes, 500)]);
      await promisify(read)(file.fd, into, 0, into.length, 0);
      expect(into.subarray(0, httpChunkBytes).equals(bytes.subarray(0, httpChunkBytes))).toBe(true);
      expect(served).toHaveLength(1 + 2 * round);
    }
    // What is read here takes no place there.
    await file.read(4 * httpChunkBytes, 100);
    const { blocks } = fstatSync(file.fd);
    expect(blocks * 512).toBeLessThanOrEqual(httpChunkBytes + 4096);
    await file.close();
  });

  it.each([
    ["base.qcow2", "/images/base.qcow2"],
    ["../base.qcow2", "/base.qcow2"],
    ["HERE/x/base.raw", "/x/base.raw"],
    ["/etc/passwd", undefined],
    ["file:///etc/passwd", undefined],
    ["http://example.org/base", undefined],
    ["//example.org/base", undefined],
    ["nbd:host:1", undefined],
  ])("takes the backing file %s from %s", async (named, found) => {
    const origin = new URL(url).origin;
    const file = await HttpFile.open(`${origin}/images/disk.qcow2`);
    const at = file.backingAt(named.replace("HERE", origin));
    expect(at).toBe(found === undefined ? undefined : origin + found);
    await file.close();
  });

  it("may be shorter than what is asked for first", async () => {
    answer = (_request, response) => {
      response.writeHead(206, { "content-range": "bytes 0-99/100", etag: '"short"' });
      response.end(bytes.subarray(0, 100));
    };
    const file = await HttpFile.open(url);
    expect(file.sizeBytes).toBe(100);
    expect((await file.read(0, 100)).equals(bytes.subarray(0, 100))).toBe(true);
    await file.close();
  });

  it("is read on after the server was away for a moment", async () => {
    const file = await HttpFile.open(url);
    let failures = 2;
    answer = (request, response) => {
      if (failures-- > 0) response.socket?.destroy();
      else ranged()(request, response);
    };
    expect((await file.read(0, 100)).equals(bytes.subarray(0, 100))).toBe(true);
    await file.close();
  });

  it.each([
    ["another ETag", ranged({ etag: '"two"' })],
    ["another size", ranged({ etag: '"one"' }, bytes.length + 1)],
  ])("with %s is another file: nothing of that is shown", async (_what, other) => {
    const file = await HttpFile.open(url);
    answer = other;
    await expect(file.read(0, 100)).rejects.toMatchObject({ code: "corrupt" });
    answer = ranged();
    expect((await file.read(0, 100)).equals(bytes.subarray(0, 100))).toBe(true);
    await file.close();
  });

  it.each([
    ["without ranges", 200, "unsupported_feature"],
    ["that has no such file", 404, "not_found"],
    ["that refuses", 403, "permission_denied"],
    ["that answers strangely", 301, "io_error"],
  ])("of a server %s is refused", async (_what, status, code) => {
    answer = (_request, response) => response.writeHead(status).end("no");
    await expect(HttpFile.open(url)).rejects.toMatchObject({ code });
  });

  it("of which nothing tells the version is refused, and so is another range", async () => {
    answer = ranged({});
    await expect(HttpFile.open(url)).rejects.toMatchObject({ code: "unsupported_feature" });
    answer = ranged({ "content-range": `bytes 5-9/${bytes.length}`, etag: '"one"' });
    await expect(HttpFile.open(url)).rejects.toMatchObject({ code: "io_error" });
  });
});
