// Deep copies of clones: with the parent that each of their moments shows, or standing for
// themselves.
import { describe, expect, it } from "vitest";
import { cloneWorld, objectBytes, sizeBytes } from "../testing/clone-world.js";
import { violations } from "../testing/invariants.js";

/** A clone that was smaller for a while, with a snapshot of each of its sizes. */
async function made() {
  const world = await cloneWorld();
  const { cluster, io, images, change, readAll } = world;
  await world.clone("c");
  await change("c", (device) => io.fill(device, 0, objectBytes, "own"));
  await images.snapshots.create("c", "first");
  await change("c", (device) => io.discard(device, objectBytes, objectBytes));
  await images.snapshots.create("c", "second");
  await images.resize("c", 3 * objectBytes, { allowShrink: true });
  await images.resize("c", sizeBytes);
  await images.snapshots.create("c", "third");
  await change("c", (device) => io.fill(device, 2 * objectBytes, objectBytes, "late"));
  const to = { scope: images.scope, name: "d" };
  const check = async (name: string) => {
    expect(await readAll(name, "first")).toEqual(["own", "base", "base", "base"]);
    expect(await readAll(name, "second")).toEqual(["own", undefined, "base", "base"]);
    expect(await readAll(name, "third")).toEqual(["own", undefined, "base", undefined]);
    expect(await readAll(name)).toEqual(["own", undefined, "late", undefined]);
    expect(violations(cluster.pool)).toEqual([]);
  };
  await check("c");
  return { ...world, check, to };
}

describe("a deep copy of a clone", () => {
  it("is a clone of the same parent, as are its snapshots; it has the clone's data", async () => {
    const { cluster, images, check, to } = await made();
    const info = await images.copies.deepCopy("c", to);
    await check("d");
    expect(await images.clones.parent("d")).toMatchObject({
      name: "base",
      overlapBytes: 3 * objectBytes,
    });
    expect((await images.clones.children("base")).map(({ name }) => name).sort()).toEqual([
      "c",
      "d",
    ]);
    const own = cluster.pool.dataObjects().filter((name) => name.includes(info.id));
    expect(own).toHaveLength(3);
    // It goes on like any clone: flattened, it needs neither of them.
    await images.snapshots.purge("c");
    await images.remove("c");
    await images.clones.flatten("d");
    await images.snapshots.purge("base");
    await images.remove("base");
    await check("d");
  });

  it("stands for itself when it is flattened", async () => {
    const { images, check, to } = await made();
    await images.copies.deepCopy("c", to, { flatten: true });
    expect(await images.clones.parent("d")).toBeUndefined();
    await check("d");
    await images.snapshots.purge("c");
    await images.remove("c");
    await images.snapshots.purge("base");
    await images.remove("base");
    await check("d");
  });

  it("may have a parent whose snapshot is kept for its clones only", async () => {
    const { cluster, images, check, to } = await made();
    await images.snapshots.remove("base", "s");
    await images.copies.deepCopy("c", to);
    await images.snapshots.purge("c");
    await images.remove("c");
    await check("d");
    await images.snapshots.purge("d");
    await images.remove("d");
    expect(await images.snapshots.list("base", { all: true })).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("whose snapshots alone have a parent has that for them alone", async () => {
    const { images, readAll, to } = await made();
    await images.features.disable("c", ["deep-flatten"]);
    await images.clones.flatten("c");
    await images.copies.deepCopy("c", to);
    expect(await images.clones.parent("d")).toBeUndefined();
    expect(await readAll("d")).toEqual(["own", undefined, "late", undefined]);
    expect(await readAll("d", "first")).toEqual(["own", "base", "base", "base"]);
    expect(await images.clones.children("base")).toHaveLength(2);
    await images.snapshots.purge("d");
    expect(await images.clones.children("base")).toHaveLength(1);
  });
});
