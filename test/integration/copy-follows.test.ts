// Copies of clones that are flattened meanwhile, whose parents are removed then, on a real cluster:
// a copy goes on and has what its source showed.
import { expect, it, onTestFinished } from "vitest";
import { type ClusterClient, Image, Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { cairnJson, spawnCairn } from "./support.js";
import { testCluster } from "./test-cluster.js";

const ports = { clock: systemClock, random: systemRandom };
const mebibyte = 2 ** 20;
const part = 4 * mebibyte;

let client: ClusterClient;
let images: Images<ClusterClient["io"]>;

const { dir } = testCluster(
  "copy-follows",
  (made) => {
    ({ client, images } = made);
  },
  "6G",
);

async function write(name: string, from: number, to: number, value: number): Promise<void> {
  const image = await Image.open(client, ports, `rbd/${name}`);
  for (let at = from; at < to; at += part) {
    await image.write(at, Buffer.alloc(Math.min(part, to - at), value));
  }
  await image.close();
}

/** What fills the first half of each of the last parts of an image. */
async function ends(spec: string, count: number): Promise<number[]> {
  const image = await Image.open(client, ports, spec, { readOnly: true });
  const { sizeBytes } = await image.info();
  const found: number[] = [];
  for (let at = sizeBytes - count * part; at < sizeBytes; at += part) {
    const bytes = Buffer.from(await image.read(at, part));
    const [half, rest] = [bytes.subarray(0, part / 2), bytes.subarray(part / 2)];
    expect(half.equals(Buffer.alloc(part / 2, half[0]))).toBe(true);
    // The last part has nothing more.
    const isLast = at === sizeBytes - part;
    expect(rest.equals(isLast ? Buffer.alloc(part / 2) : half)).toBe(true);
    found.push(half[0] ?? -1);
  }
  await image.close();
  return found;
}

/**
 * golden has data at the end of its size, and a hole in the last part, which shows through its
 * clones also when these are flattened; clone@s has 2 in the part before the last.
 */
async function family(golden: string, clone: string, sizeBytes: number): Promise<void> {
  await images.create(golden, sizeBytes);
  await write(golden, sizeBytes - 4 * part, sizeBytes - part, 1);
  await write(golden, sizeBytes - part, sizeBytes - part / 2, 1);
  await images.snapshots.create(golden, "s");
  await images.clones.create(golden, "s", { scope: images.scope, name: clone });
  await write(clone, sizeBytes - 2 * part, sizeBytes - part, 2);
  await images.snapshots.create(clone, "s");
  await write(clone, sizeBytes - 3 * part, sizeBytes - 2 * part, 3);
}

/** By processes of their own: afterwards nobody can read of golden. */
async function flattenAndRemove(clone: string, golden: string): Promise<void> {
  await cairnJson(dir, "flatten", `rbd/${clone}`, "--no-progress");
  await cairnJson(dir, "snap", "rm", `rbd/${golden}@s`, "--no-progress");
  await cairnJson(dir, "rm", `rbd/${golden}`, "--no-progress");
}

/** The image layer of a client that runs `meanwhile` when the first filling of a copy begins. */
function interrupted(meanwhile: () => Promise<void>): Images<ClusterClient["io"]> {
  let begun: Promise<void> | undefined;
  onTestFinished(() => expect(begun, "nothing happened meanwhile").toBeDefined());
  const io = new Proxy(client.io, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      if (name !== "flattenImage") return member.bind(target);
      return async (...args: Parameters<typeof target.flattenImage>) => {
        begun ??= meanwhile();
        await begun;
        return target.flattenImage(...args);
      };
    },
  });
  const cluster = new Proxy(client, {
    get(target, name) {
      if (name === "io") return io;
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  return new Images(cluster, "rbd", ports);
}

const sizeBytes = 32 * mebibyte;
const nowShown = [1, 3, 2, 1];
const thenShown = [1, 1, 2, 1];

it("cp of a clone", { timeout: 120_000 }, async () => {
  await family("g1", "c1", sizeBytes);
  const copier = interrupted(() => flattenAndRemove("c1", "g1"));
  await copier.copies.copy("c1", undefined, { scope: copier.scope, name: "d1" });
  expect(await ends("rbd/d1", 4)).toEqual(nowShown);
  expect(await ends("rbd/c1", 4)).toEqual(nowShown);
});

it("cp of a snapshot of a clone", { timeout: 120_000 }, async () => {
  await family("g2", "c2", sizeBytes);
  const copier = interrupted(() => flattenAndRemove("c2", "g2"));
  await copier.copies.copy("c2", "s", { scope: copier.scope, name: "d2" });
  expect(await ends("rbd/d2", 4)).toEqual(thenShown);
});

it("deep cp --flatten: of all its moments, those that come later too", {
  timeout: 120_000,
}, async () => {
  await family("g3", "c3", sizeBytes);
  const copier = interrupted(() => flattenAndRemove("c3", "g3"));
  await copier.copies.deepCopy("c3", { scope: copier.scope, name: "d3" }, { flatten: true });
  expect(await ends("rbd/d3@s", 4)).toEqual(thenShown);
  expect(await ends("rbd/d3", 4)).toEqual(nowShown);
});

it("deep cp of a clone that stays one keeps the parent", { timeout: 120_000 }, async () => {
  await family("g4", "c4", sizeBytes);
  const copier = interrupted(async () => {
    await cairnJson(dir, "flatten", "rbd/c4", "--no-progress");
    await images.snapshots.remove("g4", "s");
    await expect(images.remove("g4")).rejects.toMatchObject({ code: "busy" });
  });
  await copier.copies.deepCopy("c4", { scope: copier.scope, name: "d4" });
  expect(await ends("rbd/d4@s", 4)).toEqual(thenShown);
  expect(await ends("rbd/d4", 4)).toEqual(nowShown);
  expect(await images.clones.children("g4", undefined)).toMatchObject([{ name: "d4" }]);
});

it("cp of a clone of a clone, the lower one of which is flattened", {
  timeout: 120_000,
}, async () => {
  await family("g5", "c5", sizeBytes);
  await images.clones.create("c5", "s", { scope: images.scope, name: "e5" });
  const copier = interrupted(() => flattenAndRemove("c5", "g5"));
  await copier.copies.copy("e5", undefined, { scope: copier.scope, name: "d5" });
  expect(await ends("rbd/d5", 4)).toEqual(thenShown);
});

it("a source that is being copied is in use, and not removed", { timeout: 60_000 }, async () => {
  await images.create("g6", sizeBytes);
  await write("g6", 0, sizeBytes - part / 2, 6);
  const copier = interrupted(async () => {
    await expect(images.remove("g6")).rejects.toMatchObject({ code: "busy", message: /in use by/ });
  });
  await copier.copies.copy("g6", undefined, { scope: copier.scope, name: "d6" });
  expect(await ends("rbd/d6", 1)).toEqual([6]);
  await images.remove("g6");
});

/** Whether any data of an image that has no name yet is there. */
async function hasData(id: string): Promise<boolean> {
  const { io } = client;
  const layout = { pool: images.poolId, objectPrefix: `rbd_data.${id}`, sizeBytes };
  const handle = io.openImage({ ...layout, objectBytes: part, readOnly: true });
  try {
    return (await io.measureImage(handle, 0)).objects > 0;
  } finally {
    io.closeDevice(handle);
  }
}

it("bin/cairn cp, which copies since before the flatten", { timeout: 300_000 }, async () => {
  const large = 1024 * mebibyte;
  await family("g7", "c7", large);
  await write("c7", 0, large - 4 * part, 7);
  const child = spawnCairn(dir, "cp", "rbd/c7", "rbd/d7", "--no-progress");
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const often = { timeout: 30_000, interval: 10 };
  await expect.poll(() => images.pending(), often).toHaveLength(1);
  const [entry] = await images.pending();
  await expect.poll(() => hasData(entry?.id ?? ""), often).toBe(true);
  // What the parent has comes last: it is not there any more when the copy gets to it.
  await images.clones.flatten("c7");
  await images.snapshots.remove("g7", "s");
  await images.remove("g7");
  expect(await images.pending(), "the copy was over too soon to show anything").toHaveLength(1);
  expect(await ended).toBe(0);
  expect(await ends("rbd/d7", 5)).toEqual([7, ...nowShown]);
});
