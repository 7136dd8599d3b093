// Slow OSDs, through the whole cluster in virtual time: each OSD reports every 2 s what commits it
// has done and how long they took.
import { describe, expect, it } from "vitest";
import { callCommand } from "../commands.js";
import { statsOf, TestCluster } from "../testing/test-cluster.js";
import { clearAfterMs, commitLatency, forgetAfterMs } from "./slow-service.js";

class Load {
  private readonly done = new Map<number, { commits: number; sumNs: number }>();

  constructor(readonly test: TestCluster) {}

  /** All OSDs commit that often a second, each in its own time, and report. */
  async run(durationMs: number, commitMs: readonly number[], perSecond = 100): Promise<void> {
    for (let passedMs = 0; passedMs < durationMs; passedMs += 2000) {
      await this.test.clock.advance(2000);
      for (const [osd, ms] of commitMs.entries()) {
        const before = this.done.get(osd) ?? { commits: 0, sumNs: 0 };
        const commits = before.commits + 2 * perSecond;
        const sumNs = before.sumNs + 2 * perSecond * ms * 1e6;
        this.done.set(osd, { commits, sumNs });
        const store_commit = { boundsNs: [1e6], counts: [commits, 0], sumNs };
        this.test.cluster.reportOsd(statsOf(osd, { histograms: { store_commit } }));
      }
      await this.test.settle();
    }
  }

  slow(): number[] {
    return this.test
      .map()
      .osds.filter(({ slow }) => slow)
      .map(({ id }) => id);
  }
}

const loadOn = async (osds: number) => new Load(await TestCluster.make(osds));

describe("slow OSDs", () => {
  it("marks the one with +50 ms for each flush within 20 s, names it, and clears it", async () => {
    const load = await loadOn(4);
    await load.run(20_000, [1, 1.2, 51, 1]);
    expect(load.slow()).toEqual([2]);
    const { cluster } = load.test;
    expect(commitLatency(cluster.slow, load.test.map(), 2)).toEqual({ commitMs: 51, peersMs: 1 });
    const context = { cluster, sessions: () => 0, startedMs: 0 };
    const { checks } = await callCommand(context, "health", {});
    expect(checks.find(({ name }) => name === "OSD_SLOW")?.detail).toEqual([
      "osd.2 (host host2): a commit takes 51.0 ms, on its peers 1.0 ms; others lead its PGs",
    ]);
    await load.run(clearAfterMs - 2000, [1, 1.2, 1, 1]);
    expect(load.slow()).toEqual([2]);
    await load.run(20_000, [1, 1.2, 1, 1]);
    expect(load.slow()).toEqual([]);
  });

  it("marks one whose disk does 50 operations a second", async () => {
    const load = await loadOn(3);
    await load.run(20_000, [0.1, 20, 0.1], 50);
    expect(load.slow()).toEqual([1]);
  });

  it("marks none when all are as slow: that is load", async () => {
    const load = await loadOn(4);
    await load.run(60_000, [40, 60, 50, 55]);
    expect(load.slow()).toEqual([]);
  });

  it("marks none below the bound, with few commits, or for a short while", async () => {
    const quick = await loadOn(3);
    await quick.run(60_000, [0.1, 10, 0.1]);
    expect(quick.slow()).toEqual([]);
    const idle = await loadOn(3);
    await idle.run(60_000, [1, 90, 1], 1);
    expect(idle.slow()).toEqual([]);
    const blink = await loadOn(3);
    await blink.run(4000, [1, 90, 1]);
    await blink.run(30_000, [1, 1, 1], 1000);
    expect(blink.slow()).toEqual([]);
  });

  it("marks at most half of them", async () => {
    const load = await loadOn(3);
    await load.run(30_000, [1, 60, 300]);
    expect(load.slow()).toHaveLength(1);
  });

  it("forgets the mark of an OSD that has had nothing to do for ten minutes", async () => {
    const load = await loadOn(3);
    await load.run(20_000, [1, 60, 1]);
    await load.run(forgetAfterMs - 20_000, [1, 60, 1], 0);
    expect(load.slow()).toEqual([1]);
    await load.run(60_000, [1, 60, 1], 0);
    expect(load.slow()).toEqual([]);
  });

  it("marks none with the setting 0, and takes the mark away at a restart", async () => {
    const never = await loadOn(3);
    await never.test.cluster.change({ config: { "mon.slow_osd_latency_ms": "0" } });
    await never.run(30_000, [1, 60, 1]);
    expect(never.slow()).toEqual([]);
    const load = await loadOn(3);
    await load.run(30_000, [1, 60, 1]);
    expect(load.slow()).toEqual([1]);
    load.test.connectAndBoot(1, { incarnation: "77" });
    await load.test.settle();
    expect(load.slow()).toEqual([]);
  });
});
