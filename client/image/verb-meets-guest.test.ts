// A verb has taken the lock of an image that nobody used, and then somebody begins to use it: that
// one waits, and neither of the two fails.
import { describe, expect, it } from "vitest";
import { StorageError } from "../../common/errors.js";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { decodeReply, encodeRequest } from "./lock-record.js";
import { openLocked } from "./open-locked.js";

const objectBytes = 4 * 2 ** 20;
const sizeBytes = 4 * objectBytes;

/** A clone with nothing of its own, and a front end that has it open but does not use it yet. */
async function made() {
  const cluster = new FakeCluster();
  const { io, images } = cluster.client();
  await images.create("base", sizeBytes);
  const base = await images.open("base");
  io.fill(base.handle, 0, sizeBytes, "base");
  images.close(base.handle);
  await images.snapshots.create("base", "s");
  await images.clones.create("base", "s", { scope: images.scope, name: "a" });
  const guest = cluster.client();
  const image = await openLocked(guest.images, "a");
  let end: string | undefined;
  void image.ended.then((error) => {
    end = error.message;
  });
  const use = () => guest.io.deliver({ type: "device", device: image.handle, state: "wanted" });
  return { cluster, guest, image, use, ended: () => end };
}

/** Lets time pass until the work has ended. */
async function during<T>(cluster: FakeCluster, work: Promise<T>): Promise<T> {
  let over = false;
  const end = () => {
    over = true;
  };
  work.then(end, end);
  for (let round = 0; round < 100 && !over; round += 1) await cluster.pass(250);
  return work;
}

describe("a guest that begins to use an image", () => {
  it("waits for a verb that is at it, and then goes on", async () => {
    const { cluster, guest, image, use, ended } = await made();
    const verb = cluster.client();
    let goOn = () => {};
    verb.io.allocateSnapshot = async () => {
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
      return ++cluster.pool.snapSeq;
    };
    const snapshot = verb.images.snapshots.create("a", "t");
    await cluster.pass(100);
    use();
    await cluster.pass(5000);
    expect(guest.io.gates).toEqual([]);
    expect(ended()).toBeUndefined();
    goOn();
    await during(cluster, snapshot);
    await cluster.pass(1000);
    expect(guest.io.gates).toEqual([expect.stringMatching(/^\d+ open \d+$/)]);
    expect((await guest.images.snapshots.list("a")).map(({ name }) => name)).toEqual(["t"]);
    await image.close();
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("has a flatten cut off that would keep it waiting, and carries it on", async () => {
    const { cluster, guest, image, use, ended } = await made();
    const verb = cluster.client();
    let reads = 0;
    const flattenImage = verb.io.flattenImage.bind(verb.io);
    verb.io.flattenImage = async (...all) => {
      reads += 1;
      // As slow as a copy of much data: it ends only because somebody wants the image.
      for (let round = 0; round < 10_000 && !verb.io.jobsCanceled; round += 1) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      return flattenImage(...all);
    };
    const flatten = verb.images.clones.flatten("a");
    await cluster.pass(0);
    use();
    await during(cluster, flatten);
    expect(reads).toBe(1);
    expect(ended()).toBeUndefined();
    expect(guest.io.gates[0]).toMatch(/^\d+ open \d+$/);
    expect(await guest.images.clones.parent("a")).toBeUndefined();
    expect(guest.io.contentAt(image.handle, 0)).toBe("base");
    await image.close();
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("tries a change again that was asked for while the lock was on its way", async () => {
    const { cluster, guest, image, use } = await made();
    use();
    await cluster.pass(0);
    const { drainGate } = guest.io;
    const fenced = new StorageError("fenced", "the lock has been handed over");
    guest.io.drainGate = () => Promise.reject(fenced);
    const change = { kind: "snapCreate", name: "s" } as const;
    const ask = async () => {
      const payload = encodeRequest({ op: "change", request: "00000000000000c1", change });
      const { omap } = await cluster.pool.watchers.notify(`rbd_header.${image.info.id}`, payload);
      return decodeReply(omap[0]?.[1].subarray(1) ?? new Uint8Array());
    };
    expect(await ask()).toMatchObject({ answer: "failed", code: "fenced" });
    guest.io.drainGate = drainGate;
    expect(await ask()).toMatchObject({ answer: "done" });
    expect(await ask()).toMatchObject({ answer: "done" });
    expect(await cluster.client().images.snapshots.list("a")).toHaveLength(1);
  });
});
