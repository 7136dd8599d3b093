// How long a new primary waits for the read lease of an older one.
import { describe, expect, it } from "vitest";
import { testInfo } from "../testing/fixtures.js";
import { TestCluster } from "../testing/test-cluster.js";
import { leaseEnds, leaseLeftMs, leaseWaitMs } from "./leases.js";
import { nothingGathered } from "./state.js";

const promised = testInfo({ leaseMs: 300, leaseHolder: 0 });

/** What has been gathered of OSDs 1, 2... at the times given. */
function gathered(...heard: [osd: number, info: typeof promised, atMs: number][]) {
  let leasesEndMs: ReadonlyMap<number, number> = new Map();
  for (const [osd, info, atMs] of heard) leasesEndMs = leaseEnds(leasesEndMs, osd, info, atMs);
  return { ...nothingGathered, infos: new Map(heard), leasesEndMs };
}

describe("a lease", () => {
  it("grows shorter with time, and never negative", () => {
    expect(leaseLeftMs(promised, 1000, 1000)).toBe(300);
    expect(leaseLeftMs(promised, 1000, 1100.4)).toBe(200);
    expect(leaseLeftMs(promised, 1000, 2000)).toBe(0);
  });

  it("is waited for from when it was heard of, the longest one of all", () => {
    const state = gathered([1, promised, 1000], [2, testInfo({ ...promised, leaseMs: 100 }), 1250]);
    expect(leaseWaitMs(state, 1100)).toBe(250);
    expect(leaseWaitMs(state, 1300)).toBe(50);
    expect(leaseWaitMs(state, 1350)).toBe(0);
  });

  it("of an old primary that has been heard is void; of an unknown one never", () => {
    expect(leaseWaitMs(gathered([1, promised, 0], [0, testInfo({}), 0]), 0)).toBe(0);
    const unknown = testInfo({ leaseMs: 440, leaseHolder: -1 });
    expect(leaseWaitMs(gathered([1, unknown, 0], [0, testInfo({}), 0]), 0)).toBe(440);
  });
});

describe("a new primary", () => {
  it("waits for the lease that its replicas, or itself, granted to one that is gone", async () => {
    for (const promising of [1, 2]) {
      const cluster = await TestCluster.start({ osds: 3 });
      Object.assign(cluster.copy(promising), { leaseMs: 400, leaseHolder: 0 });
      await cluster.lose(0);
      expect(cluster.gate(1)?.leaseWaitMs).toBe(400);
    }
  });

  it("waits for what a copy outside the acting set has promised", async () => {
    const cluster = await TestCluster.start({ osds: 6 });
    Object.assign(cluster.copy(2), { leaseMs: 400, leaseHolder: 7 });
    await cluster.remap([3, 4, 5]);
    expect(cluster.gate(3)?.leaseWaitMs).toBe(400);
  });

  it("does not wait when the old one takes part", async () => {
    const cluster = await TestCluster.start({ osds: 4 });
    Object.assign(cluster.copy(2), { leaseMs: 400, leaseHolder: 0 });
    await cluster.remap([1, 2, 0]);
    expect(cluster.gate(1)?.phase).toBe("active");
    expect(cluster.gate(1)?.leaseWaitMs).toBe(0);
  });
});
