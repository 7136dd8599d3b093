// Images of which something is lost: the pool of their data or of their parent, or their header.
// They stand in nobody's way: the others are listed, and they can be removed.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { headerObject } from "./header.js";
import { snapshotKey } from "./snapshot-record.js";

const mebibyte = 2 ** 20;

/** An image "sound", and "lost" with data and a snapshot, whose header can be overwritten. */
async function withLost() {
  const cluster = new FakeCluster();
  const { io, images } = cluster.client();
  await images.create("sound", mebibyte);
  const { id } = await images.create("lost", 16 * mebibyte);
  const { handle } = await images.open("lost");
  io.fill(handle, 0, 16 * mebibyte);
  await images.snapshots.create("lost", "s");
  const header = cluster.pool.objects.get(headerObject(id)) ?? new Map<string, Uint8Array>();
  return { cluster, io, images, header };
}

const junk = Uint8Array.of(0xff, 0xee);
const damages: [what: string, damage: (header: Map<string, Uint8Array>) => void][] = [
  ["no size", (header) => header.delete("size")],
  ["an order that cannot be", (header) => header.set("order", Uint8Array.of(77))],
  ["a damaged snapshot", (header) => header.set(snapshotKey(1), junk)],
  [
    "nothing but its lock that can be read",
    (header) => {
      for (const key of header.keys()) if (!key.startsWith("lock")) header.set(key, junk);
    },
  ],
];

describe.each(damages)("an image whose header has %s", (_what, damage) => {
  it("fails no list of those that ask for the others, and is removed", async () => {
    const { cluster, images, header } = await withLost();
    damage(header);
    await expect(images.list()).rejects.toMatchObject({ code: "corrupt" });
    const unreadable: string[] = [];
    const listed = await images.list((name) => unreadable.push(name));
    expect(listed.map(({ name }) => name)).toEqual(["sound"]);
    expect(unreadable).toEqual(["lost"]);
    await expect(images.open("lost")).rejects.toMatchObject({
      code: "corrupt",
      remedy: expect.stringContaining("`cairn rm`"),
    });
    await images.remove("lost");
    expect(cluster.pool.dataObjects()).toEqual([]);
    expect((await images.list()).map(({ name }) => name)).toEqual(["sound"]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("is not removed while it has clones", async () => {
    const { images, header } = await withLost();
    await images.clones.create("lost", "s", { scope: images.scope, name: "clone" });
    damage(header);
    await expect(images.remove("lost")).rejects.toMatchObject({
      code: "busy",
      message: expect.stringContaining("1 clones"),
    });
  });
});

describe("a pool that is removed", () => {
  it("takes the data of images of other pools, which are listed and removed", async () => {
    const cluster = new FakeCluster();
    const { images } = cluster.client();
    await images.create("lost", mebibyte, { dataPool: "fast" });
    await images.create("sound", mebibyte);
    cluster.pools = cluster.pools.filter(({ name }) => name !== "fast");
    expect((await images.list()).map(({ name }) => name)).toEqual(["lost", "sound"]);
    expect(await images.info("lost")).toMatchObject({ dataPool: "(removed pool 2)" });
    await expect(images.open("lost")).rejects.toMatchObject({
      code: "not_found",
      remedy: expect.stringContaining("`cairn rm`"),
    });
    await images.remove("lost");
    expect((await images.list()).map(({ name }) => name)).toEqual(["sound"]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("takes the parents of clones, which are shown and removed", async () => {
    const cluster = new FakeCluster();
    const { images, inPool } = cluster.client();
    const { scope } = images;
    await inPool("fast").create("base", mebibyte);
    await inPool("fast").snapshots.create("base", "s");
    await inPool("fast").clones.create("base", "s", { scope, name: "clone" });
    cluster.pools = cluster.pools.filter(({ name }) => name !== "fast");
    expect(await images.clones.parent("clone")).toMatchObject({
      pool: "(removed pool 2)",
      name: undefined,
      snapshot: "1",
    });
    await images.remove("clone");
    expect(await images.list()).toEqual([]);
  });
});
