// Changes of an image in use, carried out by the holder of its lock beside the writes of a guest.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import type { FakeIo } from "../testing/fake-io.js";
import { violations } from "../testing/invariants.js";
import { exportDiff } from "./export-diff.js";
import { importDiff } from "./import-diff.js";
import { decodeReply, encodeRequest } from "./lock-record.js";
import { type LockedImage, openLocked } from "./open-locked.js";

const mebibyte = 2 ** 20;
const sizeBytes = 16 * mebibyte;

/** A client that uses an image under its lock, as a guest's front end does. */
async function guest(cluster: FakeCluster, name: string) {
  const { io, images } = cluster.client();
  const image = await openLocked(images, name);
  const { handle } = image;
  io.deliver({ type: "device", device: handle, state: "wanted" });
  await cluster.pass(0);
  return {
    ...{ io, images, image, handle },
    write: (content: string) => io.fill(handle, 0, io.deviceSize(handle), content),
    read: () => io.contentAt(handle, 0),
  };
}

async function made(...names: string[]): Promise<FakeCluster> {
  const cluster = new FakeCluster();
  const { images } = cluster.client();
  for (const name of names) await images.create(name, sizeBytes);
  return cluster;
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

async function readSnapshot(cluster: FakeCluster, name: string, snap: string) {
  const { io, images } = cluster.client();
  const { handle } = await images.open(name, { snap });
  return io.contentAt(handle, 0);
}

const fd = 7;

/** "new", as a diff from s to t. */
async function diffOf(cluster: FakeCluster, name: string): Promise<void> {
  const { io, images } = cluster.client();
  await images.snapshots.create(name, "s");
  const { handle } = await images.open(name);
  io.fill(handle, 0, sizeBytes, "new");
  images.close(handle);
  await images.snapshots.create(name, "t");
  await exportDiff(images, io, name, fd, { fromSnap: "s", snap: "t" });
}

/** What the gate has done since it was opened for the guest. */
const gates = (io: FakeIo) => io.gates.slice(1);

describe("an image in use", () => {
  it("is snapshotted with its gate closed, and writes on with the new context", async () => {
    const cluster = await made("a");
    const user = await guest(cluster, "a");
    user.write("old");
    const { images } = cluster.client();
    await during(cluster, images.snapshots.create("a", "s"));
    expect(gates(user.io)).toEqual(["1 drain", "1 open 1"]);
    user.write("new");
    expect(await readSnapshot(cluster, "a", "s")).toBe("old");
    expect(user.read()).toBe("new");
    await during(cluster, images.snapshots.remove("a", "s"));
    expect(violations(cluster.pool)).toEqual([]);
    expect(user.read()).toBe("new");
  });

  it("keeps its guest waiting for the decision alone, and opens with it in force", async () => {
    const cluster = await made("a");
    const { io, handle } = await guest(cluster, "a");
    const { images } = cluster.client();
    const order: string[] = [];
    const [drain, open, operate] = [
      io.drainGate.bind(io),
      io.openGate.bind(io),
      io.operate.bind(io),
    ];
    io.drainGate = async (device) => {
      order.push("drain");
      await drain(device);
    };
    io.openGate = (device, fence) => {
      order.push(`open with ${io.deviceContext(handle)?.snaps.join(" ")}`);
      open(device, fence);
    };
    io.operate = (pool, name, steps) => {
      const writes = steps.some(({ code }) => code === "omapSet" || code === "omapRemove");
      order.push(writes ? "write" : "read");
      return operate(pool, name, steps);
    };
    io.removeSnapshots = async (ids) => {
      order.push(`remove ${ids.join(" ")}`);
    };
    const closed = (from: string) => order.slice(order.indexOf("drain"), order.indexOf(from) + 1);
    await during(cluster, images.snapshots.create("a", "s"));
    const { id } = await images.snapshots.info("a", "s");
    expect(closed(`open with ${id}`)).toEqual(["drain", "write", `open with ${id}`]);
    order.length = 0;
    await during(cluster, images.snapshots.remove("a", "s"));
    expect(closed("open with ")).toEqual(["drain", "open with "]);
    // Before that no write could have kept it from then on, after it none does.
    expect(order.indexOf("write")).toBeLessThan(order.indexOf("drain"));
    expect(order.indexOf(`remove ${id}`)).toBeGreaterThan(order.indexOf("open with "));
  });

  it("never goes back to snapshots as they were read before a change", async () => {
    const cluster = await made("a");
    const { io } = await guest(cluster, "a");
    const { images } = cluster.client();
    await during(cluster, images.snapshots.create("a", "first"));
    const { id } = await images.info("a");
    const seqs: number[] = [];
    const [setSnapContext, operate] = [io.setSnapContext.bind(io), io.operate.bind(io)];
    io.setSnapContext = (device, context) => {
      seqs.push(context.seq);
      setSnapContext(device, context);
    };
    // The answer to the first reading of the whole header is late.
    let answer: (() => void) | undefined;
    io.operate = async (pool, name, steps) => {
      const reply = await operate(pool, name, steps);
      if (answer === undefined && steps.length > 8 && steps[0]?.code === "omapList") {
        await new Promise<void>((resolve) => {
          answer = resolve;
        });
      }
      return reply;
    };
    const announced = encodeRequest({ op: "header.changed" });
    void cluster.pool.watchers.notify(`rbd_header.${id}`, announced);
    await cluster.pass(0);
    expect(answer).toBeDefined();
    const created = images.snapshots.create("a", "second");
    await cluster.pass(250);
    answer?.();
    await during(cluster, created);
    expect(seqs.length).toBeGreaterThan(2);
    expect(seqs).toEqual([...seqs].sort((one, other) => one - other));
    expect(new Set(seqs).size).toBe(2);
  });

  it("is rolled back while its guest waits", async () => {
    const cluster = await made("a");
    const user = await guest(cluster, "a");
    user.write("old");
    const { images } = cluster.client();
    await during(cluster, images.snapshots.create("a", "s"));
    await during(cluster, images.resize("a", 2 * sizeBytes));
    user.write("new");
    await during(cluster, images.snapshots.rollback("a", "s"));
    expect(user.read()).toBe("old");
    expect(user.io.deviceSize(user.handle)).toBe(sizeBytes);
  });

  it("carries a request out once, however often it comes", async () => {
    const cluster = await made("a");
    const user = await guest(cluster, "a");
    const { images } = cluster.client();
    const { id } = await images.info("a");
    const change = { kind: "snapCreate", name: "s" } as const;
    const payload = encodeRequest({ op: "change", request: "00000000000000aa", change });
    const watchers = cluster.pool.watchers;
    await watchers.notify(`rbd_header.${id}`, payload);
    const { omap } = await watchers.notify(`rbd_header.${id}`, payload);
    expect(decodeReply(omap[0]?.[1].subarray(1) ?? new Uint8Array())).toEqual({ answer: "done" });
    expect(gates(user.io)).toEqual(["1 drain", "1 open 1"]);
    expect(await images.snapshots.list("a")).toHaveLength(1);
  });

  it("is changed once, though its holder hands the lock over before it tells", async () => {
    const cluster = await made("a");
    const first = await guest(cluster, "a");
    first.write("old");
    const { images } = cluster.client();
    await during(cluster, images.snapshots.create("a", "s"));
    // Says nothing after the rollback, as one does that was cut off from the others then.
    first.io.answerNotify = () => undefined;
    const cut = images.snapshots.rollback("a", "s");
    await cluster.pass(1000);
    first.io.deliver({ type: "device", device: first.handle, state: "unused" });
    await cluster.pass(1000);
    const second = await guest(cluster, "a");
    second.write("new");
    first.io.frozen = true;
    cluster.pool.watchers.forget(first.io);
    await during(cluster, cut);
    expect(second.read()).toBe("new");
  });

  it("is not removed, nor its lock taken, by the client that has it open itself", async () => {
    const cluster = await made("a");
    const { io, images, read, write } = await guest(cluster, "a");
    write("old");
    await expect(images.remove("a")).rejects.toMatchObject({ code: "busy" });
    await during(cluster, images.snapshots.create("a", "s"));
    expect(gates(io)).toEqual(["1 drain", "1 open 1"]);
    expect(read()).toBe("old");
  });

  it("lends its lock to an import of a diff, and goes on behind its end", async () => {
    const cluster = await made("a", "b");
    await diffOf(cluster, "b");
    const user = await guest(cluster, "a");
    user.write("old");
    const { io, images } = cluster.client();
    await during(cluster, images.snapshots.create("a", "s"));
    let lost = false;
    void user.image.ended.then(() => {
      lost = true;
    });
    let asked = 0;
    io.duringImport = () => {
      asked += 1;
      user.io.deliver({ type: "device", device: user.handle, state: "wanted" });
    };
    const before = user.io.gates.length;
    expect(await during(cluster, importDiff(images, io, "a", fd))).toBe("t");
    await cluster.pass(2000);
    expect(asked).toBeGreaterThan(1);
    expect(user.io.gates.slice(before)).toEqual(["1 drain", "1 open 3"]);
    expect(user.read()).toBe("new");
    user.write("newer");
    expect(await readSnapshot(cluster, "a", "t")).toBe("new");
    expect(lost).toBe(false);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("keeps its lock from an import when it has it exclusively", async () => {
    const cluster = await made("a", "b");
    await diffOf(cluster, "b");
    const { io, images } = cluster.client();
    await images.snapshots.create("a", "s");
    const { lock } = await openLocked(cluster.client().images, "a", { exclusive: true });
    const token = await lock.acquire();
    await expect(during(cluster, importDiff(images, io, "a", fd))).rejects.toMatchObject({
      code: "busy",
    });
    expect(lock.holds(token)).toBe(true);
    expect(await images.snapshots.list("a")).toHaveLength(1);
  });

  it("gives up waiting for a lock when it is stopped", async () => {
    const cluster = await made("a", "b");
    await diffOf(cluster, "b");
    const user = await guest(cluster, "a");
    const { io, images } = cluster.client();
    await during(cluster, images.snapshots.create("a", "s"));
    user.io.drainGate = () => new Promise(() => undefined);
    const stop = new AbortController();
    const importing = importDiff(images, io, "a", fd, { signal: stop.signal });
    await cluster.pass(3000);
    stop.abort();
    await expect(importing).rejects.toMatchObject({ code: "canceled" });
  });

  it("gives the holder's error with its remedy", async () => {
    const cluster = await made("a");
    await guest(cluster, "a");
    const { images } = cluster.client();
    await during(cluster, images.snapshots.create("a", "s"));
    await expect(during(cluster, images.snapshots.create("a", "s"))).rejects.toMatchObject({
      code: "already_exists",
      remedy: expect.stringMatching(/snap ls/),
    });
  });

  it("is flattened under its guest's writes, and its device lets the parent go", async () => {
    const cluster = await made("parent");
    const { io, images } = cluster.client();
    const { handle } = await images.open("parent");
    io.fill(handle, 0, sizeBytes, "base");
    await images.snapshots.create("parent", "s");
    await images.clones.create("parent", "s", { scope: images.scope, name: "child" });
    const user = await guest(cluster, "child");
    expect(user.read()).toBe("base");
    user.io.fill(user.handle, 4 * mebibyte, 1, "own");
    await during(cluster, images.clones.flatten("child"));
    expect(user.read()).toBe("base");
    expect(user.io.contentAt(user.handle, 4 * mebibyte)).toBe("own");
    expect(await images.clones.children("parent")).toEqual([]);
    await during(cluster, images.snapshots.remove("parent", "s"));
    await images.remove("parent");
    expect(user.read()).toBe("base");
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("keeps its lock until a change is through, then hands it over", async () => {
    const cluster = await made("a");
    const first = await guest(cluster, "a");
    await cluster.pass(1000);
    const second = cluster.client();
    const image: LockedImage = await openLocked(second.images, "a");
    let opened = 0;
    // The other one asks in the middle of the change: while the gate is closed.
    const drain = first.io.drainGate.bind(first.io);
    first.io.drainGate = async (device) => {
      await drain(device);
      if (opened++ === 0) {
        second.io.deliver({ type: "device", device: image.handle, state: "wanted" });
        // Long enough for the request to arrive, far less than a silent holder is given.
        for (let turn = 0; turn < 20; turn += 1) await new Promise((go) => setImmediate(go));
      }
    };
    const { images } = cluster.client();
    await during(cluster, images.snapshots.create("a", "s"));
    await cluster.pass(2000);
    expect(gates(first.io)).toEqual(["1 drain", "1 open 1", "1 drain"]);
    expect(second.io.gates).toEqual(["1 open 2"]);
    expect(await images.snapshots.list("a")).toHaveLength(1);
  });

  it("finishes an earlier holder's rollback before its gate opens", async () => {
    const cluster = await made("a");
    const { io, images } = cluster.client();
    const { handle } = await images.open("a");
    io.fill(handle, 0, sizeBytes, "old");
    await images.snapshots.create("a", "s");
    const { handle: later } = await images.open("a");
    io.fill(later, 0, sizeBytes, "new");
    // Dies after two of its objects have been rolled back.
    let rolled = 0;
    const dying = cluster.client(() => undefined);
    const rollbackImage = dying.io.rollbackImage.bind(dying.io);
    dying.io.rollbackImage = async (...call) => {
      const write = cluster.pool.data.write.bind(cluster.pool.data);
      cluster.pool.data.write = (...args) => {
        if (++rolled > 2) dying.io.dead = true;
        else write(...args);
      };
      await rollbackImage(...call).finally(() => {
        cluster.pool.data.write = write;
      });
    };
    await expect(dying.images.snapshots.rollback("a", "s")).rejects.toThrow();
    await expect(images.open("a", { readOnly: true })).rejects.toMatchObject({ code: "busy" });
    const user = await guest(cluster, "a");
    await cluster.pass(2000);
    for (let at = 0; at < sizeBytes; at += 4 * mebibyte) {
      expect(user.io.contentAt(user.handle, at)).toBe("old");
    }
  });

  it("has the limits that its configuration says, from when they are set", async () => {
    const cluster = await made("a");
    const { images } = cluster.client();
    await images.config.setPool("rbd_qos_iops_limit", "500");
    const user = await guest(cluster, "a");
    expect(user.io.deviceLimits(user.handle)).toEqual({ iops: { perSecond: 500 } });
    await during(cluster, images.config.set("a", "rbd_qos_bps_limit", "10M"));
    const both = { iops: { perSecond: 500 }, bytes: { perSecond: 10 * mebibyte } };
    expect(user.io.deviceLimits(user.handle)).toEqual(both);
    await during(cluster, images.config.remove("a", "rbd_qos_bps_limit"));
    expect(user.io.deviceLimits(user.handle)).toEqual({ iops: { perSecond: 500 } });
  });

  it("has the limits that are set for all pools, the nearest to it first", async () => {
    const cluster = await made("a");
    const { images } = cluster.client();
    cluster.config["global.rbd_qos_iops_limit"] = "100";
    cluster.config["client.rbd_qos_bps_limit"] = "4096";
    cluster.config["client.host1.rbd_qos_bps_limit"] = "8192";
    cluster.config["client.host2.rbd_qos_bps_limit"] = "1";
    const user = await guest(cluster, "a");
    const bytes = { perSecond: 8192 };
    expect(user.io.deviceLimits(user.handle)).toEqual({ iops: { perSecond: 100 }, bytes });
    const sources = (await images.config.list("a")).filter(({ source }) => source !== "default");
    expect(sources.map(({ source, value }) => [source, value])).toEqual([
      ["global", "100"],
      ["global", "8192"],
    ]);
    await images.config.setPool("rbd_qos_iops_limit", "500");
    await during(cluster, images.config.set("a", "rbd_qos_bps_limit", "1M"));
    const mebi = { perSecond: mebibyte };
    expect(user.io.deviceLimits(user.handle)).toEqual({ iops: { perSecond: 500 }, bytes: mebi });
  });

  it("without exclusive lock is open to several writers, who all hear of a snapshot", async () => {
    const cluster = await made("a");
    const { images } = cluster.client();
    await images.features.disable("a", ["fast-diff", "object-map", "exclusive-lock"]);
    const users = [await guest(cluster, "a"), await guest(cluster, "a")];
    for (const user of users) user.write("old");
    await during(cluster, images.snapshots.create("a", "s"));
    for (const user of users) user.write("new");
    expect(await readSnapshot(cluster, "a", "s")).toBe("old");
  });
});

describe("a group of images in use", () => {
  async function group(cluster: FakeCluster) {
    const { images } = cluster.client();
    await images.groups.create("g");
    for (const name of ["a", "b", "c"]) {
      await images.groups.addImage("g", { scope: images.scope, name });
    }
    // Two are in use, one is not.
    return { images, users: [await guest(cluster, "a"), await guest(cluster, "b")] };
  }

  it("has all gates closed before the first snapshot is taken, until the last one is", async () => {
    const cluster = await made("a", "b", "c");
    const { images, users } = await group(cluster);
    const order: string[] = [];
    for (const [index, { io }] of users.entries()) {
      const [drain, open] = [io.drainGate.bind(io), io.openGate.bind(io)];
      io.drainGate = async (device) => {
        order.push(`drain ${index}`);
        await drain(device);
      };
      io.openGate = (device, fence) => {
        order.push(`open ${index}`);
        open(device, fence);
      };
      const allocate = io.allocateSnapshot.bind(io);
      io.allocateSnapshot = () => {
        order.push(`snapshot ${index}`);
        return allocate();
      };
    }
    for (const user of users) user.write("old");
    await during(cluster, images.groups.snapshots.create("g", "gs"));
    const at = (text: string) => order.indexOf(text);
    const lastDrain = Math.max(at("drain 0"), at("drain 1"));
    expect(lastDrain).toBeLessThan(Math.min(at("snapshot 0"), at("snapshot 1")));
    expect(Math.min(at("open 0"), at("open 1"))).toBeGreaterThan(
      Math.max(order.lastIndexOf("snapshot 0"), order.lastIndexOf("snapshot 1")),
    );
    for (const user of users) user.write("new");
    await during(cluster, images.groups.snapshots.rollback("g", "gs"));
    for (const user of users) expect(user.read()).toBe("old");
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("has a snapshot of none when one of them can't be taken", async () => {
    const cluster = await made("a", "b", "c");
    const { images, users } = await group(cluster);
    const last = users[1];
    if (last === undefined) throw new Error("two guests");
    last.io.allocateSnapshot = () => Promise.reject(new Error("the monitor is away"));
    const creating = during(cluster, images.groups.snapshots.create("g", "gs"));
    await expect(creating).rejects.toMatchObject({ message: /monitor is away/ });
    expect(await images.groups.snapshots.list("g")).toEqual([]);
    for (const name of ["a", "b", "c"]) {
      expect(await images.snapshots.list(name, { all: true })).toEqual([]);
    }
    for (const { io } of users) expect(io.gates.at(-1)).toMatch(/open/);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("goes on when whoever paused it has died, and takes no snapshot after that", async () => {
    const cluster = await made("a", "b", "c");
    const { users } = await group(cluster);
    const [user] = users;
    const { id } = await cluster.client().images.info("a");
    const pause = "00000000000000bb";
    const send = (change: Parameters<typeof encodeRequest>[0] & { op: "change" }) =>
      cluster.pool.watchers.notify(`rbd_header.${id}`, encodeRequest(change));
    const op = "change" as const;
    await send({
      op,
      request: "00000000000000a1",
      change: { kind: "pause", pause, leaseMs: 5000 },
    });
    expect(user?.io.gates.at(-1)).toBe("1 drain");
    await cluster.pass(5001);
    expect(user?.io.gates.at(-1)).toBe("1 open 1");
    const change = { kind: "snapCreate", name: "s", pause } as const;
    const { omap } = await send({ op, request: "00000000000000a2", change });
    expect(decodeReply(omap[0]?.[1].subarray(1) ?? new Uint8Array())).toMatchObject({
      answer: "failed",
      code: "timed_out",
    });
    expect(await cluster.client().images.snapshots.list("a")).toEqual([]);
  });
});
