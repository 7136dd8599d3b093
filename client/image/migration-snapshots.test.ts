// Migrations of images with snapshots: what these show at every step, beside guests, and after.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { openLocked } from "./open-locked.js";

const mebibyte = 2 ** 20;
const objectBytes = 4 * mebibyte;
const sizeBytes = 16 * mebibyte;

/** An image that was smaller for a while, with a snapshot of each of its sizes. */
async function made(name = "a") {
  const cluster = new FakeCluster();
  const client = cluster.client();
  const { io, images, inPool } = client;
  const fast = inPool("fast");
  const write = async (content: string, at: number, of = images, image = name) => {
    const { handle } = await of.open(image);
    io.fill(handle, at, objectBytes, content);
    of.close(handle);
  };
  const read = async (of: typeof images, image: string, snap?: string) => {
    const options = snap === undefined ? { readOnly: true } : { snap };
    const { handle, info } = await of.open(image, options);
    const shown: (string | undefined)[] = [];
    for (let at = 0; at < info.sizeBytes; at += objectBytes) shown.push(io.contentAt(handle, at));
    of.close(handle);
    return shown;
  };
  const check = async (of: typeof images, image: string) => {
    expect(await read(of, image, "first")).toEqual(["0a", "1a", undefined, "3a"]);
    expect(await read(of, image, "second")).toEqual(["0a", "1b", undefined, "3a"]);
    expect(await read(of, image, "third")).toEqual(["0a", "1b"]);
  };
  await images.create(name, sizeBytes);
  for (const number of [0, 1, 3]) await write(`${number}a`, number * objectBytes);
  await images.snapshots.create(name, "first");
  await write("1b", objectBytes);
  await images.snapshots.create(name, "second");
  await images.snapshots.protect(name, "second");
  await images.resize(name, 2 * objectBytes, { allowShrink: true });
  await images.snapshots.create(name, "third");
  await images.resize(name, sizeBytes);
  await write("2c", 2 * objectBytes);
  await check(images, name);
  const to = { scope: fast.scope, name: "b" };
  return { cluster, ...client, fast, write, read, check, to };
}

const now = ["0a", "1b", "2c", undefined];

describe("an image that is migrated with its snapshots", () => {
  it("shows them from the beginning, and shares what they have in common", async () => {
    const { cluster, images, fast, read, check, to } = await made();
    await images.migrations.prepare("a", to);
    await check(fast, "b");
    expect(await read(fast, "b")).toEqual(now);
    const listed = await fast.snapshots.list("b");
    expect(listed.map(({ name, protected: kept }) => [name, kept])).toEqual([
      ["first", false],
      ["second", true],
      ["third", false],
    ]);
    expect(cluster.pool.dataObjects().filter((name) => name.startsWith("2:"))).toEqual([]);
    await fast.migrations.execute("b");
    await check(fast, "b");
    await fast.migrations.commit("b");
    await check(fast, "b");
    expect(await read(fast, "b")).toEqual(now);
    expect(await images.list()).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
    // They are snapshots like any others.
    await fast.snapshots.rollback("b", "first");
    expect(await read(fast, "b")).toEqual(["0a", "1a", undefined, "3a"]);
    await fast.clones.create("b", "second", { scope: fast.scope, name: "child" });
    await fast.clones.flatten("child");
    await fast.remove("child");
    await fast.snapshots.protect("b", "second", false);
    await fast.snapshots.purge("b");
    await fast.remove("b");
    expect(cluster.pool.dataObjects()).toEqual([]);
  });

  it("is used on meanwhile; what is written changes no snapshot", async () => {
    const { cluster, images, fast, check, to } = await made();
    const user = cluster.client();
    const guest = await openLocked(user.images, "a");
    user.io.deliver({ type: "device", device: guest.handle, state: "wanted" });
    await cluster.pass(0);
    const during = async (work: Promise<unknown>) => {
      let over = false;
      const end = () => {
        over = true;
      };
      work.then(end, end);
      for (let round = 0; round < 400 && !over; round += 1) await cluster.pass(250);
      await work;
    };
    await during(images.migrations.prepare("a", to));
    user.io.fill(guest.handle, 0, objectBytes, "guest");
    await check(fast, "b");
    user.io.duringFlatten = () => user.io.fill(guest.handle, 3 * objectBytes, objectBytes, "new");
    await during(fast.migrations.execute("b"));
    await during(fast.migrations.commit("b"));
    await check(fast, "b");
    const shown = [0, 1, 2, 3].map((at) => user.io.contentAt(guest.handle, at * objectBytes));
    expect(shown).toEqual(["guest", "1b", "2c", "new"]);
    await during(guest.close());
  });

  it("keeps its snapshots when the migration is undone", async () => {
    const { cluster, images, fast, read, check, to } = await made();
    await images.migrations.prepare("a", to);
    await fast.migrations.execute("b");
    await fast.migrations.abort("b");
    await check(images, "a");
    expect(await read(images, "a")).toEqual(now);
    expect(cluster.pool.dataObjects().filter((name) => name.startsWith("2:"))).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("is not undone once it has snapshots of its own", async () => {
    const { images, fast, to } = await made();
    await images.migrations.prepare("a", to);
    await fast.migrations.execute("b");
    await fast.snapshots.create("b", "own");
    await expect(fast.migrations.abort("b")).rejects.toMatchObject({ code: "busy" });
  });

  it("has those snapshots that there are when the source is marked", async () => {
    let resumed = 0;
    for (let death = 0; ; death += 1) {
      const { cluster, images, fast, read, to } = await made();
      const dying = cluster.client((operation) => (operation === death ? "before" : undefined));
      const there = { scope: dying.inPool("fast").scope, name: "b" };
      await dying.images.migrations.prepare("a", there).catch(() => undefined);
      const isMarked = (await images.migrations.info("a")) !== undefined;
      if (isMarked) break;
      resumed += (await fast.list()).length;
      await images.snapshots.remove("a", "first");
      await images.snapshots.create("a", "fourth");
      await images.migrations.prepare("a", to);
      const names = (await fast.snapshots.list("b")).map(({ name }) => name);
      expect(names, `died before ${death}`).toEqual(["second", "third", "fourth"]);
      expect(await read(fast, "b", "fourth")).toEqual(now);
    }
    expect(resumed).toBeGreaterThan(3);
  });

  it("can't be cloned before it has its data, nor can its source", async () => {
    const { images, fast, to } = await made();
    await images.migrations.prepare("a", to);
    for (const [of, image] of [
      [images, "a"],
      [fast, "b"],
    ] as const) {
      const cloning = of.clones.create(image, "first", { scope: of.scope, name: "child" });
      await expect(cloning).rejects.toMatchObject({ code: "busy" });
    }
  });

  it("is committed only when nobody reads a snapshot of the source through it", async () => {
    const { cluster, images, fast, to } = await made();
    await images.migrations.prepare("a", to);
    const reader = cluster.client();
    const there = reader.inPool("fast");
    const { handle } = await there.open("b", { snap: "first" });
    await fast.migrations.execute("b");
    await expect(fast.migrations.commit("b")).rejects.toMatchObject({ code: "busy" });
    expect(reader.io.contentAt(handle, objectBytes)).toBe("1a");
    there.close(handle);
    await cluster.pass(0);
    await fast.migrations.commit("b");
  });

  it("is committed though it has clones, which show the same before and after", async () => {
    const { cluster, images, fast, read, to } = await made();
    await images.migrations.prepare("a", to);
    await fast.migrations.execute("b");
    await fast.clones.create("b", "first", { scope: fast.scope, name: "child" });
    const before = await read(fast, "child");
    const reader = cluster.client();
    const { handle } = await reader.inPool("fast").open("child", { readOnly: true });
    await fast.migrations.commit("b");
    expect(reader.io.contentAt(handle, objectBytes)).toBe("1a");
    expect(await read(fast, "child")).toEqual(before);
    expect(before).toEqual(["0a", "1a", undefined, "3a"]);
    expect(await fast.clones.children("b")).toMatchObject([{ name: "child", snapshot: "first" }]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("may be a clone whose snapshots show less and less of its parent", async () => {
    const { cluster, io, images, fast, read, to } = await made("base");
    await images.clones.create("base", "second", { scope: images.scope, name: "c" });
    await images.snapshots.create("c", "whole");
    await images.resize("c", objectBytes, { allowShrink: true });
    await images.resize("c", sizeBytes);
    await images.snapshots.create("c", "cut");
    await images.migrations.prepare("c", to);
    const check = async () => {
      expect(await read(fast, "b", "whole")).toEqual(["0a", "1b", undefined, "3a"]);
      expect(await read(fast, "b", "cut")).toEqual(["0a", undefined, undefined, undefined]);
      expect(await read(fast, "b")).toEqual(["0a", undefined, undefined, undefined]);
    };
    await check();
    await fast.migrations.execute("b");
    await fast.migrations.commit("b");
    await check();
    expect(await images.clones.children("base")).toEqual([]);
    expect(io.openDevices).toBe(0);
    expect(violations(cluster.pool)).toEqual([]);
  });
});
