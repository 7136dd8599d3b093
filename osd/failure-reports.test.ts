// Which failures are news to the monitor.
import { describe, expect, it } from "vitest";
import { failureOf, recoveryOf } from "./failure-reports.js";
import { TestCluster } from "./testing/test-cluster.js";

describe("a peer that does not answer", () => {
  it("is reported in the monitor's words, and in the life that the map shows", async () => {
    const { map } = await TestCluster.start({ osds: 3 });
    const incarnation = BigInt(map.osds[1]?.incarnation ?? 0);
    expect(failureOf(map, 0, 1, incarnation, "disk_hung")).toEqual({
      kind: "osdFailure",
      reporter: 0,
      target: 1,
      targetIncarnation: String(incarnation),
      epoch: map.epoch,
      reason: "disk_stalled",
    });
    expect(failureOf(map, 0, 1, incarnation, "?")?.reason).toBe("heartbeat_timeout");
    expect(failureOf(map, 0, 1, incarnation + 1n, "disk_hung")).toBeUndefined();
    expect(failureOf(undefined, 0, 1, incarnation, "disk_hung")).toBeUndefined();
  });

  it("is taken back when it answers again", () => {
    expect(recoveryOf(0, 1, 7n)).toEqual({
      kind: "osdRecovered",
      reporter: 0,
      target: 1,
      targetIncarnation: "7",
    });
  });
});
