// Images that are moved or imported while they are used: what their users see, who is stopped, and
// in which order things may be done.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type FakeClient, FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { makeChange } from "./exclusive.js";
import { openLocked } from "./open-locked.js";

const mebibyte = 2 ** 20;
const sizeBytes = 16 * mebibyte;
const folder = mkdtempSync(path.join(tmpdir(), "cairn-migration-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function made(): Promise<FakeCluster> {
  const cluster = new FakeCluster();
  const { io, images } = cluster.client();
  await images.create("a", sizeBytes);
  const { handle } = await images.open("a");
  io.fill(handle, 0, sizeBytes, "old");
  images.close(handle);
  return cluster;
}

/** A client that has an image open, in use or not. */
async function guest(cluster: FakeCluster, name: string, inUse = true) {
  const { io, images } = cluster.client();
  const image = await openLocked(images, name);
  const { handle } = image;
  if (inUse) io.deliver({ type: "device", device: handle, state: "wanted" });
  await cluster.pass(0);
  return { io, images, image, handle };
}

/** Lets time pass until something that takes some has ended. */
async function during<T>(cluster: FakeCluster, work: Promise<T>): Promise<T> {
  let over = false;
  const end = () => {
    over = true;
  };
  work.then(end, end);
  for (let round = 0; round < 400 && !over; round += 1) await cluster.pass(250);
  return work;
}

function move(cluster: FakeCluster, pool = "rbd") {
  const { images, inPool } = cluster.client();
  const { scope } = inPool(pool);
  return during(cluster, images.migrations.prepare("a", { scope, name: "b" }));
}

describe("an image that is moved while it is in use", () => {
  it.each(["rbd", "fast"])(
    "is used on as its target in %s, under the lock of that",
    async (pool) => {
      const cluster = await made();
      const user = await guest(cluster, "a");
      user.io.fill(user.handle, 0, 4 * mebibyte, "first");
      await move(cluster, pool);
      expect(user.io.contentAt(user.handle, 0)).toBe("first");
      user.io.fill(user.handle, 0, 4 * mebibyte, "second");
      expect(user.io.contentAt(user.handle, 0)).toBe("second");
      expect(user.io.contentAt(user.handle, 8 * mebibyte)).toBe("old");
      // Closed before the source was marked, opened under the new lock; in between nothing went.
      expect(user.io.gates.slice(1, 3)).toEqual(["1 drain", "1 drain"]);
      expect(user.io.gates[3]).toBe("1 open 1");
      const { migrations } = cluster.client().inPool(pool);
      await during(cluster, migrations.execute("b"));
      await during(cluster, migrations.commit("b"));
      expect(user.io.contentAt(user.handle, 8 * mebibyte)).toBe("old");
      await during(cluster, user.image.close());
      expect(violations(cluster.pool)).toEqual([]);
      expect(await user.images.list()).toHaveLength(pool === "rbd" ? 1 : 0);
    },
  );

  it("is followed by those who have it open and do not use it", async () => {
    const cluster = await made();
    const waiting = await guest(cluster, "a", false);
    await move(cluster);
    waiting.io.deliver({ type: "device", device: waiting.handle, state: "wanted" });
    await cluster.pass(2000);
    waiting.io.fill(waiting.handle, 0, 4 * mebibyte, "new");
    const { io, images } = cluster.client();
    const { handle } = await images.open("b", { readOnly: true });
    expect(io.contentAt(handle, 0)).toBe("new");
    expect(io.contentAt(handle, 8 * mebibyte)).toBe("old");
  });

  it("sends nothing of a front end that comes while its device is being changed", async () => {
    const cluster = await made();
    const { io, handle } = await guest(cluster, "a", false);
    const retarget = io.retarget.bind(io);
    io.retarget = async (device, layout) => {
      io.deliver({ type: "device", device, state: "wanted" });
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(io.gates.filter((happened) => happened.includes("open"))).toEqual([]);
      await retarget(device, layout);
    };
    await move(cluster);
    await cluster.pass(2000);
    io.fill(handle, 0, 4 * mebibyte, "new");
    const { images } = cluster.client();
    const id = await images.scope.idOf("b");
    expect(cluster.pool.dataObjects()).toContain(`rbd_data.${id}.${"0".repeat(16)}`);
  });

  it("is not opened under its old name, nor changed, nor removed", async () => {
    const cluster = await made();
    await move(cluster);
    const { images } = cluster.client();
    const busy = { code: "busy", remedy: expect.stringMatching(/Use rbd\/b/) };
    await expect(images.open("a", { readOnly: true })).rejects.toMatchObject(busy);
    await expect(openLocked(images, "a")).rejects.toMatchObject(busy);
    await expect(images.snapshots.create("a", "s")).rejects.toMatchObject(busy);
    await expect(images.remove("a")).rejects.toMatchObject(busy);
    await expect(images.trash.move("a")).rejects.toMatchObject(busy);
    const to = { scope: images.scope, name: "c" };
    await expect(images.copies.copy("a", undefined, to)).rejects.toMatchObject(busy);
    await expect(images.migrations.prepare("a", to)).rejects.toMatchObject({ code: "busy" });
  });

  it("can be changed as the target only when it needs its source no more", async () => {
    const cluster = await made();
    await move(cluster);
    const { images } = cluster.client();
    const first = { code: "busy", remedy: expect.stringMatching(/migration execute rbd\/b/) };
    await expect(images.snapshots.create("b", "s")).rejects.toMatchObject(first);
    await expect(images.resize("b", 2 * sizeBytes)).rejects.toMatchObject(first);
    await expect(images.migrations.commit("b")).rejects.toMatchObject(first);
    await images.migrations.execute("b");
    await images.snapshots.create("b", "s");
    await expect(images.remove("b")).rejects.toMatchObject({ code: "busy" });
    await images.migrations.commit("b");
    await images.snapshots.purge("b");
    await images.remove("b");
  });
});

describe("a migration that is cut off anywhere", () => {
  const opens = async ({ images }: FakeClient, name: string) => {
    try {
      images.close((await images.open(name)).handle);
      return true;
    } catch {
      return false;
    }
  };

  it.each(["prepare", "abort"] as const)(
    "never leaves two images to write to: %s",
    async (verb) => {
      let usable = 0;
      for (let death = 0; ; death += 1) {
        const cluster = await made();
        if (verb === "abort") await move(cluster);
        const dying = cluster.client((operation) => (operation === death ? "after" : undefined));
        const { images } = dying;
        const to = { scope: images.scope, name: "b" };
        const work =
          verb === "prepare" ? images.migrations.prepare("a", to) : images.migrations.abort("b");
        await work.catch(() => undefined);
        const other = cluster.client();
        const both = [await opens(other, "a"), await opens(other, "b")];
        expect(both.filter(Boolean).length, `died after ${death}`).toBe(1);
        if (both[verb === "prepare" ? 1 : 0]) usable += 1;
        if (!dying.io.dead) break;
      }
      expect(usable).toBeGreaterThan(1);
    },
  );
});

describe("the end of a migration", () => {
  it("waits for those that read the source through the target", async () => {
    const cluster = await made();
    await move(cluster);
    const reader = cluster.client();
    const { handle } = await reader.images.open("b", { readOnly: true });
    const { images } = cluster.client();
    await images.migrations.execute("b");
    await expect(images.migrations.commit("b")).rejects.toMatchObject({
      code: "busy",
      message: expect.stringMatching(/in use by host1/),
    });
    expect(reader.io.contentAt(handle, 0)).toBe("old");
    reader.images.close(handle);
    await cluster.pass(0);
    await images.migrations.commit("b");
    expect((await images.list()).map(({ name }) => name)).toEqual(["b"]);
  });

  it("is undone only when nobody uses the target, and then loses what was written", async () => {
    const cluster = await made();
    const user = await guest(cluster, "a");
    await move(cluster);
    user.io.fill(user.handle, 0, sizeBytes, "new");
    const { io, images } = cluster.client();
    const refused = during(cluster, images.migrations.abort("b"));
    await expect(refused).rejects.toMatchObject({ code: "busy" });
    await during(cluster, user.image.close());
    await during(cluster, images.migrations.abort("a"));
    const { handle } = await images.open("a");
    expect(io.contentAt(handle, 0)).toBe("old");
    expect(violations(cluster.pool)).toEqual([]);
  });
});

it("a source whose target has gone while it was prepared can be freed", async () => {
  const cluster = await made();
  const { images } = cluster.client();
  const id = await images.scope.idOf("a");
  const target = { pool: 1, namespace: "", imageId: "00000000000000ff" };
  await makeChange(images.scope, id, { kind: "migrationMark", target });
  await expect(images.open("a")).rejects.toMatchObject({
    remedy: expect.stringMatching(/migration abort rbd\/a/),
  });
  await expect(images.migrations.commit("a")).rejects.toMatchObject({ code: "not_found" });
  await images.migrations.abort("a");
  images.close((await images.open("a")).handle);
});

describe("what can't be moved", () => {
  it("one of a group, or without the exclusive lock", async () => {
    const cluster = await made();
    const { images } = cluster.client();
    const to = { scope: images.scope, name: "b" };
    const refused = (remedy: RegExp) =>
      expect(images.migrations.prepare("a", to)).rejects.toMatchObject({
        code: "busy",
        remedy: expect.stringMatching(remedy),
      });
    await images.groups.create("g");
    await images.groups.addImage("g", { scope: images.scope, name: "a" });
    await refused(/group image rm/);
    await images.groups.removeImage("g", { scope: images.scope, name: "a" });
    await images.features.disable("a", ["fast-diff", "object-map", "exclusive-lock"]);
    await refused(/feature enable rbd\/a exclusive-lock/);
    expect((await images.list()).map(({ name }) => name)).toEqual(["a"]);
  });
});

describe("an image that is imported while it is in use", () => {
  it("shows the file, keeps what was written, needs the file until it is executed", async () => {
    const location = path.join(folder, "disk.raw");
    writeFileSync(location, Buffer.alloc(8 * mebibyte, 1));
    const cluster = new FakeCluster();
    const { io, images } = cluster.client();
    await images.migrations.importFrom("b", { stream: "file", location });
    const user = await guest(cluster, "b");
    user.io.fill(user.handle, 0, 4 * mebibyte, "new");
    expect(user.io.contentAt(user.handle, 4 * mebibyte)).toBe("file");
    await during(cluster, images.migrations.execute("b"));
    rmSync(location);
    const { handle } = await images.open("b", { readOnly: true });
    expect([0, 4 * mebibyte].map((at) => io.contentAt(handle, at))).toEqual(["new", "file"]);
  });

  it("is refused when the file is another one by now, or gone", async () => {
    const location = path.join(folder, "other.raw");
    writeFileSync(location, Buffer.alloc(mebibyte, 1));
    const { images } = new FakeCluster().client();
    await images.migrations.importFrom("b", { stream: "file", location });
    writeFileSync(location, Buffer.alloc(mebibyte + 512, 1));
    await expect(images.open("b")).rejects.toMatchObject({ code: "corrupt" });
    rmSync(location);
    await expect(images.open("b")).rejects.toMatchObject({ code: "not_found" });
    await images.migrations.abort("b");
    expect(await images.list()).toEqual([]);
  });
});

describe("a snapshot that is imported while its image is used on", () => {
  it("is shown, written, copied; the image knows nothing of it afterwards", async () => {
    const cluster = await made();
    const { io, images, inPool } = cluster.client();
    const fast = inPool("fast");
    await images.snapshots.create("a", "s");
    const owner = await guest(cluster, "a");
    owner.io.fill(owner.handle, 0, sizeBytes, "newest");
    const from = { scope: images.scope, image: "a", snap: "s" };
    await fast.migrations.importSnapshot("b", from, { objectBytes: mebibyte });
    expect(await fast.migrations.info("b")).toEqual({
      ...{ side: "target", state: "prepared", other: "rbd/a@s" },
    });
    const { handle } = await fast.open("b", { readOnly: true });
    expect(io.contentAt(handle, 0)).toBe("old");
    await expect(fast.snapshots.create("b", "t")).rejects.toMatchObject({ code: "busy" });
    await expect(fast.clones.flatten("b")).rejects.toMatchObject({ code: "busy" });
    await expect(fast.migrations.commit("b")).rejects.toMatchObject({ code: "busy" });
    // It is kept while it is needed.
    await during(cluster, images.snapshots.remove("a", "s"));
    expect(io.contentAt(handle, mebibyte)).toBe("old");
    fast.close(handle);
    await during(cluster, fast.migrations.execute("b"));
    expect(await images.snapshots.list("a", { all: true })).toEqual([]);
    expect(await images.clones.children("a")).toEqual([]);
    await during(cluster, fast.migrations.commit("b"));
    const after = await fast.open("b", { readOnly: true });
    expect(io.contentAt(after.handle, 15 * mebibyte)).toBe("old");
    fast.close(after.handle);
    await during(cluster, owner.image.close());
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("is no snapshot of a group, nor one that is not there", async () => {
    const cluster = await made();
    const { images } = cluster.client();
    const { scope, migrations } = images;
    const none = migrations.importSnapshot("b", { scope, image: "a", snap: "s" });
    await expect(none).rejects.toMatchObject({ code: "not_found" });
    await images.groups.create("g");
    await images.groups.addImage("g", { scope, name: "a" });
    await during(cluster, images.groups.snapshots.create("g", "gs"));
    const [kept] = await images.snapshots.list("a", { all: true });
    const snap = { id: kept?.id ?? 0 };
    const grouped = migrations.importSnapshot("b", { scope, image: "a", snap });
    await expect(grouped).rejects.toMatchObject({ code: "invalid_argument" });
    expect((await images.list()).map(({ name }) => name)).toEqual(["a"]);
  });
});
