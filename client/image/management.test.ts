// What is done with images as a whole: names, trash, namespaces, metadata, configuration, features,
// layouts, groups; and what is refused.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { Images } from "./images.js";
import { Namespaces } from "./namespaces.js";
import { openLocked } from "./open-locked.js";

const mebibyte = 2 ** 20;

async function made(...names: string[]) {
  const cluster = new FakeCluster();
  const client = cluster.client();
  for (const name of names) await client.images.create(name, 16 * mebibyte);
  const namespaces = new Namespaces(client.images.scope);
  const inNamespace = (name: string) => {
    const { cluster: of, ports } = client.images.scope;
    return new Images(of, "rbd", ports, name);
  };
  return { cluster, ...client, namespaces, inNamespace };
}

describe("rename", () => {
  it("keeps the image, also while it is in use", async () => {
    const { cluster, images } = await made("a");
    const { id } = await images.info("a");
    const user = await openLocked(cluster.client().images, "a");
    expect(await images.rename("a", "b")).toMatchObject({ name: "b", id });
    await user.close();
    expect(violations(cluster.pool)).toEqual([]);
  });

  it.each([
    ["b", "c", "not_found"],
    ["a", "taken", "already_exists"],
    ["a", "x y", "invalid_argument"],
  ])("of %s to %s is refused", async (from, to, code) => {
    const { images } = await made("a", "taken");
    await expect(images.rename(from, to)).rejects.toMatchObject({ code });
    expect((await images.list()).map(({ name }) => name)).toEqual(["a", "taken"]);
  });
});

describe("the trash", () => {
  it("hides an image from ls and gives it back under its name or another", async () => {
    const { images } = await made("a");
    const { id } = await images.trash.move("a");
    expect(await images.list()).toEqual([]);
    await images.create("a", 512);
    await expect(images.trash.restore(id)).rejects.toMatchObject({ code: "already_exists" });
    expect(await images.trash.restore(id, "b")).toMatchObject({ name: "b", id });
    expect(await images.trash.list()).toEqual([]);
  });

  it("keeps an image for as long as it was told to, but for force", async () => {
    const { cluster, images } = await made("a", "b");
    const a = await images.trash.move("a", 60_000);
    const b = await images.trash.move("b", 60_000);
    const remedy = expect.stringMatching(/--force/);
    await expect(images.trash.remove(a.id)).rejects.toMatchObject({ code: "busy", remedy });
    await images.trash.remove(a.id, { force: true });
    expect((await images.trash.purge()).removed).toEqual([]);
    cluster.wallMs += 60_000;
    await images.trash.remove(b.id);
    expect(violations(cluster.pool)).toEqual([]);
    await expect(images.trash.remove(b.id)).rejects.toMatchObject({ code: "not_found" });
  });

  it("is purged of what has expired, but not of what has snapshots", async () => {
    const { cluster, images } = await made("a", "b", "c");
    await images.snapshots.create("b", "s");
    for (const [name, delayMs] of [
      ["a", 0],
      ["b", 0],
      ["c", 100_000],
    ] as const) {
      await images.trash.move(name, delayMs);
    }
    const { removed, kept } = await images.trash.purge();
    expect(removed.map(({ name }) => name)).toEqual(["a"]);
    expect(kept).toMatchObject([{ image: { name: "b" }, reason: /has 1 snapshots/ }]);
    const soon = cluster.wallMs + 100_000;
    const later = await images.trash.purge({ expiredBefore: soon });
    expect(later.removed.map(({ name }) => name)).toEqual(["c"]);
  });

  it("is purged until so much is free, what expires first before the rest", async () => {
    const { io, images } = await made("a", "b");
    for (const [name, delayMs] of [
      ["b", 0],
      ["a", 1],
    ] as const) {
      const { handle } = await images.open(name);
      io.fill(handle, 0, 16 * mebibyte);
      await images.trash.move(name, delayMs);
    }
    const expiredBefore = Number.MAX_SAFE_INTEGER;
    // The capacity is 10 GiB: 8 MiB are too many.
    const usedRatio = 0.5 + (8 * mebibyte) / (10 * 1024 * mebibyte);
    const threshold = 0.5;
    const { removed } = await images.trash.purge({ expiredBefore, threshold, usedRatio });
    expect(removed.map(({ name }) => name)).toEqual(["b"]);
    const wrong = images.trash.purge({ threshold: 2, usedRatio });
    await expect(wrong).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it("takes no image that is in use or belongs to a group", async () => {
    const { cluster, images } = await made("a", "b");
    const user = await openLocked(cluster.client().images, "a");
    await expect(images.trash.move("a")).rejects.toMatchObject({ code: "busy" });
    await user.close();
    await images.groups.create("g");
    await images.groups.addImage("g", { scope: images.scope, name: "b" });
    const remedy = expect.stringMatching(/group image rm/);
    await expect(images.trash.move("b")).rejects.toMatchObject({ code: "busy", remedy });
    await expect(images.remove("b")).rejects.toMatchObject({ code: "busy", remedy });
    expect(violations(cluster.pool)).toEqual([]);
  });
});

describe("namespaces", () => {
  it("have images of their own", async () => {
    const { cluster, images, namespaces, inNamespace } = await made("a");
    await namespaces.create("ns");
    const there = inNamespace("ns");
    expect(await there.list()).toEqual([]);
    expect(await there.create("a", 512)).toMatchObject({ namespace: "ns", sizeBytes: 512 });
    await there.trash.move("a");
    expect((await images.info("a")).sizeBytes).toBe(16 * mebibyte);
    expect(await images.trash.list()).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
    const message = expect.stringMatching(/1 images in the trash/);
    await expect(namespaces.remove("ns")).rejects.toMatchObject({ code: "busy", message });
    await there.trash.purge();
    await namespaces.remove("ns");
    expect(await namespaces.list()).toEqual([]);
  });

  it("that are not there have nothing, and take nothing", async () => {
    const { cluster, inNamespace, namespaces } = await made();
    const there = inNamespace("ns");
    const remedy = expect.stringMatching(/namespace ls rbd/);
    await expect(there.list()).rejects.toMatchObject({ code: "not_found", remedy });
    await expect(there.create("a", 512)).rejects.toMatchObject({ code: "not_found" });
    await expect(namespaces.remove("ns")).rejects.toMatchObject({ code: "not_found" });
    expect(cluster.pool.dataObjects()).toEqual([]);
    await namespaces.create("ns");
    await expect(namespaces.create("ns")).rejects.toMatchObject({ code: "already_exists" });
    expect(() => inNamespace("a/b")).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  });

  it.each([0, 1, 2, 3, 4, 5, 6, 7])("lose no image to their removal, %i turns later", async (n) => {
    const { cluster, inNamespace, namespaces } = await made();
    await namespaces.create("ns");
    const creating = inNamespace("ns").create("a", 512);
    for (let turn = 0; turn < n; turn += 1) await Promise.resolve();
    const [created, removed] = await Promise.allSettled([creating, namespaces.remove("ns")]);
    // Both may fail where they meet; never are both done.
    expect([created.status, removed.status]).not.toEqual(["fulfilled", "fulfilled"]);
    expect(violations(cluster.pool)).toEqual([]);
    if (created.status === "fulfilled") expect(await inNamespace("ns").list()).toHaveLength(1);
  });
});

describe("metadata and configuration", () => {
  it("are set, listed and removed, each by its own verbs", async () => {
    const { images } = await made("a");
    const { metadata, config } = images;
    await metadata.set("a", "owner", "anna");
    await config.set("a", "rbd_qos_iops_limit", "2K");
    await config.setPool("rbd_qos_bps_limit", "1G");
    expect(await metadata.get("a", "owner")).toBe("anna");
    expect(await config.get("a", "rbd_qos_iops_limit")).toBe("2048");
    const rows = (await config.list("a")).filter(({ source }) => source !== "default");
    expect(rows).toMatchObject([
      { option: "rbd_qos_iops_limit", value: "2048", source: "image" },
      { option: "rbd_qos_bps_limit", value: "1073741824", source: "pool" },
    ]);
    expect((await metadata.list("a")).map(([key]) => key)).toEqual([
      "conf_rbd_qos_iops_limit",
      "owner",
    ]);
    await metadata.remove("a", "owner");
    await config.remove("a", "rbd_qos_iops_limit");
    await config.removePool("rbd_qos_bps_limit");
    expect(await metadata.list("a")).toEqual([]);
    expect((await config.listPool()).every(({ source }) => source === "default")).toBe(true);
  });

  it("are refused when they cannot be", async () => {
    const { images } = await made("a");
    const { metadata, config } = images;
    const refused = { code: "invalid_argument" };
    await expect(metadata.set("a", "", "x")).rejects.toMatchObject(refused);
    await expect(metadata.set("a", "k\n", "x")).rejects.toMatchObject(refused);
    await expect(metadata.set("a", "k", "x".repeat(4097))).rejects.toMatchObject(refused);
    await expect(metadata.set("a", "conf_x", "1")).rejects.toMatchObject(refused);
    await expect(metadata.get("a", "k")).rejects.toMatchObject({ code: "not_found" });
    await expect(metadata.remove("a", "k")).rejects.toMatchObject({ code: "not_found" });
    await expect(config.set("a", "rbd_qos_iops_limit", "many")).rejects.toMatchObject(refused);
    await expect(config.set("a", "rbd_cache", "1")).rejects.toMatchObject(refused);
    await expect(config.get("a", "rbd_qos_bps_limit")).rejects.toMatchObject({ code: "not_found" });
    await expect(config.set("b", "rbd_qos_bps_limit", "1")).rejects.toMatchObject({
      code: "not_found",
    });
  });
});

describe("features and layouts", () => {
  it("are those that were asked for", async () => {
    const { images } = await made();
    const info = await images.create("a", 16 * mebibyte, {
      ...{ objectBytes: 1 << 16, stripeUnitBytes: 4096, stripeCount: 8, dataPool: "fast" },
      features: ["layering", "exclusive-lock"],
    });
    expect(info).toMatchObject({
      ...{ objectBytes: 1 << 16, stripeUnitBytes: 4096, stripeCount: 8, dataPool: "fast" },
      features: ["layering", "striping", "exclusive-lock", "data-pool"],
    });
    expect(await images.features.enable("a", ["object-map", "fast-diff"])).toContain("fast-diff");
    expect(await images.features.disable("a", ["fast-diff"])).not.toContain("fast-diff");
  });

  it.each([
    [{ objectBytes: 1 << 15 }, "objects"],
    [{ objectBytes: 1 << 26 }, "objects"],
    [{ objectBytes: 3 << 20 }, "objects"],
    [{ stripeUnitBytes: 512 }, "stripe unit"],
    [{ stripeUnitBytes: 3 * 4096 }, "stripe unit"],
    [{ stripeCount: 0 }, "stripe count"],
    [{ features: ["object-map"] as const }, "needs exclusive-lock"],
  ])("are refused: %j", async (layout, message) => {
    const { cluster, images } = await made();
    await expect(images.create("a", 512, layout)).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining(message),
    });
    expect(cluster.pool.objects.size).toBe(0);
  });

  it.each([
    ["enable", ["layering"], /enabled already/],
    ["disable", ["exclusive-lock"], /object-map needs exclusive-lock/],
    ["disable", ["object-map"], /fast-diff needs object-map/],
    ["disable", ["striping"], /not enabled/],
    ["enable", ["data-pool"], /decided when an image is made/],
  ] as const)("refuse to %s %j", async (verb, features, message) => {
    const { images } = await made("a");
    const changing = images.features[verb]("a", features);
    await expect(changing).rejects.toMatchObject({ code: "invalid_argument", message });
    await images.features.disable("a", ["deep-flatten"]);
    const again = images.features.enable("a", ["deep-flatten"]);
    await expect(again).rejects.toMatchObject({ message: /can only be disabled/ });
  });
});

describe("groups", () => {
  it("have images of several pools, each in one group at most", async () => {
    const { cluster, images, inPool } = await made("a");
    const fast = inPool("fast");
    await fast.create("b", 512);
    await images.groups.create("g");
    await images.groups.create("h");
    await images.groups.addImage("g", { scope: images.scope, name: "a" });
    await images.groups.addImage("g", { scope: fast.scope, name: "b" });
    const second = images.groups.addImage("h", { scope: fast.scope, name: "b" });
    await expect(second).rejects.toMatchObject({ code: "busy" });
    expect(await images.groups.images("g")).toMatchObject([
      { pool: "rbd", name: "a" },
      { pool: "fast", name: "b" },
    ]);
    await images.groups.rename("g", "group");
    await images.groups.snapshots.create("group", "s");
    expect(await images.groups.snapshots.list("group")).toMatchObject([
      { name: "s", state: "ready", imageCount: 2 },
    ]);
    expect(violations(cluster.pool)).toEqual([]);
    const holding = images.groups.removeImage("group", { scope: images.scope, name: "a" });
    await expect(holding).rejects.toMatchObject({ code: "busy" });
    const [hidden] = await images.snapshots.list("a", { all: true });
    const byName = images.snapshots.remove("a", hidden?.name ?? "");
    await expect(byName).rejects.toMatchObject({ code: "busy" });
    await images.groups.remove("group");
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("are not rolled back to when they had other images", async () => {
    const { images } = await made("a", "b");
    await images.groups.create("g");
    await expect(images.groups.snapshots.create("g", "s")).rejects.toMatchObject({
      code: "invalid_argument",
    });
    await images.groups.addImage("g", { scope: images.scope, name: "a" });
    await images.groups.snapshots.create("g", "s");
    await images.groups.addImage("g", { scope: images.scope, name: "b" });
    await expect(images.groups.snapshots.rollback("g", "s")).rejects.toMatchObject({
      code: "busy",
    });
    await expect(images.groups.snapshots.rollback("g", "t")).rejects.toMatchObject({
      code: "not_found",
    });
  });
});

describe("a copy", () => {
  it("of a snapshot shows that, and has no snapshot itself", async () => {
    const { cluster, io, images } = await made("a");
    const write = async (content: string) => {
      const { handle } = await images.open("a");
      io.fill(handle, 0, 16 * mebibyte, content);
    };
    await write("old");
    await images.snapshots.create("a", "s");
    await write("new");
    await images.copies.copy("a", "s", { scope: images.scope, name: "b" });
    const { handle } = await images.open("b", { readOnly: true });
    expect(io.contentAt(handle, 0)).toBe("old");
    expect(await images.snapshots.list("b", { all: true })).toEqual([]);
    const stop = new AbortController();
    io.duringFlatten = () => stop.abort();
    const { signal } = stop;
    const stopped = images.copies.copy("a", "s", { scope: images.scope, name: "c" }, { signal });
    await expect(stopped).rejects.toMatchObject({ code: "canceled" });
    expect((await images.list()).map(({ name }) => name)).toEqual(["a", "b"]);
    const taken = images.copies.copy("a", "s", { scope: images.scope, name: "b" });
    await expect(taken).rejects.toMatchObject({ code: "already_exists" });
    expect(violations(cluster.pool)).toEqual([]);
  });
});

describe("sparsify", () => {
  it("gives blocks of zeros back, also while the image is in use", async () => {
    const { cluster, io, images } = await made("a");
    const { handle } = await images.open("a");
    io.fill(handle, 0, 8 * mebibyte, "0");
    io.fill(handle, 8 * mebibyte, 8 * mebibyte, "x");
    const user = await openLocked(cluster.client().images, "a");
    const token = await user.lock.acquire();
    expect(await images.copies.sparsify("a")).toEqual({ freedBytes: 8 * mebibyte });
    expect(cluster.pool.dataObjects()).toHaveLength(2);
    expect(user.lock.holds(token)).toBe(true);
  });

  it("leaves zeros explicit as far as a snapshot or the head may show a parent", async () => {
    const { cluster, io, images } = await made("a");
    await images.snapshots.create("a", "s");
    await images.clones.create("a", "s", { scope: images.scope, name: "b" });
    // A flatten leaves its snapshots with the parent.
    await images.features.disable("b", ["deep-flatten"]);
    const { handle } = await images.open("b");
    io.fill(handle, 0, 12 * mebibyte, "0");
    await images.resize("b", 8 * mebibyte, { allowShrink: true });
    await images.snapshots.create("b", "with-parent");
    await images.clones.flatten("b");
    await images.resize("b", 32 * mebibyte);
    const grown = await images.open("b");
    io.fill(grown.handle, 8 * mebibyte, 8 * mebibyte, "0");
    expect(await images.copies.sparsify("b")).toEqual({ freedBytes: 16 * mebibyte });
    expect(cluster.pool.dataObjects()).toHaveLength(2);
    await images.snapshots.rollback("b", "with-parent");
    expect(await images.clones.parent("b")).toBeDefined();
    const back = await images.open("b");
    expect(io.contentAt(back.handle, 0)).toBeUndefined();
  });

  it("refuses runs that are no part of an object", async () => {
    const { images } = await made("a");
    for (const sparseBytes of [512, 12_288, 8 * mebibyte]) {
      await expect(images.copies.sparsify("a", { sparseBytes })).rejects.toMatchObject({
        code: "invalid_argument",
        remedy: /4194304/,
      });
    }
  });
});
