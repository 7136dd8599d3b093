// Images in use follow what is set for their pool, and for all pools, without being told by anybody
// who knows of them.
import { describe, expect, it } from "vitest";
import { StorageError } from "../../common/errors.js";
import { FakeCluster } from "../testing/fake-cluster.js";
import { openLocked } from "./open-locked.js";
import { openReader } from "./open-reader.js";

const sizeBytes = 2 ** 24;

async function opened() {
  const cluster = new FakeCluster();
  const { images } = cluster.client();
  await images.create("a", sizeBytes);
  const user = cluster.client();
  const { handle, close } = await openLocked(user.images, "a");
  await cluster.pass(0);
  return { cluster, images, close, limits: () => user.io.deviceLimits(handle), user };
}

describe("an image in use", () => {
  it("follows the values of its pool, and of all pools, until it is closed", async () => {
    const { cluster, images, close, limits, user } = await opened();
    expect(limits()).toEqual({});
    await images.config.setPool("rbd_qos_iops_limit", "500");
    await cluster.pass(0);
    expect(limits()).toEqual({ iops: { perSecond: 500 } });
    await images.config.removePool("rbd_qos_iops_limit");
    await cluster.pass(0);
    expect(limits()).toEqual({});
    cluster.setConfig("global.rbd_qos_bps_limit", "4096");
    await cluster.pass(0);
    expect(limits()).toEqual({ bytes: { perSecond: 4096 } });
    cluster.setConfig("client.host2.rbd_qos_bps_limit", "1");
    await cluster.pass(0);
    expect(limits()).toEqual({ bytes: { perSecond: 4096 } });
    await close();
    const { operations } = user.io;
    await images.config.setPool("rbd_qos_iops_limit", "7");
    cluster.setConfig("global.rbd_qos_bps_limit", "8");
    await cluster.pass(60_000);
    expect(user.io.operations).toBe(operations);
    expect(user.io.listeners.size).toBe(0);
  });

  it("reads nothing for a map that changes none of these", async () => {
    const { cluster, user } = await opened();
    const { operations } = user.io;
    cluster.setConfig("osd.scrub", "1");
    cluster.setConfig("client.host2.rbd_qos_bps_limit", "1");
    await cluster.pass(60_000);
    expect(user.io.operations).toBe(operations);
  });

  it("is opened where the pool's object can't be made, and follows it later", async () => {
    const cluster = new FakeCluster();
    const { images } = cluster.client();
    await images.create("a", sizeBytes);
    const user = cluster.client();
    const operate = user.io.operate.bind(user.io);
    user.io.operate = async (pool, object, steps) => {
      if (steps[0]?.code === "touch") throw new StorageError("no_space", "the cluster is full");
      return operate(pool, object, steps);
    };
    const { handle } = await openReader(user.images, "a");
    await cluster.pass(10_000);
    user.io.operate = operate;
    await cluster.pass(10_000);
    await images.config.setPool("rbd_qos_iops_limit", "500");
    await cluster.pass(0);
    expect(user.io.deviceLimits(handle)).toEqual({ iops: { perSecond: 500 } });
  });
});
