// Devices of a NativeClient that need no cluster: image files, limits, statistics, and what closed
// devices answer; and what a client does that closes while it serves.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { deflateRawSync } from "node:zlib";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type ClientEvent, type CopyExtent, type NativeClient, native } from "./index.js";

const clusterBytes = 65_536;
const sizeBytes = 4 * clusterBytes;
const plain = new Uint8Array(clusterBytes).map((_, index) => (index % 251) + 1);
const packed = new Uint8Array(clusterBytes).map((_, index) => (index % 13) + 1);

let folder: string;
let client: NativeClient;
let events: ClientEvent[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cairn-devices-"));
  events = [];
  client = new native.Client({
    clusterId: new Uint8Array(16),
    clientId: 1n,
    onEvents: (batch) => events.push(...batch),
  });
});

afterEach(async () => {
  await client.close();
  rmSync(folder, { recursive: true });
});

/** A file with a plain cluster, then a compressed one. */
function openSource(by = client) {
  const path = join(folder, "image");
  const compressed = deflateRawSync(packed, { windowBits: 12 });
  writeFileSync(path, Buffer.concat([plain, compressed]));
  const extents: CopyExtent[] = [
    { source: 0, hostOffset: 0, guestOffset: 0, lengthBytes: clusterBytes, kind: "data" },
    {
      source: 0,
      hostOffset: clusterBytes,
      guestOffset: 2 * clusterBytes,
      lengthBytes: clusterBytes,
      kind: "zlib",
      compressedBytes: compressed.length,
      clusterBytes,
      clusterOffset: 0,
    },
  ];
  const fd = openSync(path, "r");
  const device = by.openSource({ fds: [fd], extents, sizeBytes });
  closeSync(fd); // the device has its own
  return device;
}

test("an image file is a device", async () => {
  const device = openSource();
  const expected = Buffer.alloc(sizeBytes);
  expected.set(plain, 0);
  expected.set(packed, 2 * clusterBytes);
  const read = await client.readDevice(device, 0, sizeBytes);
  expect(Buffer.compare(read, expected)).toBe(0);
  const part = await client.readDevice(device, 2 * clusterBytes + 1000, 1000);
  expect(Buffer.compare(part, packed.subarray(1000, 2000))).toBe(0);
  await expect(client.readDevice(device, sizeBytes, 1)).rejects.toMatchObject({
    code: "out_of_range",
  });
  await expect(client.writeDevice(device, 0, plain)).rejects.toMatchObject({ code: "read_only" });
});

test("statistics count what was done, and limits slow it down", async () => {
  const device = openSource();
  for (let i = 0; i < 4; i++) await client.readDevice(device, 0, 4096);
  const before = await client.deviceStats(device);
  expect(before.counters).toMatchObject({ reads: 4, readBytes: 16_384, throttled: 0, inFlight: 0 });
  expect(before.histograms.read?.count).toBe(4);
  await client.setQos(device, { iops: { perSecond: 20, burst: 1 } });
  const started = performance.now();
  await Promise.all([1, 2, 3, 4].map(() => client.readDevice(device, 0, 4096)));
  expect(performance.now() - started).toBeGreaterThan(140);
  const after = await client.deviceStats(device);
  expect(after.counters).toMatchObject({ reads: 8, throttled: 3 });
  expect(after.counters.throttledNs).toBeGreaterThan(250e6);
  await client.setQos(device, { iops: { perSecond: 1, burst: 1 } });
  const waiting = Promise.all([client.readDevice(device, 0, 1), client.readDevice(device, 0, 1)]);
  await client.setQos(device, {});
  await waiting;
});

test("what can't be opened, or is closed, says so", async () => {
  const closed = { code: "not_found" };
  const layout = { pool: 1, objectPrefix: "rbd_data.1", sizeBytes, readOnly: false };
  const bad = client.openImage({ ...layout, objectBytes: clusterBytes, stripeUnitBytes: 5000 });
  const orphan = client.openImage({
    ...layout,
    objectBytes: clusterBytes,
    parent: { device: 77, overlapBytes: 1 },
  });
  const source = client.openSource({ fds: [-1], extents: [], sizeBytes });
  for (const device of [bad, orphan, source]) {
    await expect(client.deviceStats(device)).rejects.toMatchObject(closed);
    await expect(client.setQos(device, {})).rejects.toMatchObject(closed);
    await expect(client.readDevice(device, 0, 1)).rejects.toMatchObject(closed);
    await expect(client.setParent(device, null)).rejects.toMatchObject(closed);
    await expect(client.flattenImage(device)).rejects.toMatchObject(closed);
    await expect(client.measureImage(device, 0)).rejects.toMatchObject(closed);
    await expect(client.diffImage(device, 0, () => {})).rejects.toMatchObject(closed);
  }
  await expect.poll(() => events.filter((event) => event.type === "log").length).toBe(3);
  const image = client.openImage({ ...layout, objectBytes: clusterBytes });
  // There is no such pool.
  await expect(client.measureImage(image, 0)).rejects.toMatchObject({ code: "not_found" });
  await expect(client.setParent(image, { device: source, overlapBytes: 1 })).rejects.toMatchObject(
    closed,
  );
  const parent = openSource();
  await client.setParent(image, { device: parent, overlapBytes: sizeBytes });
  client.closeDevice(parent);
  await client.setParent(image, null);
});

const vhostDisk = fileURLToPath(new URL("../build/native/vhost_disk", import.meta.url));

/** A front end of `socket` that has read its disk's size, and then asks for its first block. */
async function connectFrontEnd(socket: string) {
  const child = spawn(vhostDisk, [socket], { stdio: ["pipe", "pipe", "ignore"] });
  await once(child.stdout, "data");
  const answer = once(child.stdout, "data");
  child.stdin.write(readRequest());
  return { child, answer };
}

/** A request of vhost_disk: a read of 4 KiB from the beginning. */
function readRequest(): Buffer {
  const request = Buffer.alloc(32);
  request.writeBigUInt64LE(1n, 8);
  request.writeBigUInt64LE(4096n, 24);
  return request;
}

test("a client closes while front ends are connected, and while their requests wait", async () => {
  const serving = new native.Client({
    clusterId: new Uint8Array(16),
    clientId: 2n,
    onEvents: () => undefined,
  });
  const sockets = ["idle", "waiting"].map((name) => join(folder, name));
  // Nobody ever opens the gate of the locked image.
  const locked = serving.openImage({
    pool: 1,
    objectPrefix: "rbd_data.1",
    sizeBytes,
    objectBytes: clusterBytes,
    readOnly: false,
    locked: true,
  });
  const devices = [serving.openNull(sizeBytes), locked];
  const handles = [];
  for (const [at, device] of devices.entries()) {
    const socket = sockets[at] ?? "";
    handles.push(await serving.serveVhostUser(device, { socket, queues: 1, serial: "s" }));
  }
  const frontEnds = await Promise.all(sockets.map(connectFrontEnd));
  const [idleAnswer, answer] = frontEnds.map((frontEnd) => frontEnd.answer);
  await idleAnswer;
  await vi.waitFor(async () => {
    expect((await serving.deviceStats(locked)).counters.inFlight).toBe(1);
  });
  const ended = frontEnds.map(({ child }) => once(child, "exit"));
  // One that is being stopped already, and is stopped once more by the end.
  const stopped = serving.stopExport(handles[0] ?? 0);
  await serving.close();
  await stopped;
  // It is answered, with an error of virtio-blk.
  const [reply] = (await answer) as [Buffer];
  expect([reply.readBigUInt64LE(0), reply.readUInt32LE(8)]).toEqual([1n, 1]);
  for (const { child } of frontEnds) child.stdin.end();
  await Promise.all(ended);
});

test("what is asked of a client that is closed, or closes meanwhile, is refused", async () => {
  const closed = { code: "canceled", message: expect.stringContaining("the client is clos") };
  const other = new native.Client({
    clusterId: new Uint8Array(16),
    clientId: 3n,
    onEvents: () => undefined,
  });
  const device = other.openNull(4096);
  const source = openSource(other);
  const layout = { pool: 1, objectPrefix: "rbd_data.1", sizeBytes, objectBytes: clusterBytes };
  const image = other.openImage({ ...layout, readOnly: true });
  // It would end when its time is over.
  const trace = other.traceDevice(image, { durationMs: 3_600_000, every: 1 });
  const traced = expect(trace).rejects.toMatchObject(closed);
  const closing = [other.close(), other.close()];
  await expect(other.stats()).rejects.toMatchObject(closed);
  await Promise.all([...closing, traced]);
  for (const ask of [
    () => other.stats(),
    () => other.readDevice(device, 0, 4096),
    () => other.operate(1, "o", [{ code: "touch" }]),
    () => other.watch(1, "o", { cookie: "c", description: "", timeoutMs: 1000 }),
    () => other.exportTo(source, 1, false, () => undefined),
    () => other.setQos(device, {}),
  ]) {
    await expect(ask()).rejects.toMatchObject(closed);
  }
  other.closeDevice(device);
  await other.close();
});
