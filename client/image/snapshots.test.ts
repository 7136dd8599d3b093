// Snapshots of images that nobody uses: what may be done with them, and what is refused.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";

const mebibyte = 2 ** 20;
const sizeBytes = 16 * mebibyte;

async function made() {
  const cluster = new FakeCluster();
  const { io, images } = cluster.client();
  await images.create("a", sizeBytes);
  const write = async (content: string, lengthBytes = sizeBytes) => {
    const { handle } = await images.open("a");
    io.fill(handle, 0, lengthBytes, content);
    images.close(handle);
  };
  const read = async (snap?: string, offset = 0) => {
    const { handle } = await images.open("a", { readOnly: true, ...(snap && { snap }) });
    return io.contentAt(handle, offset);
  };
  return { cluster, io, images, snapshots: images.snapshots, write, read };
}

describe("snapshots", () => {
  it("show what was there, each its own, whatever comes after", async () => {
    const { cluster, snapshots, write, read } = await made();
    await snapshots.create("a", "empty");
    for (const name of ["one", "two", "three"]) {
      await write(name);
      await snapshots.create("a", name);
    }
    await write("now");
    await snapshots.remove("a", "two");
    expect(await read("empty")).toBeUndefined();
    expect(await read("one")).toBe("one");
    expect(await read("three")).toBe("three");
    expect(await read()).toBe("now");
    const names = (await snapshots.list("a")).map(({ name }) => name);
    expect(names).toEqual(["empty", "one", "three"]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("have the size that the image had, and bring it back", async () => {
    const { images, snapshots, write, read } = await made();
    await write("old");
    await snapshots.create("a", "s");
    await images.resize("a", 4 * mebibyte, { allowShrink: true });
    expect((await images.open("a", { snap: "s" })).info.sizeBytes).toBe(sizeBytes);
    expect(await read("s", 12 * mebibyte)).toBe("old");
    await images.resize("a", 2 * sizeBytes);
    expect(await read(undefined, 12 * mebibyte)).toBeUndefined();
    await snapshots.rollback("a", "s");
    expect((await images.info("a")).sizeBytes).toBe(sizeBytes);
    expect(await read(undefined, 12 * mebibyte)).toBe("old");
  });

  it("have nothing of what a shrink that was cut off has left behind the end", async () => {
    const { cluster, images, snapshots, write } = await made();
    await write("old");
    const dying = cluster.client();
    dying.io.removeObjects = () => Promise.reject(new Error("killed"));
    const shrinking = dying.images.resize("a", 4 * mebibyte, { allowShrink: true });
    await expect(shrinking).rejects.toThrow("killed");
    expect(cluster.pool.dataObjects()).toHaveLength(4);
    await snapshots.create("a", "s");
    expect(cluster.pool.dataObjects()).toHaveLength(1);
    await images.resize("a", sizeBytes);
    await snapshots.rollback("a", "s");
    expect(cluster.pool.dataObjects()).toHaveLength(1);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("are not removed while they are protected, but by force", async () => {
    const { snapshots } = await made();
    await snapshots.create("a", "s");
    await snapshots.protect("a", "s");
    await expect(snapshots.protect("a", "s")).rejects.toMatchObject({ code: "invalid_argument" });
    const remedy = expect.stringMatching(/snap unprotect/);
    await expect(snapshots.remove("a", "s")).rejects.toMatchObject({ code: "busy", remedy });
    expect(await snapshots.purge("a")).toEqual([]);
    await snapshots.protect("a", "s", false);
    await snapshots.remove("a", "s");
    await snapshots.create("a", "t");
    await snapshots.protect("a", "t");
    await snapshots.remove("a", "t", { force: true });
    expect(await snapshots.list("a")).toEqual([]);
  });

  it("are as many as the limit says", async () => {
    const { snapshots } = await made();
    await snapshots.setLimit("a", 1);
    await snapshots.create("a", "s");
    const remedy = expect.stringMatching(/snap limit set/);
    const second = snapshots.create("a", "t");
    await expect(second).rejects.toMatchObject({ code: "out_of_range", remedy });
    await snapshots.setLimit("a", undefined);
    await snapshots.create("a", "t");
    await expect(snapshots.setLimit("a", 513)).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it.each([
    ["create", "a", "s", "already_exists"],
    ["create", "a", "x/y", "invalid_argument"],
    ["create", "b", "t", "not_found"],
    ["remove", "a", "t", "not_found"],
    ["rollback", "a", "t", "not_found"],
    ["protect", "a", "t", "not_found"],
  ] as const)("refuse to %s %s@%s", async (verb, image, name, code) => {
    const { snapshots } = await made();
    await snapshots.create("a", "s");
    await expect(snapshots[verb](image, name)).rejects.toMatchObject({ code });
    expect((await snapshots.list("a")).map((snapshot) => snapshot.name)).toEqual(["s"]);
  });

  it("are renamed, but not to a name that another one has", async () => {
    const { snapshots } = await made();
    await snapshots.create("a", "s");
    await snapshots.create("a", "t");
    const taken = snapshots.rename("a", "s", "t");
    await expect(taken).rejects.toMatchObject({ code: "already_exists" });
    await snapshots.rename("a", "s", "u");
    expect((await snapshots.list("a")).map(({ name }) => name)).toEqual(["u", "t"]);
  });

  it("keep their image from being removed, with the verb that mends it", async () => {
    const { images, snapshots } = await made();
    await snapshots.create("a", "s");
    await expect(images.remove("a")).rejects.toMatchObject({
      code: "busy",
      message: "rbd/a has 1 snapshots",
      remedy: expect.stringMatching(/snap purge rbd\/a/),
    });
    await snapshots.purge("a");
    await images.remove("a");
  });

  it("can be opened for reading only", async () => {
    const { io, images, snapshots } = await made();
    await snapshots.create("a", "s");
    const { handle } = await images.open("a", { snap: "s" });
    const write = () => io.fill(handle, 0, 1);
    expect(write).toThrow(expect.objectContaining({ code: "read_only" }));
    await expect(images.open("a", { snap: "t" })).rejects.toMatchObject({
      code: "not_found",
      remedy: expect.stringMatching(/snap ls rbd\/a/),
    });
  });

  it("are not taken with an id that is not new", async () => {
    const { cluster, snapshots } = await made();
    await snapshots.create("a", "s");
    cluster.pool.snapSeq = 0;
    await expect(snapshots.create("a", "t")).rejects.toMatchObject({ code: "corrupt" });
  });
});
