// Deep flattening: with the feature, the snapshots of a clone let its parent go too, whatever the
// clone went through before and meanwhile.
import { describe, expect, it } from "vitest";
import { StorageError } from "../../common/errors.js";
import { type CloneWorld, cloneWorld, objectBytes, sizeBytes } from "../testing/clone-world.js";
import { violations } from "../testing/invariants.js";
import { scopesOf } from "./deep-flatten.js";
import { openLocked } from "./open-locked.js";
import { openReader } from "./open-reader.js";

async function made() {
  const world = await cloneWorld();
  await world.clone("c");
  return world;
}

/** Nothing needs the image any more: its snapshot and itself can go. */
async function removeBase({ images }: CloneWorld) {
  expect(await images.clones.children("base")).toEqual([]);
  await images.snapshots.purge("base");
  await images.remove("base");
}

describe("a clone with the feature deep-flatten", () => {
  it("needs its parent no more when it is flattened, nor does any of its snapshots", async () => {
    const all = await made();
    const { cluster, images, write, readAll } = all;
    await images.snapshots.create("c", "first");
    await write("c", "own", 0, objectBytes);
    await images.snapshots.create("c", "second");
    await write("c", "later", objectBytes, objectBytes);
    await images.clones.flatten("c");
    expect(await images.clones.parent("c")).toBeUndefined();
    await removeBase(all);
    expect(await readAll("c", "first")).toEqual(["base", "base", "base", "base"]);
    expect(await readAll("c", "second")).toEqual(["own", "base", "base", "base"]);
    expect(await readAll("c")).toEqual(["own", "later", "base", "base"]);
    await images.snapshots.rollback("c", "first");
    expect(await readAll("c")).toEqual(["base", "base", "base", "base"]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("shows no more of the parent than each snapshot did", async () => {
    const all = await made();
    const { images, readAll } = all;
    await images.snapshots.create("c", "whole");
    await images.resize("c", 2 * objectBytes, { allowShrink: true });
    await images.resize("c", sizeBytes);
    await images.snapshots.create("c", "cut");
    await images.clones.flatten("c");
    await removeBase(all);
    expect(await readAll("c", "whole")).toEqual(["base", "base", "base", "base"]);
    expect(await readAll("c", "cut")).toEqual(["base", "base", undefined, undefined]);
    expect(await readAll("c")).toEqual(["base", "base", undefined, undefined]);
  });

  it("lets the parent go that a snapshot shows more of, then says that there is none", async () => {
    const all = await made();
    const { images, readAll } = all;
    await images.snapshots.create("c", "t");
    await images.resize("c", objectBytes, { allowShrink: true });
    await images.clones.flatten("c");
    await removeBase(all);
    expect(await readAll("c", "t")).toEqual(["base", "base", "base", "base"]);
    expect(await readAll("c")).toEqual(["base"]);
    const again = images.clones.flatten("c");
    await expect(again).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it("has the snapshots filled that are taken while it is flattened", async () => {
    const all = await made();
    const { cluster, io, images, write, readAll } = all;
    const other = cluster.client();
    const user = await openLocked(other.images, "c");
    other.io.deliver({ type: "device", device: user.handle, state: "wanted" });
    await cluster.pass(0);
    let taken: Promise<void> | undefined;
    other.io.duringFlatten = () => {
      if (taken !== undefined) return;
      taken = images.snapshots.create("c", "meanwhile");
    };
    await images.clones.flatten("c");
    await taken;
    await user.close();
    await cluster.pass(0);
    await write("c", "own");
    await removeBase(all);
    expect(await readAll("c", "meanwhile")).toEqual(["base", "base", "base", "base"]);
    expect(io.openDevices).toBe(0);
  });

  it("can have more snapshots than one operation on the header can change", async () => {
    const all = await made();
    const { images, readAll } = all;
    for (let i = 0; i < 45; i += 1) await images.snapshots.create("c", `s${i}`);
    await images.clones.flatten("c");
    await removeBase(all);
    expect(await readAll("c", "s44")).toEqual(["base", "base", "base", "base"]);
  });

  it("has clones in use that read its snapshots on, without the parent", async () => {
    const all = await made();
    const { cluster, images, clone } = all;
    await images.snapshots.create("c", "s");
    await clone("d", "c@s");
    const other = cluster.client();
    const user = await openLocked(other.images, "d");
    expect(other.io.contentAt(user.handle, 0)).toBe("base");
    const parents: unknown[] = [];
    const setParent = other.io.setParent.bind(other.io);
    other.io.setParent = async (device, parent) => {
      parents.push(parent);
      await setParent(device, parent);
    };
    await images.clones.flatten("c");
    expect(parents).toHaveLength(1);
    await removeBase(all);
    expect(other.io.contentAt(user.handle, 0)).toBe("base");
    await user.close();
  });

  it.each(["head", "snapshot"])("is read on through its %s, without the parent", async (what) => {
    const all = await made();
    const { cluster, images } = all;
    await images.snapshots.create("c", "t");
    const other = cluster.client();
    const of = what === "head" ? {} : { snap: "t" };
    const reader = await openReader(other.images, "c", of);
    expect(other.io.contentAt(reader.handle, 0)).toBe("base");
    await images.clones.flatten("c");
    await removeBase(all);
    expect(other.io.contentAt(reader.handle, 0)).toBe("base");
    await reader.close();
    expect(other.io.openDevices).toBe(0);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("keeps its parent until what is being read through it has ended", async () => {
    const all = await made();
    const { cluster, images } = all;
    await images.snapshots.create("c", "t");
    const other = cluster.client();
    const reader = await openReader(other.images, "c", { snap: "t" });
    const ends: (() => void)[] = [];
    other.io.setParent = () => new Promise((resolve) => ends.push(resolve));
    const flattening = images.clones.flatten("c");
    await cluster.pass(20_000);
    expect(await images.clones.children("base")).toHaveLength(1);
    expect(ends).toHaveLength(1);
    for (const end of ends) end();
    await cluster.pass(1000);
    await flattening;
    await removeBase(all);
    await reader.close();
  });

  it("keeps its parent for one that lives but does not follow, and lets it go later", async () => {
    const all = await made();
    const { cluster, images } = all;
    const other = cluster.client();
    const reader = await openReader(other.images, "c");
    other.io.operate = () => Promise.reject(new StorageError("io_error", "unreadable"));
    const refused = expect(images.clones.flatten("c")).rejects.toMatchObject({
      code: "timed_out",
      message: "host1 pid 2 does not follow the change of the image",
    });
    await cluster.pass(70_000);
    await refused;
    expect(await images.clones.parent("c")).toBeUndefined();
    expect(await images.clones.children("base")).toHaveLength(1);
    await reader.close();
    // Whoever takes the lock next finishes it.
    await images.snapshots.create("c", "later");
    await removeBase(all);
  });

  it.each([undefined, "t"])(
    "is opened by one that has seen the parent going (%s)",
    async (snap) => {
      const all = await made();
      const { cluster, images } = all;
      await images.snapshots.create("c", "t");
      const other = cluster.client();
      const operate = other.io.operate.bind(other.io);
      let gone: Promise<void> | undefined;
      const [base, clone] = [await images.info("base"), await images.info("c")];
      other.io.operate = async (pool, object, steps) => {
        const isBase = object === `rbd_header.${base.id}`;
        // It has read the clone's header, and reads the parent's now.
        if (isBase && gone === undefined) {
          gone = images.clones.flatten("c").then(() => removeBase(all));
          await gone;
        }
        return operate(pool, object, steps);
      };
      const reader = await openReader(other.images, clone.name, { snap });
      expect(gone).toBeDefined();
      expect(other.io.contentAt(reader.handle, 0)).toBe("base");
      await reader.close();
    },
  );

  it("is followed by one that was opened before it could be told", async () => {
    const all = await made();
    const { cluster, images } = all;
    const other = cluster.client();
    const watch = other.io.watch.bind(other.io);
    other.io.watch = async (pool, object, options) => {
      other.io.watch = watch;
      await images.clones.flatten("c");
      await removeBase(all);
      return watch(pool, object, options);
    };
    const reader = await openReader(other.images, "c");
    expect(other.io.contentAt(reader.handle, 0)).toBe("base");
    await reader.close();
  });

  it("keeps what a rollback or a shrink would take back while it is flattened", async () => {
    const { cluster, images } = await made();
    await images.snapshots.create("c", "t");
    const other = cluster.client();
    const user = await openLocked(other.images, "c");
    other.io.deliver({ type: "device", device: user.handle, state: "wanted" });
    await cluster.pass(0);
    const refusals: Promise<unknown>[] = [];
    other.io.duringFlatten = () => {
      if (refusals.length > 0) return;
      const busy = { code: "busy", message: "the image is being flattened" };
      const shrink = images.resize("c", objectBytes, { allowShrink: true });
      refusals.push(expect(images.snapshots.rollback("c", "t")).rejects.toMatchObject(busy));
      refusals.push(expect(shrink).rejects.toMatchObject(busy));
    };
    await images.clones.flatten("c");
    expect(refusals).toHaveLength(2);
    await Promise.all(refusals);
    await images.snapshots.rollback("c", "t");
    await user.close();
  });
});

it("parts of an image with the same snapshots are flattened together", () => {
  const heir = (snapId: number | undefined, overlapBytes: number) => ({ snapId, overlapBytes });
  expect(scopesOf([heir(3, 8192), heir(4, 4096), heir(5, 0), heir(undefined, 4096)])).toEqual([
    { snaps: [3, 4], head: true, fromBytes: 0, toBytes: 4096 },
    { snaps: [3], head: false, fromBytes: 4096, toBytes: 8192 },
  ]);
  expect(scopesOf([heir(3, 5000)])).toEqual([
    { snaps: [3], head: false, fromBytes: 0, toBytes: 5000 },
  ]);
  expect(() => scopesOf([heir(3, 5000), heir(4, 8192)])).toThrow(/overlap/);
});
