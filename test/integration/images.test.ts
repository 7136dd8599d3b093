// Images through the library on a real cluster: snapshots, clones, groups and diffs while a program
// writes, and across a second client.
import { mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ClusterClient, Image, Images, Namespaces } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { cairn, cairnJson } from "./support.js";

const root = path.join(fileURLToPath(import.meta.url), "../../..");
const folder = mkdtempSync(path.join(root, ".test-images-"));
const dir = path.join(folder, "cluster");
const ports = { clock: systemClock, random: systemRandom };
const mebibyte = 2 ** 20;
const sizeBytes = 32 * mebibyte;
const block = 4096;

let one: ClusterClient;
let other: ClusterClient;

beforeAll(async () => {
  const up = ["up", "--osds", "3", "--osd-size", "4G"];
  const { monitor } = await cairnJson<{ monitor: { port: number } }>(dir, ...up);
  const options = { monitor: { host: "127.0.0.1", port: monitor.port } };
  one = await ClusterClient.connect(options);
  other = await ClusterClient.connect(options);
});

afterAll(async () => {
  await one?.close();
  await other?.close();
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

const imagesOf = (client: ClusterClient, namespace = "") =>
  new Images(client, "rbd", ports, namespace);

/** A block whose every byte is the same. */
const blockOf = (value: number) => new Uint8Array(block).fill(value);

/** The bytes at some places, one for each: blocks here hold one byte all over. */
async function bytesAt(image: Image, offsets: number[]): Promise<number[]> {
  const found: number[] = [];
  for (const offset of offsets) {
    const bytes = await image.read(offset, block);
    expect(new Set(bytes).size).toBe(1);
    found.push(bytes[0] ?? -1);
  }
  return found;
}

async function written(name: string, byte: number, offsets: number[]): Promise<Image> {
  await imagesOf(one).create(name, sizeBytes);
  const image = await Image.open(one, ports, `rbd/${name}`);
  for (const offset of offsets) await image.write(offset, blockOf(byte));
  return image;
}

const places = [0, 4 * mebibyte - block, 4 * mebibyte, 20 * mebibyte];

describe("the library", () => {
  it("snapshots an image that another client writes, and rolls it back", async () => {
    const image = await written("disk", 1, places);
    const manager = imagesOf(other);
    await manager.snapshots.create("disk", "s");
    await image.write(0, blockOf(2));
    await image.discard(4 * mebibyte, 4 * mebibyte);
    const snap = await Image.open(other, ports, "rbd/disk@s");
    expect(await bytesAt(snap, places)).toEqual([1, 1, 1, 1]);
    expect(await bytesAt(image, places)).toEqual([2, 1, 0, 1]);
    await snap.close();
    await manager.snapshots.rollback("disk", "s");
    expect(await bytesAt(image, places)).toEqual([1, 1, 1, 1]);
    await manager.snapshots.remove("disk", "s");
    expect(await image.snapshots()).toEqual([]);
    await image.close();
    await manager.remove("disk");
  });

  it("tells what has changed since a snapshot, block by block", async () => {
    const image = await written("diffed", 1, places);
    await image.createSnapshot("s");
    await image.write(8 * mebibyte, blockOf(2));
    await image.write(block, blockOf(2));
    await image.discard(0, block);
    const changed: [number, number, string][] = [];
    for await (const { offset, length, state } of image.diff("s")) {
      changed.push([offset, length, state]);
    }
    expect(changed).toEqual([
      [0, block, "absent"],
      [block, block, "data"],
      [8 * mebibyte, block, "data"],
    ]);
    expect((await image.usage("s")).usedBytes).toBe(2 * block);
    await image.close();
  });

  it("clones, in a chain, and flattens while a client writes", async () => {
    const base = await written("base", 1, places);
    await base.createSnapshot("s");
    await base.clone("s", "c1");
    const c1 = await Image.open(one, ports, "rbd/c1");
    await c1.write(4 * mebibyte, blockOf(2));
    await c1.write(512, new Uint8Array(512).fill(7));
    await c1.createSnapshot("s");
    await c1.clone("s", "c2");
    const c2 = await Image.open(one, ports, "rbd/c2");
    expect(await bytesAt(c2, places.slice(1))).toEqual([1, 2, 1]);
    expect([...(await c2.read(0, 1024))].filter((byte) => byte === 7)).toHaveLength(512);
    const manager = imagesOf(other);
    await base.removeSnapshot("s");
    await base.close();
    await Promise.all([
      manager.clones.flatten("c1"),
      c1.write(20 * mebibyte, blockOf(3)),
      manager.clones.flatten("c2"),
    ]);
    expect(await bytesAt(c1, places.slice(1))).toEqual([1, 2, 3]);
    expect(await bytesAt(c2, places.slice(1))).toEqual([1, 2, 1]);
    expect(await manager.clones.parent("c2")).toBeUndefined();
    // Nobody needs the base any more, not even the snapshot of c1.
    await manager.remove("base");
    expect(await bytesAt(c1, places.slice(1))).toEqual([1, 2, 3]);
    const snap = await Image.open(other, ports, "rbd/c1@s");
    expect(await bytesAt(snap, places.slice(1))).toEqual([1, 2, 1]);
    await snap.close();
    await c1.removeSnapshot("s");
    await c1.close();
    await c2.close();
    for (const name of ["c1", "c2"]) await manager.remove(name);
  });

  it("removes and shrinks what is huge and nearly empty at the cost of what there is", async () => {
    const tebibyte = 2 ** 40;
    const manager = imagesOf(other);
    const create = async (name: string) => {
      await manager.create(name, 64 * tebibyte, { overcommit: true });
      const image = await Image.open(one, ports, `rbd/${name}`);
      for (let at = 0; at < 10; at += 1) await image.write(at * 6 * tebibyte, blockOf(1));
      await image.close();
    };
    /** What is sent to OSDs meanwhile; the image could have 16 million objects. */
    const operationsOf = async (work: () => Promise<unknown>) => {
      const sent = async () => (await other.io.stats()).counters.operations ?? 0;
      const before = await sent();
      await work();
      return (await sent()) - before;
    };
    const expectFew = (operations: number) => {
      expect(operations).toBeGreaterThanOrEqual(9);
      expect(operations).toBeLessThan(500);
    };
    await create("thin");
    const steps: number[] = [];
    const remove = () => manager.remove("thin", (done, total) => steps.push(done / total));
    expectFew(await operationsOf(remove));
    expect(steps.at(-1)).toBe(1);
    await create("thin");
    expectFew(await operationsOf(() => manager.resize("thin", 8192, { allowShrink: true })));
    await manager.resize("thin", 64 * tebibyte, { overcommit: true });
    const image = await Image.open(one, ports, "rbd/thin");
    expect(await bytesAt(image, [0, 6 * tebibyte, 54 * tebibyte])).toEqual([1, 0, 0]);
    expect(await image.usage()).toMatchObject({ usedBytes: block });
    await image.close();
    await manager.remove("thin");
  });

  it("keeps nothing of what a clone had behind its new end, not even zeros", async () => {
    const base = await written("broad", 1, places);
    await base.createSnapshot("s");
    await base.clone("s", "narrow");
    const clone = await Image.open(one, ports, "rbd/narrow");
    for (const offset of places) await clone.write(offset, blockOf(2));
    const manager = imagesOf(other);
    await manager.resize("narrow", 2 * block, { allowShrink: true });
    expect(await clone.usage()).toMatchObject({ usedBytes: block, objects: 1 });
    await manager.resize("narrow", sizeBytes);
    expect(await bytesAt(clone, places)).toEqual([2, 0, 0, 0]);
    const header = await manager.scope.header(await manager.scope.idOf("narrow"));
    const own = one.io.openImage({
      pool: manager.scope.pool.id,
      objectPrefix: header.objectPrefix,
      sizeBytes,
      objectBytes: 2 ** header.order,
      readOnly: true,
    });
    const extents: number[] = [];
    await one.io.diffImage(own, 0, (triples) => void extents.push(...triples));
    expect(extents).toEqual([0, block, 2]);
    one.io.closeDevice(own);
    await clone.close();
    await base.close();
    await manager.remove("narrow");
  });

  it("flattens a clone with its snapshots, which need the parent no more", async () => {
    const base = await written("golden", 1, places);
    await base.createSnapshot("s");
    await base.clone("s", "deep");
    const clone = await Image.open(one, ports, "rbd/deep");
    await clone.createSnapshot("untouched");
    await clone.write(0, blockOf(2));
    await clone.discard(4 * mebibyte, block);
    await clone.createSnapshot("written");
    await clone.write(20 * mebibyte, blockOf(3));
    const manager = imagesOf(other);
    const changed = async (from: string, to: string) => {
      const image = await Image.open(other, ports, `rbd/deep${to}`, { readOnly: true });
      const found: [number, string][] = [];
      for await (const { offset, state } of image.diff(from)) found.push([offset, state]);
      await image.close();
      return found;
    };
    const before = [await changed("untouched", "@written"), await changed("written", "")];
    await manager.clones.flatten("deep");
    expect([await changed("untouched", "@written"), await changed("written", "")]).toEqual(before);
    await base.removeSnapshot("s");
    await base.close();
    await manager.remove("golden");
    const shown: number[][] = [];
    for (const spec of ["rbd/deep@untouched", "rbd/deep@written"]) {
      const snap = await Image.open(other, ports, spec);
      shown.push(await bytesAt(snap, places));
      await snap.close();
    }
    expect(shown).toEqual([
      [1, 1, 1, 1],
      [2, 1, 0, 1],
    ]);
    expect(await bytesAt(clone, places)).toEqual([2, 1, 0, 3]);
    // Four blocks of the base, and two that were written: what layers have in common they share.
    expect(await clone.usage()).toMatchObject({ usedBytes: 3 * block });
    await clone.close();
    await manager.snapshots.rollback("deep", "untouched");
    const back = await Image.open(one, ports, "rbd/deep");
    expect(await bytesAt(back, places)).toEqual([1, 1, 1, 1]);
    await back.close();
    await manager.snapshots.purge("deep");
    await manager.remove("deep");
  });

  it("copies a clone as a clone, with blocks of zeros that hide the parent", async () => {
    const base = await written("origin", 1, places);
    await base.createSnapshot("s");
    await base.clone("s", "kin");
    const clone = await Image.open(one, ports, "rbd/kin");
    await clone.write(0, blockOf(0));
    await clone.createSnapshot("t");
    await clone.discard(4 * mebibyte, block);
    await clone.write(20 * mebibyte, blockOf(3));
    await clone.close();
    const manager = imagesOf(other);
    await manager.copies.deepCopy("kin", { scope: manager.scope, name: "twin" });
    expect(await manager.clones.parent("twin")).toMatchObject({ name: "origin" });
    const copy = await Image.open(other, ports, "rbd/twin");
    expect(await bytesAt(copy, places)).toEqual([0, 1, 0, 3]);
    // Its own: the block of zeros and the one that was written.
    expect((await copy.usage()).usedBytes).toBe(2 * block);
    await copy.close();
    const snap = await Image.open(other, ports, "rbd/twin@t");
    expect(await bytesAt(snap, places)).toEqual([0, 1, 1, 1]);
    await snap.close();
    await base.close();
    for (const name of ["kin", "twin"]) {
      await manager.snapshots.purge(name);
      await manager.remove(name);
    }
    await manager.snapshots.purge("origin");
    await manager.remove("origin");
  });

  it("migrates an image with its snapshots while a client writes", async () => {
    const image = await written("old", 1, places);
    await image.createSnapshot("s");
    await image.write(0, blockOf(2));
    await image.discard(4 * mebibyte, 4 * mebibyte);
    await image.createSnapshot("t");
    await image.write(20 * mebibyte, blockOf(3));
    const manager = imagesOf(other);
    const layout = { objectBytes: mebibyte };
    await manager.migrations.prepare("old", { scope: manager.scope, name: "moved" }, layout);
    const shown = async () => {
      const found: number[][] = [];
      for (const spec of ["rbd/moved@s", "rbd/moved@t"]) {
        const snap = await Image.open(other, ports, spec);
        found.push(await bytesAt(snap, places));
        await snap.close();
      }
      return found;
    };
    const expected = [
      [1, 1, 1, 1],
      [2, 1, 0, 1],
    ];
    expect(await shown()).toEqual(expected);
    await Promise.all([manager.migrations.execute("moved"), image.write(block, blockOf(4))]);
    await manager.migrations.commit("moved");
    expect(await shown()).toEqual(expected);
    expect(await bytesAt(image, [...places, block])).toEqual([2, 1, 0, 3, 4]);
    // Of all that is shown: the five above; 1 at 0, at 4 MiB and at 20 MiB belong to snapshots.
    expect((await image.usage()).usedBytes).toBe(4 * block);
    await image.close();
    await manager.snapshots.purge("moved");
    await manager.remove("moved");
  });

  it("copies with all snapshots", async () => {
    const image = await written("many", 1, places);
    await image.createSnapshot("s");
    await image.write(0, blockOf(2));
    await image.discard(4 * mebibyte, 4 * mebibyte);
    await image.createSnapshot("t");
    await image.write(0, blockOf(3));
    const manager = imagesOf(other);
    await manager.copies.deepCopy("many", { scope: manager.scope, name: "copy" });
    await image.close();
    const shown: number[][] = [];
    for (const spec of ["rbd/copy@s", "rbd/copy@t", "rbd/copy"]) {
      const copy = await Image.open(other, ports, spec, { readOnly: true });
      shown.push(await bytesAt(copy, places));
      await copy.close();
    }
    expect(shown).toEqual([
      [1, 1, 1, 1],
      [2, 1, 0, 1],
      [3, 1, 0, 1],
    ]);
  });

  it("copies the last block of an image that ends within it, as each moment has it", async () => {
    const manager = imagesOf(other);
    await manager.create("odd", 2 * block + 512);
    const image = await Image.open(one, ports, "rbd/odd");
    const end = (value: number) => new Uint8Array(512).fill(value);
    await image.write(2 * block, end(1));
    await image.createSnapshot("s");
    await image.write(2 * block, end(2));
    await image.close();
    await manager.copies.deepCopy("odd", { scope: manager.scope, name: "odd2" });
    for (const [spec, value] of [
      ["rbd/odd2@s", 1],
      ["rbd/odd2", 2],
    ] as const) {
      const copy = await Image.open(other, ports, spec, { readOnly: true });
      expect(new Uint8Array(await copy.read(2 * block, 512))).toEqual(end(value));
      await copy.close();
    }
  });

  it("copies an image that was larger at an earlier snapshot", async () => {
    const image = await written("larger", 1, places);
    await image.createSnapshot("s");
    const manager = imagesOf(other);
    await manager.resize("larger", 2 * block, { allowShrink: true });
    await image.write(block, blockOf(2));
    await image.close();
    await manager.copies.deepCopy("larger", { scope: manager.scope, name: "shorter" });
    const before = await Image.open(other, ports, "rbd/shorter@s");
    expect(await bytesAt(before, places)).toEqual([1, 1, 1, 1]);
    await before.close();
    const copy = await Image.open(other, ports, "rbd/shorter");
    expect((await manager.info("shorter")).sizeBytes).toBe(2 * block);
    expect(await bytesAt(copy, [0, block])).toEqual([1, 2]);
    expect(await copy.usage()).toMatchObject({ usedBytes: 2 * block, objects: 1 });
    await copy.close();
  });

  it("snapshots a group of images that are written as of one moment", async () => {
    const a = await written("a", 0, []);
    const b = await written("b", 0, []);
    const manager = imagesOf(other);
    await manager.groups.create("g");
    for (const name of ["a", "b"]) {
      await manager.groups.addImage("g", { scope: manager.scope, name });
    }
    // Each number goes into a first and into b when that is through: b never is ahead of a.
    let writing = true;
    const writer = (async () => {
      for (let byte = 1; writing; byte = (byte % 250) + 1) {
        await a.write(0, blockOf(byte));
        await b.write(0, blockOf(byte));
      }
    })();
    for (let round = 0; round < 10; round += 1) {
      await manager.groups.snapshots.create("g", `s${round}`);
      const [inA, inB] = await Promise.all(
        ["a", "b"].map(async (name) => {
          const all = await manager.snapshots.list(name, { all: true });
          const snap = await Image.open(other, ports, `rbd/${name}@${all.at(-1)?.name}`);
          const [byte = -1] = await bytesAt(snap, [0]);
          await snap.close();
          return byte;
        }),
      );
      const ahead = ((inA ?? 0) - (inB ?? 0) + 250) % 250;
      expect([0, 1], `a has ${inA}, b has ${inB}`).toContain(ahead);
    }
    writing = false;
    await writer;
    await manager.groups.snapshots.rollback("g", "s3");
    await manager.groups.remove("g");
    await a.close();
    await b.close();
  });

  it("reads a clone and its snapshot on when both let the parent go", async () => {
    const parent = await written("golden", 3, places);
    await parent.createSnapshot("s");
    await parent.clone("s", "freed");
    await parent.close();
    const manager = imagesOf(one);
    await manager.snapshots.create("freed", "t");
    const readers = await Promise.all(
      ["rbd/freed@t", "rbd/freed"].map((spec) =>
        Image.open(other, ports, spec, { readOnly: true }),
      ),
    );
    let over = false;
    const reading = readers.map(async (reader) => {
      while (!over) expect(await bytesAt(reader, places)).toEqual([3, 3, 3, 3]);
    });
    await manager.clones.flatten("freed");
    await manager.snapshots.purge("golden");
    await manager.remove("golden");
    over = true;
    await Promise.all(reading);
    for (const reader of readers) {
      expect(await bytesAt(reader, places)).toEqual([3, 3, 3, 3]);
      await reader.close();
    }
  });

  it("keeps striped images and data pools, and namespaces apart", async () => {
    await cairnJson(dir, "pool", "create", "fast", "--pg-num", "8");
    await new Namespaces(imagesOf(one).scope).create("ns");
    for (const client of [one, other]) {
      await expect.poll(() => client.map().pools.some(({ name }) => name === "fast")).toBe(true);
    }
    const layout = { objectBytes: 1 << 20, stripeUnitBytes: 65536, stripeCount: 4 };
    await imagesOf(one, "ns").create("disk", sizeBytes, { ...layout, dataPool: "fast" });
    const image = await Image.open(one, ports, "rbd/ns/disk");
    const bytes = new Uint8Array(mebibyte).map((_, index) => index / block);
    await image.write(3 * mebibyte, bytes);
    await image.createSnapshot("s");
    await image.discard(3 * mebibyte, mebibyte);
    const snap = await Image.open(other, ports, "rbd/ns/disk@s");
    expect(Buffer.compare(await snap.read(3 * mebibyte, mebibyte), bytes)).toBe(0);
    await snap.close();
    await image.close();
    await imagesOf(one, "ns").snapshots.purge("disk");
    await imagesOf(one, "ns").remove("disk");
    await new Namespaces(imagesOf(one).scope).remove("ns");
  });

  it("limits what an image takes, at once", async () => {
    const image = await written("slow", 1, []);
    const manager = imagesOf(other);
    await manager.config.set("slow", "rbd_qos_write_iops_limit", "20");
    const begun = performance.now();
    for (let at = 0; at < 30; at += 1) await image.write(at * block, blockOf(1));
    const limitedMs = performance.now() - begun;
    expect(limitedMs).toBeGreaterThan(1000);
    await manager.config.remove("slow", "rbd_qos_write_iops_limit");
    await image.close();
  });

  it("ends a diff whose answers come all at once", async () => {
    const objectBytes = 4 * mebibyte;
    const places = Array.from({ length: 400 }, (_, index) => index * objectBytes);
    await imagesOf(one).create("wide", places.length * objectBytes);
    const image = await Image.open(one, ports, "rbd/wide");
    for (let at = 0; at < places.length; at += 40) {
      await Promise.all(places.slice(at, at + 40).map((place) => image.write(place, blockOf(1))));
    }
    for (let round = 0; round < 20; round += 1) {
      const found: number[] = [];
      for await (const { offset } of image.diff()) found.push(offset);
      expect(found).toEqual(places);
    }
    await image.close();
  });

  it("hears of changes", async () => {
    const image = await written("watched", 1, []);
    const sizes: number[] = [];
    const end = await image.watch((info) => sizes.push(info.sizeBytes));
    await imagesOf(other).resize("watched", 2 * sizeBytes);
    await expect.poll(() => sizes.at(-1), { timeout: 10_000 }).toBe(2 * sizeBytes);
    expect(await bytesAt(image, [2 * sizeBytes - block])).toEqual([0]);
    await end();
    await image.close();
  });
});
