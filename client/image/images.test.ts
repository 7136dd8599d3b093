// The image layer against a pool in memory, above all with clients that die between any two steps.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import type { FakeIo } from "../testing/fake-io.js";
import { headerObject } from "./header.js";
import type { Images } from "./images.js";
import { pendingStaleMs } from "./making.js";

const mebibyte = 2 ** 20;
const gibibyte = 2 ** 30;

async function withData(cluster: FakeCluster, name: string, sizeBytes: number): Promise<void> {
  const { io, images } = cluster.client();
  await images.create(name, sizeBytes);
  const { handle } = await images.open(name);
  io.fill(handle, 0, sizeBytes);
}

describe("create", () => {
  it("makes an image that ls and info show", async () => {
    const { images } = new FakeCluster().client();
    await images.create("b", gibibyte);
    await images.create("a", 512);
    expect((await images.list()).map(({ name }) => name)).toEqual(["a", "b"]);
    expect(await images.info("b")).toMatchObject({
      pool: "rbd",
      sizeBytes: gibibyte,
      objectBytes: 4 * mebibyte,
      objectCount: 256,
      createdAt: 1_000_000,
    });
  });

  it.each([
    ["a name with a slash", "a/b", 512, "invalid_argument"],
    ["an empty name", "", 512, "invalid_argument"],
    ["a name of 97 bytes", "x".repeat(97), 512, "invalid_argument"],
    ["a size of 0", "a", 0, "invalid_argument"],
    ["half a sector", "a", 256, "invalid_argument"],
    ["a size beyond capacity", "a", 10 * gibibyte + 512, "out_of_range"],
  ])("refuses %s and leaves nothing", async (_what, name, sizeBytes, code) => {
    const cluster = new FakeCluster();
    await expect(cluster.client().images.create(name, sizeBytes)).rejects.toMatchObject({ code });
    expect(cluster.pool.objects.size).toBe(0);
  });

  it("takes a size beyond capacity when it is meant", async () => {
    const { images } = new FakeCluster().client();
    await images.create("thin", 100 * gibibyte, { overcommit: true });
    expect((await images.info("thin")).sizeBytes).toBe(100 * gibibyte);
    const tooLarge = images.create("huge", 2 ** 47, { overcommit: true });
    await expect(tooLarge).rejects.toMatchObject({ code: "out_of_range" });
  });

  it("refuses a name that exists and leaves nothing of the second", async () => {
    const cluster = new FakeCluster();
    await cluster.client().images.create("a", gibibyte);
    const objects = [...cluster.pool.objects.keys()];
    const again = cluster.client().images.create("a", 512);
    await expect(again).rejects.toMatchObject({ code: "already_exists" });
    expect([...cluster.pool.objects.keys()]).toEqual(objects);
    expect(await cluster.client().images.pending()).toEqual([]);
  });

  it("lets one of two that race for a name win, and the other leaves nothing", async () => {
    const cluster = new FakeCluster();
    const results = await Promise.allSettled([
      cluster.client().images.create("a", 512),
      cluster.client().images.create("a", 1024),
    ]);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(await cluster.client().images.pending()).toEqual([]);
    expect(cluster.pool.objects.size).toBe(2);
  });
});

/** Runs an action with a client that dies at its n-th operation, for every n until it survives. */
async function dyingAtEach(
  prepare: (cluster: FakeCluster) => Promise<void>,
  act: (images: Images<FakeIo>) => Promise<unknown>,
  check: (cluster: FakeCluster, survived: boolean) => Promise<void>,
): Promise<number> {
  for (let death = 0; ; death += 1) {
    for (const moment of ["before", "after"] as const) {
      const cluster = new FakeCluster();
      await prepare(cluster);
      const { io, images } = cluster.client((operation) =>
        operation === death ? moment : undefined,
      );
      const survived = await act(images).then(
        () => true,
        () => false,
      );
      await check(cluster, survived);
      if (!io.dead) return death;
    }
  }
}

/** Every object belongs to the directory or to an image that is named. */
async function nothingLeftOver(cluster: FakeCluster): Promise<void> {
  const { images } = cluster.client();
  const infos = await images.list();
  const isKnown = (name: string) =>
    name === "rbd_directory" ||
    infos.some(
      ({ id, objectPrefix }) => name === headerObject(id) || name.startsWith(objectPrefix),
    );
  expect([...cluster.pool.objects.keys()].filter((name) => !isKnown(name))).toEqual([]);
  expect(await images.pending()).toEqual([]);
}

/** Clears what dead clients have left: any later rm in the pool, once it is old enough. */
async function clearLater(cluster: FakeCluster): Promise<void> {
  cluster.wallMs += pendingStaleMs + 1;
  const { images } = cluster.client();
  await images.create("other", 512);
  await images.remove("other");
}

describe("a client that dies", () => {
  it("in create: the image is there whole or not at all; nothing stays in the end", async () => {
    const deaths = await dyingAtEach(
      async () => undefined,
      (images) => images.create("a", gibibyte),
      async (cluster) => {
        const listed = await cluster.client().images.list();
        if (listed.length > 0) expect(listed[0]).toMatchObject({ name: "a", sizeBytes: gibibyte });
        await clearLater(cluster);
        await nothingLeftOver(cluster);
      },
    );
    expect(deaths).toBeGreaterThanOrEqual(4);
  });

  it("in rm: the same rm finishes it, or it never happened", async () => {
    const deaths = await dyingAtEach(
      (cluster) => withData(cluster, "a", 1024 * mebibyte),
      (images) => images.remove("a"),
      async (cluster) => {
        const { images } = cluster.client();
        await images.remove("a").catch((error: { code: string }) => {
          expect(error.code).toBe("not_found");
        });
        expect(await images.list()).toEqual([]);
        expect(cluster.pool.dataObjects()).toEqual([]);
        await nothingLeftOver(cluster);
      },
    );
    // Each object takes one, as do the name, the header and the entry.
    expect(deaths).toBeGreaterThanOrEqual(8);
  });

  it("in rm: its name can be used again at once", async () => {
    await dyingAtEach(
      (cluster) => withData(cluster, "a", 64 * mebibyte),
      (images) => images.remove("a"),
      async (cluster) => {
        const { images } = cluster.client();
        const there = (await images.list()).length > 0;
        if (there) return;
        await images.create("a", 512);
        expect((await images.info("a")).sizeBytes).toBe(512);
        await clearLater(cluster);
        await nothingLeftOver(cluster);
        expect((await images.info("a")).sizeBytes).toBe(512);
      },
    );
  });

  it("in a shrink: what was behind the new size never comes back", async () => {
    await dyingAtEach(
      (cluster) => withData(cluster, "a", 512 * mebibyte),
      (images) => images.resize("a", 8 * mebibyte, { allowShrink: true }),
      async (cluster) => {
        const { images } = cluster.client();
        const { sizeBytes } = await images.info("a");
        expect([8 * mebibyte, 512 * mebibyte]).toContain(sizeBytes);
        if (sizeBytes === 512 * mebibyte) return;
        await images.resize("a", gibibyte);
        expect(cluster.pool.dataObjects()).toHaveLength(2);
        expect((await images.info("a")).sizeBytes).toBe(gibibyte);
      },
    );
  });
});

describe("resize", () => {
  it("grows without a word, shrinks only when it is meant", async () => {
    const { images } = new FakeCluster().client();
    await images.create("a", gibibyte);
    expect((await images.resize("a", 2 * gibibyte)).sizeBytes).toBe(2 * gibibyte);
    const shrink = images.resize("a", gibibyte);
    await expect(shrink).rejects.toMatchObject({ code: "invalid_argument" });
    const odd = images.resize("a", 512, { allowShrink: true });
    await expect(odd).rejects.toMatchObject({ code: "invalid_argument" });
    expect((await images.resize("a", 4096, { allowShrink: true })).sizeBytes).toBe(4096);
    const none = images.resize("a", 0, { allowShrink: true });
    await expect(none).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it("refuses a size beyond capacity, and an image that is not there", async () => {
    const { images } = new FakeCluster().client();
    await images.create("a", gibibyte);
    const grow = images.resize("a", 11 * gibibyte);
    await expect(grow).rejects.toMatchObject({ code: "out_of_range" });
    await expect(images.resize("b", gibibyte)).rejects.toMatchObject({ code: "not_found" });
  });
});

describe("rm", () => {
  it("removes data, header and names, with progress", async () => {
    const cluster = new FakeCluster();
    await withData(cluster, "a", 600 * mebibyte);
    const steps: number[] = [];
    await cluster.client().images.remove("a", (done, total) => steps.push(done / total));
    expect(steps).toEqual(Array.from({ length: 150 }, (_, index) => (index + 1) / 150));
    expect([...cluster.pool.objects.keys()]).toEqual(["rbd_directory"]);
    expect(cluster.pool.objects.get("rbd_directory")?.size).toBe(0);
  });

  it("leaves what a living client is making alone", async () => {
    const cluster = new FakeCluster();
    const maker = cluster.client().images;
    const { entry } = await maker.begin("importing", "b", gibibyte);
    await cluster.client().images.create("a", 512);
    await cluster.client().images.remove("a");
    await maker.publish(entry);
    expect((await maker.info("b")).sizeBytes).toBe(gibibyte);
  });

  it("stops a maker that was taken for dead", async () => {
    const cluster = new FakeCluster();
    const maker = cluster.client().images;
    const { entry } = await maker.begin("importing", "b", gibibyte);
    await clearLater(cluster);
    await expect(maker.renew(entry)).rejects.toMatchObject({ code: "canceled" });
    await expect(maker.publish(entry)).rejects.toMatchObject({ code: "canceled" });
    expect(await maker.list()).toEqual([]);
  });

  it("says when there is no such image", async () => {
    const { images } = new FakeCluster().client();
    await expect(images.remove("a")).rejects.toMatchObject({ code: "not_found" });
  });
});

describe("open", () => {
  it("refuses a header with features of the future, and damaged ones", async () => {
    const cluster = new FakeCluster();
    const { images } = cluster.client();
    const { id } = await images.create("a", 512);
    const header = () => cluster.pool.objects.get(headerObject(id));
    header()?.set("features", Uint8Array.of(64, 0, 0, 0, 0, 0, 0, 0));
    await expect(images.open("a")).rejects.toMatchObject({ code: "unsupported_feature" });
    header()?.set("features", Uint8Array.of(0));
    await expect(images.open("a")).rejects.toMatchObject({ code: "corrupt" });
    cluster.pool.objects.delete(headerObject(id));
    await expect(images.open("a")).rejects.toMatchObject({ code: "corrupt" });
  });
});
