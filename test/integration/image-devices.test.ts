// Snapshots, clones, the cache of parents, and live import through the addon, on a real cluster.
// The snapshot ids are made here; image headers are not part of it.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { deflateRawSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ClusterClient } from "../../client/index.js";
import type { CopyExtent, DeviceHandle, ImageLayout } from "../../native/index.js";
import { cairn, cairnJson } from "./support.js";

const mebibyte = 1 << 20;
const objectBytes = mebibyte;
const sizeBytes = 10 * mebibyte + 4096;
const folder = mkdtempSync(path.join(tmpdir(), "cairn-image-devices-"));
const dir = path.join(folder, "cluster");
const cacheFile = `/dev/shm/cairn-test-${process.pid}`;

let client: ClusterClient;
let other: ClusterClient;
let pool: number;

const connect = () => {
  const { control } = JSON.parse(readFileSync(path.join(dir, "mon", "addresses.json"), "utf8"));
  return ClusterClient.connect({ monitor: control, log: () => undefined });
};

beforeAll(async () => {
  process.env.CAIRN_PARENT_CACHE = cacheFile;
  process.env.CAIRN_PARENT_CACHE_BYTES = String(16 * mebibyte);
  await cairnJson(dir, "up", "--osds", "3", "--osd-size", "4G");
  [client, other] = await Promise.all([connect(), connect()]);
  pool = client.pool("rbd").id;
});

afterAll(async () => {
  await Promise.all([client?.close(), other?.close()]);
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
  rmSync(cacheFile, { force: true });
});

const layout = (id: string, more: Partial<ImageLayout> = {}): ImageLayout => ({
  pool,
  objectPrefix: `rbd_data.${id}`,
  sizeBytes,
  objectBytes,
  readOnly: false,
  ...more,
});

async function write(device: DeviceHandle, model: Buffer, offset: number, bytes: Uint8Array) {
  await client.io.writeDevice(device, offset, bytes);
  model.set(bytes, offset);
}

async function expectContent(device: DeviceHandle, model: Buffer, io = client.io) {
  const content = await io.readDevice(device, 0, model.length);
  expect(Buffer.compare(content, model)).toBe(0);
}

/** The extents of a difference; every batch has to be taken before the next one comes. */
async function differenceOf(device: DeviceHandle, fromSnap: number) {
  const extents: Array<[offset: number, length: number, state: number]> = [];
  let taking = false;
  await client.io.diffImage(device, fromSnap, async (triples) => {
    expect(taking).toBe(false);
    taking = true;
    await new Promise((done) => setTimeout(done, 5));
    for (let i = 0; i < triples.length; i += 3) {
      extents.push([triples[i] as number, triples[i + 1] as number, triples[i + 2] as number]);
    }
    taking = false;
  });
  return extents;
}

describe("an image with snapshots", () => {
  const model = Buffer.alloc(sizeBytes);
  const first = Buffer.alloc(sizeBytes);
  let image: DeviceHandle;

  it("shows what it was, and what has changed", async () => {
    image = client.io.openImage(layout("base", { stripeUnitBytes: 65_536, stripeCount: 3 }));
    await write(image, model, 5000, randomBytes(4 * mebibyte));
    model.copy(first);
    client.io.setSnapContext(image, { seq: 1, snaps: [1] });
    await write(image, model, mebibyte + 100, randomBytes(200));
    await write(image, model, 8 * mebibyte, randomBytes(8192));
    await expectContent(image, model);
    const striped = { stripeUnitBytes: 65_536, stripeCount: 3 };
    const snapshot = client.io.openImage(layout("base", { ...striped, snap: 1 }));
    await expectContent(snapshot, first);
    await expect(client.io.writeDevice(snapshot, 0, Buffer.alloc(512))).rejects.toMatchObject({
      code: "read_only",
    });
    expect(await differenceOf(image, 1)).toEqual([
      [mebibyte, 4096, 2],
      [8 * mebibyte, 8192, 2],
    ]);
    expect(await client.io.measureImage(image, 1)).toMatchObject({ usedBytes: 12_288 });
    expect(await client.io.measureImage(snapshot, 0)).toMatchObject({
      usedBytes: 4 * mebibyte + 4096,
    });
    const failing = client.io.diffImage(image, 1, () => {
      throw new Error("the disk is full");
    });
    await expect(failing).rejects.toMatchObject({
      code: "canceled",
      message: expect.stringContaining("the disk is full"),
    });
    client.io.closeDevice(snapshot);
  });

  it("goes back to one", async () => {
    await client.io.rollbackImage(image, 1);
    await expectContent(image, first);
    await write(image, model, 0, first);
  });

  it("serves clones of it, through a cache that the processes share", async () => {
    const striped = { stripeUnitBytes: 65_536, stripeCount: 3 };
    const fixed = layout("base", { ...striped, snap: 1, cache: { image: "rbd/base@1" } });
    const content = Buffer.from(first);
    for (const { io } of [client, other]) {
      const parent = io.openImage(fixed);
      const clone = io.openImage(
        layout("clone", { parent: { device: parent, overlapBytes: sizeBytes } }),
      );
      io.closeDevice(parent);
      if (io === client.io) await write(clone, content, 5 * mebibyte - 50, randomBytes(100));
      await expectContent(clone, content, io);
      const { counters } = await io.deviceStats(clone);
      if (io === client.io) {
        expect(counters.copyups).toBe(2);
        expect(counters.cacheReadBytes).toBeGreaterThan(4 * mebibyte);
      } else {
        expect(counters).toMatchObject({ cacheReadBytes: 0, cacheMisses: 0 });
        expect(counters.cacheHits).toBeGreaterThan(64);
      }
      io.closeDevice(clone);
    }
  });

  it("is removed with all its objects", async () => {
    const clone = client.io.openImage(layout("clone"));
    const seen: number[] = [];
    await client.io.removeObjects(clone, 0, (done, total) => seen.push(done / total));
    expect(seen.at(-1)).toBe(1);
    expect(await client.io.measureImage(clone, 0)).toEqual({ usedBytes: 0, objects: 0 });
    await expectContent(clone, Buffer.alloc(sizeBytes));
  });
});

describe("an image that is served to guests", () => {
  it("tells those of its own new size, and no others", async () => {
    const program = fileURLToPath(new URL("../../build/native/vhost_disk", import.meta.url));
    const guests = await Promise.all(
      ["grown", "same"].map(async (id) => {
        const device = client.io.openImage(layout(id));
        const socket = path.join(folder, `${id}.sock`);
        const serving = await client.io.serveVhostUser(device, { socket, queues: 1, serial: id });
        const child = spawn(program, [socket, "--sizes"], { stdio: ["ignore", "pipe", "ignore"] });
        const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
        const nextSize = async () => Number((await lines.next()).value);
        return { device, serving, child, nextSize };
      }),
    );
    const [grown, same] = guests;
    expect(await Promise.all(guests.map(({ nextSize }) => nextSize()))).toEqual([
      sizeBytes,
      sizeBytes,
    ]);
    client.io.setImageSize(grown?.device ?? 0, 2 * sizeBytes);
    expect(await grown?.nextSize()).toBe(2 * sizeBytes);
    client.io.setImageSize(same?.device ?? 0, 3 * sizeBytes);
    expect(await same?.nextSize()).toBe(3 * sizeBytes);
    for (const { child, device, serving } of guests) {
      child.kill();
      await client.io.stopExport(serving);
      client.io.closeDevice(device);
    }
  });
});

describe("a live import", () => {
  it("is used while it runs, and needs its file no more afterwards", async () => {
    const model = Buffer.alloc(sizeBytes);
    const plain = randomBytes(3 * mebibyte);
    const cluster = Buffer.alloc(65_536, "cluster ");
    const packed = deflateRawSync(cluster, { windowBits: 12 });
    const file = path.join(folder, "source");
    writeFileSync(file, Buffer.concat([plain, packed]));
    const plainAt = 512 * 7; // not at a block
    const packedAt = 6 * mebibyte + 65_536;
    model.set(plain, plainAt);
    model.set(cluster, packedAt);
    const extents: CopyExtent[] = [
      { source: 0, hostOffset: 0, guestOffset: plainAt, lengthBytes: plain.length, kind: "data" },
      {
        source: 0,
        hostOffset: plain.length,
        guestOffset: packedAt,
        lengthBytes: cluster.length,
        kind: "zlib",
        compressedBytes: packed.length,
        clusterBytes: cluster.length,
        clusterOffset: 0,
      },
    ];
    const fd = openSync(file, "r");
    const source = client.io.openSource({ fds: [fd], extents, sizeBytes });
    closeSync(fd);
    const image = client.io.openImage(
      layout("import", { parent: { device: source, overlapBytes: sizeBytes } }),
    );
    await expectContent(image, model);
    const flattened = client.io.flattenImage(image);
    await Promise.all([
      write(image, model, plainAt + 100, randomBytes(1000)),
      write(image, model, packedAt - 100, randomBytes(5000)),
      write(image, model, 2 * mebibyte, randomBytes(8192)),
    ]);
    await flattened;
    await expectContent(image, model);
    await client.io.drainGate(image);
    client.io.closeDevice(source);
    await client.io.setParent(image, null);
    client.io.openGate(image, { key: "", token: 0 });
    await expectContent(image, model);
    const { objects, usedBytes } = await client.io.measureImage(image, 0);
    expect(objects).toBe(5);
    expect(usedBytes).toBeLessThan(4 * mebibyte);
  });
});
