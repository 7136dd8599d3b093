// Import: an image appears whole or not at all, whatever stops it.
import { describe, expect, it } from "vitest";
import { StorageError } from "../../common/errors.js";
import type { CopyExtent } from "../../native/binding.js";
import { FakeCluster } from "../testing/fake-cluster.js";
import { type ImportSource, importImage } from "./import-image.js";
import { pendingStaleMs } from "./making.js";

const mebibyte = 2 ** 20;
const noTimer = () => () => undefined;

function extent(guestOffset: number, lengthBytes: number): CopyExtent {
  return { source: 0, hostOffset: 0, guestOffset, lengthBytes, kind: "data" };
}

function extents(batches: CopyExtent[][]): ImportSource {
  const all = batches.flat();
  return {
    kind: "extents",
    sizeBytes: 64 * mebibyte,
    fileDescriptors: [3],
    extents: batches,
    extentBytes: all.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0),
  };
}

describe("importImage", () => {
  it("copies extents, with progress in written bytes, and only what they cover", async () => {
    const cluster = new FakeCluster();
    const { io, images } = cluster.client();
    const source = extents([[extent(0, 4096)], [extent(8 * mebibyte, 8 * mebibyte)]]);
    const seen: (number | undefined)[][] = [];
    const info = await importImage(images, io, "a", source, {
      every: noTimer,
      progress: (done, total) => seen.push([done, total]),
    });
    expect(info.sizeBytes).toBe(64 * mebibyte);
    expect(cluster.pool.dataObjects()).toHaveLength(3);
    expect(seen).toEqual([
      [0, 8 * mebibyte + 4096],
      [4096, 8 * mebibyte + 4096],
      [8 * mebibyte + 4096, 8 * mebibyte + 4096],
    ]);
  });

  it("finds the size of a stream at its end, in whole sectors", async () => {
    const { io, images } = new FakeCluster().client();
    const source: ImportSource = { kind: "stream", fileDescriptor: 1000 };
    const info = await importImage(images, io, "a", source, { every: noTimer });
    expect(info.sizeBytes).toBe(1024);
  });

  it.each([
    ["an empty stream", { kind: "stream", fileDescriptor: 0 }, "invalid_argument"],
    ["a raw file of size 0", { kind: "raw", sizeBytes: 0, fileDescriptor: 3 }, "invalid_argument"],
    [
      "a raw file beyond capacity",
      { kind: "raw", sizeBytes: 2 ** 40, fileDescriptor: 3 },
      "out_of_range",
    ],
  ] as const)("refuses %s and leaves nothing", async (_what, source, code) => {
    const cluster = new FakeCluster();
    const { io, images } = cluster.client();
    const importing = importImage(images, io, "a", source, { every: noTimer });
    await expect(importing).rejects.toMatchObject({ code });
    expect(await images.list()).toEqual([]);
    expect(await images.pending()).toEqual([]);
    expect([...cluster.pool.objects.keys()].filter((name) => name !== "rbd_directory")).toEqual([]);
  });

  it("leaves nothing when the source turns out damaged half-way", async () => {
    const cluster = new FakeCluster();
    const { io, images } = cluster.client();
    async function* damaged() {
      yield [extent(0, 8 * mebibyte)];
      throw new StorageError("corrupt", "L2 table at 0x30000");
    }
    const source: ImportSource = {
      kind: "extents",
      sizeBytes: 64 * mebibyte,
      fileDescriptors: [3],
      extents: damaged(),
      extentBytes: 1,
    };
    const importing = importImage(images, io, "a", source, { every: noTimer });
    await expect(importing).rejects.toMatchObject({ code: "corrupt", message: /L2 table/ });
    expect([...cluster.pool.objects.keys()]).toEqual(["rbd_directory"]);
    expect(await images.pending()).toEqual([]);
  });

  it("leaves nothing when it is stopped", async () => {
    const cluster = new FakeCluster();
    const { io, images } = cluster.client();
    const stop = new AbortController();
    io.duringImport = () => stop.abort();
    const source = extents([[extent(0, 8 * mebibyte)], [extent(8 * mebibyte, mebibyte)]]);
    const importing = importImage(images, io, "a", source, { every: noTimer, signal: stop.signal });
    await expect(importing).rejects.toMatchObject({ code: "canceled" });
    expect([...cluster.pool.objects.keys()]).toEqual(["rbd_directory"]);
    expect(await images.pending()).toEqual([]);
  });

  it("refuses a name that exists before it copies anything", async () => {
    const { io, images } = new FakeCluster().client();
    await images.create("a", 512);
    io.duringImport = () => expect.unreachable();
    const importing = importImage(images, io, "a", extents([[extent(0, 512)]]), { every: noTimer });
    await expect(importing).rejects.toMatchObject({ code: "already_exists" });
  });

  it("keeps its entry alive while it copies, and stops when somebody has taken it", async () => {
    const cluster = new FakeCluster();
    const { io, images } = cluster.client();
    let renew: () => void = () => undefined;
    const every = (_periodMs: number, task: () => void) => {
      renew = task;
      return () => undefined;
    };
    async function* slow() {
      yield [extent(0, mebibyte)];
      // Two stale times pass with renewals: nobody takes it.
      for (let round = 0; round < 4; round += 1) {
        cluster.wallMs += pendingStaleMs / 2;
        renew();
        await new Promise(setImmediate);
        await cluster.client().images.clearStale(["importing"]);
      }
      yield [extent(mebibyte, mebibyte)];
      // Then one without.
      cluster.wallMs += pendingStaleMs + 1;
      await cluster.client().images.clearStale(["importing"]);
      renew();
      await new Promise(setImmediate);
      yield [extent(8 * mebibyte, mebibyte)];
    }
    const source: ImportSource = {
      ...extents([]),
      kind: "extents",
      extents: slow(),
    } as ImportSource;
    const importing = importImage(images, io, "a", source, { every });
    await expect(importing).rejects.toMatchObject({
      code: "canceled",
      message: /somebody is clearing it away/,
    });
    expect(cluster.pool.dataObjects()).toEqual([]);
    expect(await images.list()).toEqual([]);
  });
});
