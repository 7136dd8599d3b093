// Deep flattening: with the feature, the snapshots of a clone let its parent go too, whatever the
// clone went through before and meanwhile.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { scopesOf } from "./deep-flatten.js";
import { openLocked } from "./open-locked.js";

const mebibyte = 2 ** 20;
const objectBytes = 4 * mebibyte;
const sizeBytes = 16 * mebibyte;

async function made() {
  const cluster = new FakeCluster();
  const client = cluster.client();
  const { io, images } = client;
  const write = async (name: string, content: string, at = 0, lengthBytes = sizeBytes) => {
    const { handle } = await images.open(name);
    io.fill(handle, at, lengthBytes, content);
    images.close(handle);
  };
  /** of each object */
  const read = async (name: string, snap?: string) => {
    const of = snap === undefined ? { readOnly: true } : { snap };
    const { handle, info } = await images.open(name, of);
    const shown: (string | undefined)[] = [];
    for (let at = 0; at < info.sizeBytes; at += objectBytes) shown.push(io.contentAt(handle, at));
    images.close(handle);
    return shown;
  };
  const clone = (of: string, name: string) =>
    images.clones.create(of, "s", { scope: images.scope, name });
  await images.create("base", sizeBytes);
  await write("base", "base");
  await images.snapshots.create("base", "s");
  await clone("base", "c");
  return { cluster, ...client, write, read, clone };
}

/** Nothing needs the image any more: its snapshot and itself can go. */
async function removeBase({ images }: Awaited<ReturnType<typeof made>>) {
  expect(await images.clones.children("base")).toEqual([]);
  await images.snapshots.purge("base");
  await images.remove("base");
}

describe("a clone with the feature deep-flatten", () => {
  it("needs its parent no more when it is flattened, nor does any of its snapshots", async () => {
    const all = await made();
    const { cluster, images, write, read } = all;
    await images.snapshots.create("c", "first");
    await write("c", "own", 0, objectBytes);
    await images.snapshots.create("c", "second");
    await write("c", "later", objectBytes, objectBytes);
    await images.clones.flatten("c");
    expect(await images.clones.parent("c")).toBeUndefined();
    await removeBase(all);
    expect(await read("c", "first")).toEqual(["base", "base", "base", "base"]);
    expect(await read("c", "second")).toEqual(["own", "base", "base", "base"]);
    expect(await read("c")).toEqual(["own", "later", "base", "base"]);
    await images.snapshots.rollback("c", "first");
    expect(await read("c")).toEqual(["base", "base", "base", "base"]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("shows no more of the parent than each snapshot did", async () => {
    const all = await made();
    const { images, read } = all;
    await images.snapshots.create("c", "whole");
    await images.resize("c", 2 * objectBytes, { allowShrink: true });
    await images.resize("c", sizeBytes);
    await images.snapshots.create("c", "cut");
    await images.clones.flatten("c");
    await removeBase(all);
    expect(await read("c", "whole")).toEqual(["base", "base", "base", "base"]);
    expect(await read("c", "cut")).toEqual(["base", "base", undefined, undefined]);
    expect(await read("c")).toEqual(["base", "base", undefined, undefined]);
  });

  it("lets the parent go that a snapshot shows more of, then says that there is none", async () => {
    const all = await made();
    const { images, read } = all;
    await images.snapshots.create("c", "t");
    await images.resize("c", objectBytes, { allowShrink: true });
    await images.clones.flatten("c");
    await removeBase(all);
    expect(await read("c", "t")).toEqual(["base", "base", "base", "base"]);
    expect(await read("c")).toEqual(["base"]);
    const again = images.clones.flatten("c");
    await expect(again).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it("has the snapshots filled that are taken while it is flattened", async () => {
    const all = await made();
    const { cluster, io, images, write, read } = all;
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
    expect(await read("c", "meanwhile")).toEqual(["base", "base", "base", "base"]);
    expect(io.openDevices).toBe(0);
  });

  it("can have more snapshots than one operation on the header can change", async () => {
    const all = await made();
    const { images, read } = all;
    for (let i = 0; i < 45; i += 1) await images.snapshots.create("c", `s${i}`);
    await images.clones.flatten("c");
    await removeBase(all);
    expect(await read("c", "s44")).toEqual(["base", "base", "base", "base"]);
  });

  it("has clones in use that read its snapshots on, without the parent", async () => {
    const all = await made();
    const { cluster, images, clone } = all;
    await images.snapshots.create("c", "s");
    await clone("c", "d");
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
