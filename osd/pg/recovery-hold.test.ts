// Flags and OSDs without room, through real peering: recovery waits for as long as they hold it.
import { describe, expect, it } from "vitest";
import { defined } from "../../common/assert.js";
import type { MapFlag } from "../../proto/map-flags.js";
import { type FullState, findOsd } from "../../proto/osd-map.js";
import { logEntriesKept } from "../testing/fake-store.js";
import { TestCluster } from "../testing/test-cluster.js";

/** osd.2 was away: for few writes (its log reaches), or too many. */
async function withStale(writes: number, flags: MapFlag[] = []): Promise<TestCluster> {
  const cluster = await TestCluster.start({ osds: 3 });
  cluster.write("a");
  await cluster.lose(2);
  await cluster.change({ flags });
  for (let i = 0; i < writes; i++) cluster.write(`new${i % 3}`);
  await cluster.boot(2);
  await cluster.settle();
  return cluster;
}

async function setLevel(cluster: TestCluster, id: number, level?: FullState): Promise<void> {
  const { fullState: _, ...osd } = defined(findOsd(cluster.map, id), `osd.${id}`);
  await cluster.change({ osds: [level === undefined ? osd : { ...osd, fullState: level }] });
}

const few = 3;
const tooMany = 2 * logEntriesKept;

describe("recovery", () => {
  it.each([
    ["norecover", few],
    ["norecover", tooMany],
    ["nobackfill", tooMany],
  ] as const)("waits while %s is set, after %d writes", async (flag, writes) => {
    const cluster = await withStale(writes, [flag]);
    expect(cluster.stateOf(0)).toBe("Active");
    expect(cluster.isActive()).toBe(true);
    expect(cluster.copy(2).missing.size).toBeGreaterThan(0);
    await cluster.change({ flags: [] });
    expect(cluster.stateOf(0)).toBe("Clean");
    expect(cluster.differences()).toEqual([]);
  });

  it("under way stops when norecover is set, and goes on after it", async () => {
    const cluster = await TestCluster.start({ osds: 3 });
    await cluster.lose(2);
    cluster.write("a");
    cluster.recoveryStalls = true;
    await cluster.boot(2);
    await cluster.settle();
    expect(cluster.stateOf(0)).toBe("Recovering");
    cluster.recoveryStalls = false;
    await cluster.change({ flags: ["norecover"] });
    expect([...cluster.copy(2).missing.keys()]).toEqual(["a"]);
    await cluster.change({ flags: [] });
    expect(cluster.stateOf(0)).toBe("Clean");
  });

  it("goes on by log under nobackfill, and if degraded under norebalance", async () => {
    expect((await withStale(few, ["nobackfill"])).stateOf(0)).toBe("Clean");
    expect((await withStale(tooMany, ["norebalance"])).stateOf(0)).toBe("Clean");
  });

  it("waits under norebalance while all copies are there", async () => {
    const cluster = await TestCluster.start({ osds: 4 });
    for (let i = 0; i < tooMany; i++) cluster.write(`object${i % 3}`);
    await cluster.change({ flags: ["norebalance"] });
    await cluster.remap([0, 1, 3]);
    expect(cluster.acting()).toEqual([0, 1, 3]);
    expect(cluster.stateOf(0)).toBe("Active");
    expect(cluster.copy(3).missing.size).toBe(3);
    // The third copy is gone now: this is no mere moving any more.
    await cluster.lose(2);
    expect(cluster.stateOf(0)).toBe("Clean");
    expect(cluster.copy(3).missing.size).toBe(0);
  });

  it("that norebalance has held goes on when it is unset", async () => {
    const cluster = await TestCluster.start({ osds: 4 });
    for (let i = 0; i < tooMany; i++) cluster.write(`object${i % 3}`);
    await cluster.change({ flags: ["norebalance"] });
    await cluster.remap([0, 1, 3]);
    await cluster.change({ flags: [] });
    expect(cluster.stateOf(0)).toBe("Clean");
    expect(cluster.differences()).toEqual([]);
  });

  it("goes not to an OSD that is backfillfull, until it has room", async () => {
    const cluster = await withStale(tooMany, ["nobackfill"]);
    await setLevel(cluster, 2, "backfillfull");
    await cluster.change({ flags: [] });
    expect(cluster.stateOf(0)).toBe("Active");
    expect(cluster.copy(2).missing.size).toBeGreaterThan(0);
    await setLevel(cluster, 2);
    expect(cluster.stateOf(0)).toBe("Clean");
    expect(cluster.differences()).toEqual([]);
  });
});
