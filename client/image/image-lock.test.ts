// Locks of several clients on one image, over a pool in memory and in virtual time.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { headerObject } from "./header.js";
import { encodeRequest } from "./lock-record.js";
import { type LockedImage, openLocked } from "./open-locked.js";

const mebibyte = 2 ** 20;

/** A client that has the image `a` open under its lock. */
async function opened(cluster: FakeCluster, options = {}) {
  const { io, images } = cluster.client();
  const image = await openLocked(images, "a", options);
  const use = (state: "wanted" | "unused") =>
    io.deliver({ type: "device", device: image.handle, state });
  return { io, images, image, use };
}

async function made(): Promise<FakeCluster> {
  const cluster = new FakeCluster();
  await cluster.client().images.create("a", 16 * mebibyte);
  return cluster;
}

const endOf = async ({ lock }: LockedImage) => (await lock.ended).message;

describe("the lock of an image", () => {
  it("is not taken by opening, but by the first use, and let go after the last", async () => {
    const cluster = await made();
    const { io, use } = await opened(cluster);
    await cluster.pass(1000);
    expect(io.gates).toEqual([]);
    use("wanted");
    await cluster.pass(0);
    expect(io.gates).toEqual(["1 open 1"]);
    use("unused");
    await cluster.pass(0);
    expect(io.gates).toEqual(["1 open 1", "1 drain", "1 released"]);
    use("wanted");
    await cluster.pass(0);
    expect(io.gates.at(-1)).toBe("1 open 2");
  });

  it("goes from a live holder to one that asks, and comes back with a new token", async () => {
    const cluster = await made();
    const first = await opened(cluster);
    const second = await opened(cluster);
    first.use("wanted");
    await cluster.pass(2000);
    second.use("wanted");
    await cluster.pass(300);
    expect(first.io.gates).toEqual(["1 open 1", "1 drain"]);
    expect(second.io.gates).toEqual(["1 open 2"]);
    second.use("unused");
    await cluster.pass(2000);
    expect(first.io.gates).toEqual(["1 open 1", "1 drain"]);
    first.use("wanted");
    await cluster.pass(0);
    expect(first.io.gates).toEqual(["1 open 1", "1 drain", "1 open 3"]);
    expect(cluster.pool.tokens.size).toBe(0);
  });

  it("stays with a holder that has it exclusively; who asks hears who that is", async () => {
    const cluster = await made();
    const first = await opened(cluster, { exclusive: true });
    const second = await opened(cluster);
    first.use("wanted");
    await cluster.pass(2000);
    second.use("wanted");
    expect(await endOf(second.image)).toMatch(/locked exclusively by host1 pid 2 \(client 2/);
    expect(first.io.gates).toEqual(["1 open 1"]);
    expect(second.io.gates).toEqual([]);
  });

  it("is waited for while a management verb has it, by one that uses the image too", async () => {
    const cluster = await made();
    const manager = cluster.client();
    await manager.images.snapshots.create("a", "s");
    let goOn: () => void = () => undefined;
    const begun = new Promise<void>((begin) => {
      manager.io.rollbackImage = () => {
        begin();
        return new Promise((resolve) => {
          goOn = resolve;
        });
      };
    });
    const rollback = manager.images.snapshots.rollback("a", "s");
    const first = await opened(cluster);
    const second = await opened(cluster);
    const refusals: string[] = [];
    for (const { image } of [first, second]) {
      void image.ended.then(({ message }) => refusals.push(message));
    }
    await begun;
    first.use("wanted");
    second.use("wanted");
    await cluster.pass(120_000);
    expect([...first.io.gates, ...second.io.gates]).toEqual([]);
    expect(refusals).toEqual([]);
    goOn();
    await rollback;
    await cluster.pass(2000);
    expect([...first.io.gates, ...second.io.gates]).toEqual(["1 open 3", "1 drain", "1 open 4"]);
    expect(refusals).toEqual([]);
  });

  it.each(["frozen", "dead"] as const)("is taken from a %s holder, and swept", async (how) => {
    const cluster = await made();
    const first = await opened(cluster);
    const second = await opened(cluster);
    first.use("wanted");
    await cluster.pass(2000);
    first.io[how] = true;
    second.use("wanted");
    await cluster.pass(0);
    expect(second.io.gates).toEqual(["1 open 2"]);
    expect([...cluster.pool.tokens.values()]).toEqual([2]);
  });

  it("is not taken while the primary is too new to know who lives", async () => {
    const cluster = await made();
    const first = await opened(cluster);
    const second = await opened(cluster);
    first.use("wanted");
    await cluster.pass(2000);
    first.io.frozen = true;
    cluster.pool.watchers.activeForMs = 10_000;
    second.use("wanted");
    await cluster.pass(5000);
    expect(second.io.gates).toEqual([]);
    cluster.pool.watchers.activeForMs = 10_001;
    await cluster.pass(300);
    expect(second.io.gates).toEqual(["1 open 2"]);
  });

  it.each(["fenced", "lapsed"])("ends the one that was taken for dead (%s)", async (how) => {
    const cluster = await made();
    const first = await opened(cluster);
    const second = await opened(cluster);
    first.use("wanted");
    await cluster.pass(2000);
    first.io.frozen = true;
    second.use("wanted");
    await cluster.pass(0);
    first.io.frozen = false;
    if (how === "fenced") first.io.deliver({ type: "device", device: 1, state: "fenced" });
    else first.io.deliver({ type: "watchLapsed", watch: 1 });
    expect(await first.image.ended).toMatchObject({
      message: expect.stringMatching(/taken the image over/),
      remedy: expect.stringMatching(/the other client has let it go/),
    });
    expect(first.io.gates.slice(-2)).toEqual(["1 fenced", "1 released"]);
    await expect(first.image.lock.acquire()).rejects.toMatchObject({ code: "fenced" });
    expect(second.io.gates).toEqual(["1 open 2"]);
  });

  it("ends it too when it wakes up to the request of the one that took it over", async () => {
    const cluster = await made();
    const first = await opened(cluster);
    const second = await opened(cluster);
    first.use("wanted");
    await cluster.pass(2000);
    first.io.frozen = true;
    second.use("wanted");
    await cluster.pass(0);
    second.use("unused");
    await cluster.pass(0);
    first.io.frozen = false;
    const ask = encodeRequest({ op: "lock.request" });
    void cluster.pool.watchers.notify(headerObject(first.image.info.id), ask);
    expect(await endOf(first.image)).toMatch(/taken the image over/);
    await cluster.pass(10_000);
    expect(first.io.gates).toEqual(["1 open 1", "1 drain", "1 fenced", "1 released"]);
  });

  it("speaks of no other client when the image itself has gone", async () => {
    const cluster = await made();
    const { io, image, use } = await opened(cluster);
    use("wanted");
    await cluster.pass(0);
    const error = Object.assign(new Error("no such pool"), { code: "not_found" });
    io.deliver({ type: "watchLapsed", watch: 1, error });
    expect(await image.lock.ended).toMatchObject({
      message: "the lock of the image is lost: no such pool",
      remedy: expect.not.stringContaining("other client"),
    });
  });

  it("survives a lapse after which nobody has taken it", async () => {
    const cluster = await made();
    const { io, use } = await opened(cluster);
    use("wanted");
    await cluster.pass(0);
    io.deliver({ type: "watchLapsed", watch: 1 });
    await cluster.pass(1000);
    expect(io.gates).toEqual(["1 open 1"]);
  });

  it("is free when its holder has closed, and nobody watches any more", async () => {
    const cluster = await made();
    const { image, use } = await opened(cluster);
    use("wanted");
    await cluster.pass(0);
    await image.close();
    const header = [...cluster.pool.objects].find(([name]) => name === headerObject(image.info.id));
    expect(header?.[1].has("lock")).toBe(false);
    expect(header?.[1].has("lock_token")).toBe(true);
    expect(cluster.pool.watchers.list(headerObject(image.info.id)).omap).toHaveLength(1);
  });

  it("is closed although the cluster is gone, which forgets the watch by itself", async () => {
    const cluster = await made();
    const { io, image } = await opened(cluster);
    io.unwatch = () => new Promise(() => undefined);
    const closing = image.close();
    // Of the header, and of the pool's settings.
    for (const _watch of [1, 2]) await cluster.pass(3000);
    await closing;
  });
});

describe("management of an image that is open", () => {
  it("does not remove it, and names who has it", async () => {
    const cluster = await made();
    const { use, image } = await opened(cluster);
    const manager = cluster.client().images;
    const message = expect.stringMatching(/host1 pid 2/);
    // Opened, but not used: it has no lock, but a watcher.
    await expect(manager.remove("a")).rejects.toMatchObject({ code: "busy", message });
    use("wanted");
    await cluster.pass(0);
    await expect(manager.remove("a")).rejects.toMatchObject({ code: "busy", message });
    await image.close();
    await manager.remove("a");
    expect(await manager.list()).toEqual([]);
  });

  it("is resized by the holder of its lock, whose device has the new size", async () => {
    const cluster = await made();
    const { io, use, image } = await opened(cluster);
    use("wanted");
    await cluster.pass(0);
    io.fill(image.handle, 0, 16 * mebibyte);
    const manager = cluster.client();
    await manager.images.resize("a", 32 * mebibyte);
    expect(io.deviceSize(image.handle)).toBe(32 * mebibyte);
    const { operations } = manager.io;
    await manager.images.resize("a", 8 * mebibyte, { allowShrink: true });
    expect(io.deviceSize(image.handle)).toBe(8 * mebibyte);
    expect((await manager.images.info("a")).sizeBytes).toBe(8 * mebibyte);
    expect(cluster.pool.dataObjects()).toHaveLength(2);
    expect(manager.io.operations - operations).toBeLessThan(10);
    const refused = manager.images.resize("a", 4 * mebibyte);
    await expect(refused).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it("shows a client that only has it open the new size too", async () => {
    const cluster = await made();
    const { io, image } = await opened(cluster);
    await cluster.client().images.resize("a", 32 * mebibyte);
    expect(io.deviceSize(image.handle)).toBe(32 * mebibyte);
  });
});
