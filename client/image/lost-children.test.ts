// Clones whose headers could not tell any more whose clones they were: after their removal the
// parent's books have one too many, which the next verb that meets it mends.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { headerObject } from "./header.js";

const mebibyte = 2 ** 20;
const junk = Uint8Array.of(0xff, 0xee);

/** base@s has two clones; "lost" was removed when its header did not tell of its parent. */
async function setUp(prepare: "keep" | "remove the snapshot" = "keep") {
  const cluster = new FakeCluster();
  const { images } = cluster.client();
  const { scope } = images;
  const { id: baseId } = await images.create("base", 16 * mebibyte);
  await images.snapshots.create("base", "s");
  await images.clones.create("base", "s", { scope, name: "other" });
  const { id } = await images.clones.create("base", "s", { scope, name: "lost" });
  if (prepare === "remove the snapshot") await images.snapshots.remove("base", "s");
  cluster.pool.objects.get(headerObject(id))?.set("parent", junk);
  await expect(images.info("lost")).rejects.toMatchObject({ code: "corrupt" });
  await images.remove("lost");
  const counted = async () => {
    const { snapshots } = await scope.header(baseId);
    return snapshots.map(({ children }) => children);
  };
  expect(await counted(), "the clone is lost").toEqual([2]);
  return { cluster, images, scope, counted, baseId };
}

describe("a lost clone", () => {
  it("is not among the children, which mends the books", async () => {
    const { cluster, images, counted } = await setUp();
    expect(await images.clones.children("base")).toMatchObject([{ name: "other" }]);
    expect(await counted()).toEqual([1]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("does not keep a snapshot that is removed", async () => {
    const { cluster, images, counted } = await setUp();
    await images.remove("other");
    await images.snapshots.remove("base", "s");
    expect(await counted()).toEqual([]);
    await images.remove("base");
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("does not keep snapshots that are purged", async () => {
    const { images, counted } = await setUp();
    await images.remove("other");
    await images.snapshots.purge("base");
    expect(await counted()).toEqual([]);
  });

  it("does not keep a snapshot that was removed before", async () => {
    const { cluster, images, counted, baseId } = await setUp("remove the snapshot");
    await images.remove("other");
    expect(await counted()).toEqual([1]);
    await images.snapshots.remove({ id: baseId }, { id: 1 });
    expect(await counted()).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("does not keep the image", async () => {
    const { cluster, images } = await setUp("remove the snapshot");
    await images.remove("other");
    await images.remove("base");
    expect(await images.list()).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("does not keep an image whose own header is damaged", async () => {
    const { cluster, images, baseId } = await setUp();
    cluster.pool.objects.get(headerObject(baseId))?.set("size", junk);
    await expect(images.remove("base")).rejects.toMatchObject({ message: /1 clones/ });
    await images.remove("other");
    await images.remove("base");
    expect(await images.list()).toEqual([]);
  });

  it("nor one of a pool that is gone", async () => {
    const { cluster, images, counted } = await setUp();
    const { scope } = cluster.client().inPool("fast");
    await images.clones.create("base", "s", { scope, name: "far" });
    cluster.pools = cluster.pools.filter(({ name }) => name !== "fast");
    expect(await images.clones.children("base")).toMatchObject([{ name: "other" }]);
    expect(await counted()).toEqual([1]);
  });
});

describe("what is not lost stays in the books:", () => {
  it("clones in the trash, and damaged ones that are still there", async () => {
    const { cluster, images, scope, counted } = await setUp();
    await images.clones.create("base", "s", { scope, name: "trashed" });
    await images.trash.move("trashed");
    const { id } = await images.clones.create("base", "s", { scope, name: "damaged" });
    cluster.pool.objects.get(headerObject(id))?.set("parent", junk);
    expect(await images.clones.children("base")).toHaveLength(3);
    expect(await counted()).toEqual([3]);
  });

  it("one that is being made, however far that has come", async () => {
    let seen = 0;
    for (let death = 0; ; death += 1) {
      const { cluster, images, counted } = await setUp();
      await images.clones.children("base");
      const dying = cluster.client((operation) => (operation === death ? "before" : undefined));
      const to = { scope: dying.images.scope, name: "made" };
      await dying.images.clones.create("base", "s", to).catch(() => undefined);
      if (!dying.io.dead) break;
      const before = await counted();
      const children = await images.clones.children("base");
      expect(await counted(), `died before operation ${death}`).toEqual(before);
      expect(children).toHaveLength(before[0] ?? -1);
      seen += children.length - 1;
    }
    expect(seen).toBeGreaterThan(0);
  });

  it("one that has a header, though its directory does not know it", async () => {
    const { cluster, images, counted } = await setUp();
    const { id } = await images.info("other");
    const directory = cluster.pool.objects.get("rbd_directory");
    for (const key of [`id_${id}`, "name_other"]) directory?.delete(key);
    expect(await images.clones.children("base")).toMatchObject([{ id, name: undefined }]);
    expect(await counted()).toEqual([1]);
  });
});
