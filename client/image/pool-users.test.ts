// Which images of other pools would be lost with a pool.
import { describe, expect, it } from "vitest";
import { type CloneWorld, cloneWorld, inNamespace, sizeBytes } from "../testing/clone-world.js";
import { headerObject } from "./header.js";
import { Namespaces } from "./namespaces.js";
import { removeStep, setStep, u64Value } from "./omap-values.js";
import { refuseNeededPool, usersOfPool } from "./pool-users.js";

const usersOfFast = ({ inPool }: CloneWorld) => usersOfPool(inPool("fast").scope);

/** An image of the pool fast with a snapshot. */
async function parentInFast({ inPool }: CloneWorld) {
  const fast = inPool("fast");
  await fast.create("golden", sizeBytes);
  await fast.snapshots.create("golden", "s");
  return fast;
}

describe("a pool is needed by images of other pools", () => {
  it("that have their data there, also in the trash and in namespaces", async () => {
    const world = await cloneWorld();
    const { images } = world;
    expect(await usersOfFast(world)).toEqual([]);
    await images.create("a", sizeBytes, { dataPool: "fast" });
    await new Namespaces(images.scope).create("team");
    await inNamespace(world, "team").create("b", sizeBytes, { dataPool: "fast" });
    await images.create("c", sizeBytes, { dataPool: "fast" });
    const { id } = await images.trash.move("c");
    expect(await usersOfFast(world)).toEqual([
      { image: "rbd/a", use: "data" },
      { image: `rbd/c (in the trash: ${id})`, use: "data" },
      { image: "rbd/team/b", use: "data" },
    ]);
    const refused = refuseNeededPool(world.inPool("fast").scope);
    await expect(refused).rejects.toMatchObject({
      code: "busy",
      message: expect.stringMatching(/need the pool fast: rbd\/a has its data there, rbd\/c /),
      remedy: expect.stringContaining("cairn pool rm fast fast --force"),
    });
    await images.remove("a");
    await images.trash.remove(id);
    await inNamespace(world, "team").remove("b");
    await refuseNeededPool(world.inPool("fast").scope);
  });

  it("that are clones of its images, until they are flattened", async () => {
    const world = await cloneWorld();
    const { images } = world;
    const fast = await parentInFast(world);
    await fast.clones.create("golden", "s", { scope: images.scope, name: "c" });
    await fast.clones.create("golden", "s", { scope: fast.scope, name: "own" });
    expect(await usersOfFast(world)).toEqual([{ image: "rbd/c", use: "parent" }]);
    await images.clones.flatten("c");
    expect(await usersOfFast(world)).toEqual([]);
    expect(await usersOfPool(images.scope)).toEqual([]);
  });

  it("of which only a snapshot still has its parent there", async () => {
    const world = await cloneWorld();
    const { images } = world;
    const fast = await parentInFast(world);
    const features = ["layering", "exclusive-lock"] as const;
    await fast.clones.create("golden", "s", { scope: images.scope, name: "c" }, { features });
    await images.snapshots.create("c", "old");
    await images.clones.flatten("c");
    expect(await images.clones.parent("c")).toBeUndefined();
    expect(await usersOfFast(world)).toEqual([{ image: "rbd/c", use: "parent" }]);
    await images.snapshots.remove("c", "old");
    expect(await usersOfFast(world)).toEqual([]);
  });

  it("that are migrated from there, until all is copied", async () => {
    const world = await cloneWorld();
    const { images } = world;
    const fast = await parentInFast(world);
    await fast.migrations.prepare("golden", { scope: images.scope, name: "moved" });
    expect(await usersOfFast(world)).toEqual([{ image: "rbd/moved", use: "migration" }]);
    await images.migrations.execute("moved");
    expect(await usersOfFast(world)).toEqual([]);
  });

  it("whose headers are damaged, or cannot be understood", async () => {
    const world = await cloneWorld();
    const { images, io } = world;
    const ids = new Map<string, string>();
    for (const name of ["damaged", "newer"]) {
      ids.set(name, (await images.create(name, sizeBytes, { dataPool: "fast" })).id);
    }
    const at = (name: string): [number, string] => [1, headerObject(ids.get(name) ?? "")];
    await io.operate(...at("damaged"), [removeStep("size")]);
    await io.operate(...at("newer"), [setStep("features", u64Value(1n << 60n))]);
    expect(await usersOfFast(world)).toEqual([
      { image: "rbd/damaged", use: "data" },
      { image: "rbd/newer", use: "unknown" },
    ]);
  });

  it("of which twenty are named, and the others counted", async () => {
    const world = await cloneWorld();
    for (let number = 10; number < 33; number += 1) {
      await world.images.create(`i${number}`, sizeBytes, { dataPool: "fast" });
    }
    const refused = refuseNeededPool(world.inPool("fast").scope);
    const message = expect.stringMatching(/rbd\/i29 has its data there, and 3 more$/);
    await expect(refused).rejects.toMatchObject({ message });
  });
});
