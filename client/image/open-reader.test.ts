// Images that are open for reading alone.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { openReader } from "./open-reader.js";

const mebibyte = 2 ** 20;

describe.each([undefined, "s"])(
  "an image that is open for reading, with the snapshot %s",
  (snap) => {
    it("has the limits that its configuration says, from when they are set", async () => {
      const cluster = new FakeCluster();
      const { images } = cluster.client();
      await images.create("a", 16 * mebibyte);
      await images.snapshots.create("a", "s");
      await images.config.setPool("rbd_qos_read_iops_limit", "500");
      const user = cluster.client();
      const reader = await openReader(user.images, "a", { snap });
      const limits = () => user.io.deviceLimits(reader.handle);
      expect(limits()).toEqual({ readIops: { perSecond: 500 } });
      await images.config.set("a", "rbd_qos_read_iops_limit", "7");
      await cluster.pass(1000);
      expect(limits()).toEqual({ readIops: { perSecond: 7 } });
      await images.config.remove("a", "rbd_qos_read_iops_limit");
      await cluster.pass(1000);
      expect(limits()).toEqual({ readIops: { perSecond: 500 } });
      await reader.close();
    });
  },
);
