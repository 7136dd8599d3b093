// A holder of an image's lock is closed in the middle of what another client has asked it for.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { openLocked } from "./open-locked.js";

const mebibyte = 2 ** 20;
const sizeBytes = 16 * mebibyte;

/** Lets time pass until it is so. */
async function until(cluster: FakeCluster, isSo: () => boolean): Promise<void> {
  for (let round = 0; !isSo(); round += 1) {
    expect(round).toBeLessThan(400);
    await cluster.pass(250);
  }
}

async function finished<T>(cluster: FakeCluster, work: Promise<T>): Promise<T> {
  let over = false;
  const end = () => {
    over = true;
  };
  work.then(end, end);
  await until(cluster, () => over);
  return work;
}

async function holderOf(cluster: FakeCluster, name: string) {
  const { io, images } = cluster.client();
  const image = await openLocked(images, name);
  io.deliver({ type: "device", device: image.handle, state: "wanted" });
  await cluster.pass(0);
  return { io, image };
}

describe("a holder that closes", () => {
  it("carries a change that was begun through before it lets the lock go", async () => {
    const cluster = new FakeCluster();
    const { images } = cluster.client();
    await images.create("a", sizeBytes);
    const user = await holderOf(cluster, "a");
    const removeObjects = user.io.removeObjects.bind(user.io);
    let goOn: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let trimming = false;
    user.io.removeObjects = async (...args) => {
      trimming = true;
      await held;
      await removeObjects(...args);
    };
    const resized = images.resize("a", sizeBytes / 2, { allowShrink: true });
    await until(cluster, () => trimming);
    const closed = user.image.close();
    await cluster.pass(0);
    expect(user.io.gates).not.toContain("1 released");
    goOn();
    await closed;
    user.io.dead = true;
    expect(user.io.gates).toContain("1 released");
    expect(await finished(cluster, resized)).toMatchObject({ sizeBytes: sizeBytes / 2 });
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("waits for no change when its lock is lost", async () => {
    const cluster = new FakeCluster();
    const { images } = cluster.client();
    await images.create("a", sizeBytes);
    const user = await holderOf(cluster, "a");
    let trimming = false;
    user.io.removeObjects = () => {
      trimming = true;
      return new Promise(() => undefined);
    };
    const resized = images.resize("a", sizeBytes / 2, { allowShrink: true });
    resized.catch(() => undefined);
    await until(cluster, () => trimming);
    const error = Object.assign(new Error("no such pool"), { code: "not_found" });
    user.io.deliver({ type: "watchLapsed", watch: 1, error });
    await user.image.lock.ended;
    await finished(cluster, user.image.close());
  });

  it("leaves a flatten in its middle, which goes on where it was asked for", async () => {
    const cluster = new FakeCluster();
    const { images } = cluster.client();
    await images.create("parent", sizeBytes);
    await images.snapshots.create("parent", "s");
    await images.clones.create("parent", "s", { scope: images.scope, name: "child" });
    const user = await holderOf(cluster, "child");
    let copying = false;
    user.io.flattenImage = () => {
      copying = true;
      return new Promise(() => undefined);
    };
    const flattened = images.clones.flatten("child");
    await until(cluster, () => copying);
    await user.image.close();
    user.io.dead = true;
    await finished(cluster, flattened);
    expect(await images.clones.children("parent")).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });
});
