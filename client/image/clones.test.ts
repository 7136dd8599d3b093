// Clones: chains of them, over pools and namespaces, and what becomes of them when sizes change and
// parents go.
import { describe, expect, it } from "vitest";
import { cloneWorld, inNamespace, mebibyte, sizeBytes } from "../testing/clone-world.js";
import { violations } from "../testing/invariants.js";
import type { LayoutOptions } from "./making.js";
import { Namespaces } from "./namespaces.js";

/** Snapshots of a clone that is flattened keep the parent. */
const shallow: LayoutOptions = { features: ["layering", "exclusive-lock"] };

const made = () => cloneWorld({ objectBytes: mebibyte });

describe("a clone", () => {
  it("shows its parent where it has nothing of its own, and has the parent's layout", async () => {
    const { cluster, images, write, read, clone } = await made();
    const info = await clone("c");
    expect(info).toMatchObject({ sizeBytes, objectBytes: mebibyte, features: expect.anything() });
    await write("base", "later");
    await write("c", "own", 0, mebibyte);
    expect(await read("c")).toBe("own");
    expect(await read("c", mebibyte)).toBe("base");
    expect(await images.clones.parent("c")).toMatchObject({
      ...{ pool: "rbd", namespace: "", name: "base", snapshot: "s", overlapBytes: sizeBytes },
    });
    expect(await images.clones.children("base", "s")).toMatchObject([{ name: "c", snapshot: "s" }]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("takes seven operations to make, its header and its being counted at once", async () => {
    const { cluster, io, images, clone } = await made();
    const before = io.operations;
    const info = await clone("c");
    // Name, header, leavings of the dead; entry; count, header; name.
    expect(io.operations - before).toBe(7);
    expect(info).toEqual(await images.info("c"));
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("is counted also when another one comes between reading the parent and that", async () => {
    const { cluster, images, clone } = await made();
    await Promise.all(["c1", "c2", "c3"].map((name) => clone(name)));
    expect(await images.clones.children("base", "s")).toHaveLength(3);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("can be the parent of another one, to any depth", async () => {
    const { cluster, io, images, write, read, clone } = await made();
    let of = "base";
    for (let depth = 1; depth <= 16; depth += 1) {
      await clone(`c${depth}`, `${of}@s`);
      await write(`c${depth}`, `c${depth}`, depth * mebibyte - 1, 1);
      of = `c${depth}`;
      await images.snapshots.create(of, "s");
    }
    for (let depth = 1; depth <= 15; depth += 1) {
      expect(await read("c16", depth * mebibyte - 1)).toBe(`c${depth}`);
    }
    expect(io.openDevices).toBe(0);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("lives on when the snapshot's name is removed, which goes with its last clone", async () => {
    const { cluster, images, read, clone } = await made();
    await clone("c");
    await clone("d");
    await images.snapshots.remove("base", "s");
    expect(await images.snapshots.list("base")).toEqual([]);
    const [hidden] = await images.snapshots.list("base", { all: true });
    expect(hidden).toMatchObject({ kind: "trash", children: 2 });
    expect(await read("c")).toBe("base");
    await expect(images.remove("base")).rejects.toMatchObject({
      code: "busy",
      message: "rbd/base has 2 clones",
      remedy: expect.stringMatching(/cairn children rbd\/base/),
    });
    await images.snapshots.create("base", "s");
    await images.snapshots.remove("base", "s");
    await images.clones.flatten("c");
    expect(await images.snapshots.list("base", { all: true })).toHaveLength(1);
    await images.remove("d");
    expect(await images.snapshots.list("base", { all: true })).toEqual([]);
    await images.remove("base");
    expect(await read("c")).toBe("base");
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("shows nothing of its parent where it was cut off once", async () => {
    const { images, read, clone } = await made();
    await clone("c");
    await images.resize("c", 4 * mebibyte, { allowShrink: true });
    await images.resize("c", sizeBytes);
    expect(await read("c")).toBe("base");
    expect(await read("c", 4 * mebibyte)).toBeUndefined();
    expect((await images.clones.parent("c"))?.overlapBytes).toBe(4 * mebibyte);
  });

  it("keeps its parent for its snapshots when it is flattened, until they are gone", async () => {
    const { cluster, io, images, clone } = await made();
    await clone("c", "base@s", images, shallow);
    await images.snapshots.create("c", "t");
    await images.clones.flatten("c");
    expect(await images.clones.parent("c")).toBeUndefined();
    expect(await images.clones.children("base")).toHaveLength(1);
    const { handle } = await images.open("c", { snap: "t" });
    expect(io.contentAt(handle, 0)).toBe("base");
    await images.snapshots.remove("c", "t");
    expect(await images.clones.children("base")).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("gets its parent back when it is rolled back to before it was flattened", async () => {
    const { cluster, images, read, clone } = await made();
    await clone("c", "base@s", images, shallow);
    await images.snapshots.create("c", "t");
    await images.clones.flatten("c");
    await images.snapshots.rollback("c", "t");
    expect(await read("c")).toBe("base");
    expect(await images.clones.parent("c")).toMatchObject({ name: "base" });
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("may be in another pool and in a namespace, and its parent may be renamed", async () => {
    const world = await made();
    const { cluster, images, inPool, read, clone } = world;
    const fast = inPool("fast");
    await clone("c", "base@s", fast);
    await new Namespaces(images.scope).create("ns");
    const there = inNamespace(world, "ns");
    await clone("c", "base@s", there);
    await images.rename("base", "origin");
    expect(await read("c", 0, fast)).toBe("base");
    expect(await read("c", 0, there)).toBe("base");
    const children = (await images.clones.children("origin")).map(
      ({ pool, namespace, name }) => `${pool}/${namespace}/${name}`,
    );
    expect(children.sort()).toEqual(["fast//c", "rbd/ns/c"]);
    expect(violations(cluster.pool)).toEqual([]);
    await there.remove("c");
    await fast.remove("c");
    expect(violations(cluster.pool)).toEqual([]);
  });

  it.each([
    ["of a snapshot that is not there", "base@t", "c", "not_found"],
    ["under a name that exists", "base@s", "base", "already_exists"],
    ["under a name that cannot be", "base@s", "a b", "invalid_argument"],
  ])("is refused %s, and nothing stays", async (_what, of, name, code) => {
    const { cluster, images, clone } = await made();
    await expect(clone(name, of)).rejects.toMatchObject({ code });
    expect(await images.list()).toHaveLength(1);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("needs layering, which can't be disabled while there are clones", async () => {
    const { images, clone } = await made();
    await clone("c");
    for (const name of ["base", "c"]) {
      const disabling = images.features.disable(name, ["layering"]);
      await expect(disabling).rejects.toMatchObject({ code: "busy" });
    }
    await images.clones.flatten("c");
    await images.features.disable("base", ["layering"]);
    await expect(clone("d")).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it("is not a clone: flatten says so", async () => {
    const { images } = await made();
    await expect(images.clones.flatten("base")).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it("keeps its data in another pool when it is told to", async () => {
    const { cluster, images, read } = await made();
    const to = { scope: images.scope, name: "c" };
    const info = await images.clones.create("base", "s", to, { dataPool: "fast" });
    expect(info.dataPool).toBe("fast");
    await images.clones.flatten("c");
    expect(cluster.pool.dataObjects().filter((name) => name.startsWith("2:"))).toHaveLength(16);
    expect(await read("c")).toBe("base");
  });
});
