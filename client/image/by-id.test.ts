// What is asked for by its id: images in the trash, whose snapshots are looked at and removed
// there, and snapshots that nobody sees any more because clones need them.
import { describe, expect, it } from "vitest";
import { cloneWorld, inNamespace, sizeBytes } from "../testing/clone-world.js";
import { violations } from "../testing/invariants.js";
import { Namespaces } from "./namespaces.js";

describe("an image in the trash, by its id", () => {
  it("is shown, and goes after its snapshots are removed there", async () => {
    const { cluster, images } = await cloneWorld();
    await images.snapshots.create("base", "kept");
    await images.snapshots.protect("base", "kept");
    const { id } = await images.trash.move("base");
    const inTrash = { id };
    expect(await images.info(inTrash)).toMatchObject({ id, name: "base", sizeBytes });
    expect(await images.migrations.info(inTrash)).toBeUndefined();
    expect(await images.clones.parent(inTrash)).toBeUndefined();
    const named = async () => (await images.snapshots.list(inTrash)).map(({ name }) => name);
    expect(await named()).toEqual(["s", "kept"]);
    const remedy = `Remove them: cairn snap purge --pool rbd --image-id ${id}`;
    await expect(images.trash.remove(id)).rejects.toMatchObject({ code: "busy", remedy });
    expect(await images.snapshots.purge(inTrash)).toEqual(["s"]);
    const [kept] = await images.snapshots.list(inTrash);
    const byId = { id: kept?.id ?? 0 };
    await expect(images.snapshots.remove(inTrash, byId)).rejects.toMatchObject({ code: "busy" });
    await images.snapshots.protect(inTrash, "kept", false);
    await images.snapshots.remove(inTrash, byId);
    expect(await named()).toEqual([]);
    await images.trash.remove(id);
    expect(cluster.pool.dataObjects()).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("names its clones, which stand in the way of its end", async () => {
    const { images, clone } = await cloneWorld();
    await clone("c");
    const { id } = await images.trash.move("base");
    expect(await images.clones.children({ id }, "s")).toMatchObject([{ name: "c" }]);
    const remedy = expect.stringContaining(`cairn children --pool rbd --image-id ${id}`);
    await expect(images.trash.remove(id)).rejects.toMatchObject({ code: "busy", remedy });
  });

  it("is named with its namespace in a remedy, and found there only", async () => {
    const world = await cloneWorld();
    await new Namespaces(world.images.scope).create("team");
    const team = inNamespace(world, "team");
    await team.create("a", sizeBytes);
    await team.snapshots.create("a", "s");
    const { id } = await team.trash.move("a");
    const remedy = `Remove them: cairn snap purge --pool rbd --namespace team --image-id ${id}`;
    await expect(team.trash.remove(id)).rejects.toMatchObject({ remedy });
    const elsewhere = { code: "not_found", remedy: expect.stringContaining("trash ls rbd`") };
    await expect(world.images.info({ id })).rejects.toMatchObject(elsewhere);
  });
});

describe("an image that has a name, by its id", () => {
  it("is the same one, and leaves its group", async () => {
    const { images } = await cloneWorld();
    const { id } = await images.info("base");
    expect(await images.info({ id })).toEqual(await images.info("base"));
    await images.groups.create("g");
    await images.groups.addImage("g", { scope: images.scope, name: "base" });
    const member = { scope: images.scope, name: { id } };
    await images.groups.removeImage("g", member);
    expect(await images.groups.images("g")).toEqual([]);
    const again = images.groups.removeImage("g", member);
    await expect(again).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringMatching(/^[0-9a-f]{16} does not/),
    });
  });

  it.each(["0123456789abcdef", "base", "a/b"])("is not %s", async (id) => {
    const { images } = await cloneWorld();
    const code = id === "a/b" ? "invalid_argument" : "not_found";
    await expect(images.info({ id })).rejects.toMatchObject({ code });
  });
});

describe("a snapshot by its id", () => {
  it("that was removed and is kept for a clone tells which, and is not removed twice", async () => {
    const { cluster, images, clone } = await cloneWorld();
    const { id } = await images.snapshots.info("base", "s");
    await clone("c");
    await images.snapshots.remove("base", "s");
    await expect(images.clones.children("base", "s")).rejects.toMatchObject({ code: "not_found" });
    expect(await images.clones.children("base", { id })).toMatchObject([{ name: "c" }]);
    const remedy = expect.stringContaining(`cairn children rbd/base --snap-id ${id}`);
    const again = images.snapshots.remove("base", { id });
    await expect(again).rejects.toMatchObject({ code: "busy", remedy });
    await images.remove("c");
    const gone = images.snapshots.remove("base", { id });
    await expect(gone).rejects.toMatchObject({ code: "not_found" });
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("whose removal was cut off is removed", async () => {
    const { cluster, images } = await cloneWorld();
    const { id } = await images.snapshots.info("base", "s");
    const dying = cluster.client();
    dying.io.removeSnapshots = () => Promise.reject(new Error("killed"));
    await expect(dying.images.snapshots.remove("base", "s")).rejects.toThrow("killed");
    await expect(images.snapshots.remove("base", "s")).rejects.toMatchObject({ code: "not_found" });
    await images.snapshots.remove("base", { id });
    const { snapshots } = await images.scope.header(await images.scope.idOf("base"));
    expect(snapshots).toEqual([]);
  });

  it("is removed by force though it is protected", async () => {
    const { images } = await cloneWorld();
    const { id } = await images.snapshots.info("base", "s");
    await images.snapshots.protect("base", "s");
    await expect(images.snapshots.remove("base", { id })).rejects.toMatchObject({ code: "busy" });
    await images.snapshots.remove("base", { id }, { force: true });
    expect(await images.snapshots.list("base")).toEqual([]);
  });
});
