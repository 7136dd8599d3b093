// Space that is given back on a real cluster: blocks of zeros of an image that is written to all
// the while, and what clients that come late must not take for removed snapshots.
import { expect, it } from "vitest";
import { type ClusterClient, Image, type Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { cairn, cairnJson } from "./support.js";
import { testCluster } from "./test-cluster.js";

const ports = { clock: systemClock, random: systemRandom };
const mebibyte = 2 ** 20;
const blockBytes = 4096;

let client: ClusterClient;
let images: Images<ClusterClient["io"]>;

const { dir } = testCluster("space", (made) => {
  ({ client, images } = made);
});

async function contentOf(spec: string, sizeBytes: number): Promise<Buffer> {
  const image = await Image.open(client, ports, spec, { readOnly: true });
  try {
    const parts: Uint8Array[] = [];
    for (let at = 0; at < sizeBytes; at += mebibyte) parts.push(await image.read(at, mebibyte));
    return Buffer.concat(parts);
  } finally {
    await image.close();
  }
}

it("blocks of zeros go while a writer goes on, under its lock", { timeout: 120_000 }, async () => {
  const sizeBytes = 64 * mebibyte;
  await images.create("disk", sizeBytes);
  const image = await Image.open(client, ports, "rbd/disk");
  const model = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += mebibyte) {
    if (at === 8 * mebibyte) model.fill(8, at, at + 1000);
    await image.write(at, model.subarray(at, at + mebibyte));
  }
  await images.snapshots.create("disk", "full");
  const full = Buffer.from(model);
  await image.write(0, model.subarray(0, 4 * mebibyte));

  let seed = 1;
  let stopped = false;
  let written = 0;
  const writer = async () => {
    while (!stopped) {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      const at = (seed % (sizeBytes / blockBytes)) * blockBytes;
      model.fill(1 + (seed % 255), at, at + blockBytes);
      await image.write(at, model.subarray(at, at + blockBytes));
      written += 1;
    }
  };
  const writing = writer();
  const first = await cairnJson<{ freedBytes: number }>(dir, "sparsify", "rbd/disk");
  const during = written;
  stopped = true;
  await writing;
  expect(during).toBeGreaterThan(10);
  expect(first.freedBytes).toBeGreaterThan(48 * mebibyte);
  expect(model.equals(await contentOf("rbd/disk", sizeBytes))).toBe(true);
  expect(full.equals(await contentOf("rbd/disk@full", sizeBytes))).toBe(true);
  // The same client has the lock still, and goes on.
  await image.write(0, Buffer.alloc(4 * mebibyte));
  const units = ["--sparse-size", "1M"];
  const again = await cairnJson<{ freedBytes: number }>(dir, "sparsify", "rbd/disk", ...units);
  expect(again.freedBytes).toBe(4 * mebibyte);
  await image.close();
  const odd = await cairn(dir, "sparsify", "rbd/disk", "--sparse-size", "8M");
  expect(odd).toMatchObject({ code: 2, stderr: expect.stringMatching(/4194304/) });
});

it("a client that still names a removed snapshot gets nothing kept for it", {
  timeout: 120_000,
}, async () => {
  const { id } = await images.create("late", 4 * mebibyte);
  const pool = client.pool("rbd").id;
  const layout = {
    ...{ pool, objectPrefix: `rbd_data.${id}`, sizeBytes: 4 * mebibyte, objectBytes: 4 * mebibyte },
    readOnly: false,
  };
  const { io } = client;
  const first = io.openImage(layout);
  await io.writeDevice(first, 0, Buffer.alloc(mebibyte, 1));
  const snapshot = await images.snapshots.create("late", "s");
  await images.snapshots.remove("late", "s");
  // Until every PG is through with it, and the map no longer lists it as being removed.
  const poolInfo = () => client.map().pools.find((candidate) => candidate.id === pool);
  await expect.poll(() => poolInfo()?.removedSnaps, { timeout: 60_000 }).toBeUndefined();
  expect(poolInfo()?.purgedSnaps?.flat()).toContain(snapshot.id);
  // What a client has that read the header before, and was away since then.
  const context = { seq: snapshot.id, snaps: [snapshot.id] };
  const late = io.openImage({ ...layout, snapContext: context });
  await io.writeDevice(late, 0, Buffer.alloc(mebibyte, 2));
  const shown = io.openImage({ ...layout, readOnly: true, snap: snapshot.id });
  await expect(io.readDevice(shown, 0, blockBytes)).rejects.toMatchObject({ code: "not_found" });
  for (const device of [first, late, shown]) io.closeDevice(device);
});
