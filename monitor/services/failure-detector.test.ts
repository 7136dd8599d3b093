// Scenarios of the failure detector, through the whole cluster in virtual time.
import { describe, expect, it } from "vitest";
import { TestCluster } from "../testing/test-cluster.js";

describe("failure detector, 3 OSDs", () => {
  it("takes an OSD down at once when nobody listens at its address", async () => {
    const test = await TestCluster.make(3);
    test.report(0, 2, "connection_refused");
    await test.settle();
    expect(test.up()).toEqual([0, 1]);
    expect(test.osd(2).downAt).toBe(test.map().epoch);
  });

  it("waits with one report of a silent OSD, acts at once on the second reporter", async () => {
    const test = await TestCluster.make(3);
    test.report(0, 2);
    await test.clock.advance(900);
    expect(test.up()).toEqual([0, 1, 2]);
    test.report(1, 2);
    await test.settle();
    expect(test.up()).toEqual([0, 1]);
  });

  it("wants witnesses on two hosts, where there are two", async () => {
    const test = await TestCluster.make(3);
    for (const osd of [3, 4]) test.connectAndBoot(osd, { host: "host0" });
    await test.settle();
    for (const osd of [0, 3, 4]) test.report(osd, 2);
    await test.clock.advance(900);
    expect(test.up()).toEqual([0, 1, 2, 3, 4]);
    test.report(1, 2);
    await test.settle();
    expect(test.up()).toEqual([0, 1, 3, 4]);
  });

  it("believes one host alone after 10 s, if it reports nobody else", async () => {
    const cut = await TestCluster.make(3);
    const lone = await TestCluster.make(3);
    for (const test of [cut, lone]) {
      for (const osd of [3, 4]) test.connectAndBoot(osd, { host: "host0" });
      await test.settle();
      for (const osd of [0, 3, 4]) test.report(osd, 2);
    }
    cut.report(3, 1);
    await cut.clock.advance(11_000);
    expect(cut.up()).toEqual([0, 1, 2, 3, 4]);
    await lone.clock.advance(11_000);
    expect(lone.up()).toEqual([0, 1, 3, 4]);
  });

  it("takes two OSDs of the only other host", async () => {
    const test = await TestCluster.make(1);
    for (const osd of [1, 2, 3]) test.connectAndBoot(osd, { host: "other" });
    await test.settle();
    for (const osd of [1, 2]) test.report(osd, 0);
    await test.settle();
    expect(test.up()).toEqual([1, 2, 3]);
  });

  it("does not count the same reporter twice", async () => {
    const test = await TestCluster.make(3);
    test.report(0, 2);
    test.report(0, 2);
    await test.clock.advance(900);
    expect(test.up()).toEqual([0, 1, 2]);
  });

  it("believes a lone report after 1 s: there are few who could confirm it", async () => {
    const test = await TestCluster.make(3);
    test.report(0, 2);
    await test.clock.advance(1010);
    expect(test.up()).toEqual([0, 1]);
  });

  it("forgets a report that was taken back", async () => {
    const test = await TestCluster.make(3);
    test.report(0, 2);
    const targetIncarnation = test.osd(2).incarnation;
    test.cluster.handle({ kind: "osdRecovered", reporter: 0, target: 2, targetIncarnation });
    await test.clock.advance(60_000);
    expect(test.up()).toEqual([0, 1, 2]);
    expect(test.clock.armed()).toBe(0);
  });

  it("acts at once when a reported OSD leaves the monitor as well, in either order", async () => {
    const first = await TestCluster.make(3);
    first.report(0, 2, "connection_reset");
    first.disconnect(2);
    await first.settle();
    expect(first.up()).toEqual([0, 1]);
    const second = await TestCluster.make(3);
    second.disconnect(2);
    second.report(0, 2, "connection_reset");
    await second.settle();
    expect(second.up()).toEqual([0, 1]);
  });

  it("keeps an OSD up that only lost its connection to the monitor, for a minute", async () => {
    const test = await TestCluster.make(3);
    test.disconnect(2);
    await test.clock.advance(59_000);
    expect(test.up()).toEqual([0, 1, 2]);
    await test.clock.advance(2000);
    expect(test.up()).toEqual([0, 1]);
  });

  it("takes one of two down that report each other, not both", async () => {
    const refused = await TestCluster.make(3);
    refused.report(0, 1, "connection_refused");
    refused.report(1, 0, "connection_refused");
    await refused.clock.advance(5000);
    expect(refused.up()).toEqual([0, 2]);
    const silent = await TestCluster.make(3);
    silent.report(1, 0);
    await silent.clock.advance(10);
    silent.report(0, 1);
    await silent.clock.advance(5000);
    expect(silent.up()).toEqual([1, 2]);
  });

  it("takes down the one that is cut off, though it reports first", async () => {
    const test = await TestCluster.make(3);
    test.report(0, 1);
    test.report(0, 2);
    await test.clock.advance(300);
    test.report(1, 0);
    test.report(2, 0);
    await test.clock.advance(30_000);
    expect(test.up()).toEqual([1, 2]);
  });

  it("ignores reports of older incarnations, of itself, and by OSDs that are down", async () => {
    const test = await TestCluster.make(3);
    const { epoch } = test.map();
    const report = { kind: "osdFailure", epoch, reason: "connection_refused" } as const;
    test.cluster.handle({ ...report, reporter: 0, target: 2, targetIncarnation: "999" });
    test.cluster.handle({ ...report, reporter: 2, target: 2, targetIncarnation: "1002" });
    await test.settle();
    expect(test.up()).toEqual([0, 1, 2]);
    test.report(0, 1, "connection_refused");
    await test.settle();
    test.report(1, 2, "connection_refused");
    await test.settle();
    expect(test.up()).toEqual([0, 2]);
  });

  it("does not hold an old report against the next incarnation", async () => {
    const test = await TestCluster.make(3);
    test.report(0, 2);
    test.connectAndBoot(2, { incarnation: "77" });
    await test.clock.advance(5000);
    expect(test.osd(2)).toMatchObject({ up: true, incarnation: "77" });
  });

  it("takes nothing down under nodown, and catches up when the flag goes", async () => {
    const test = await TestCluster.make(3);
    await test.cluster.change({ flags: ["nodown"] });
    test.report(0, 2, "connection_refused");
    await test.clock.advance(5000);
    expect(test.up()).toEqual([0, 1, 2]);
    await test.cluster.change({ flags: [] });
    await test.settle();
    expect(test.up()).toEqual([0, 1]);
  });
});

/** It boots with what was shown down, or the same process has begun another life after that. */
const returns: Record<string, (test: TestCluster) => void> = {
  "with its incarnation": (test) => test.connectAndBoot(2),
  "with another life of the same process": (test) => {
    const previousIncarnation = test.osd(2).incarnation;
    test.disconnect(2);
    const incarnation = `${Number(previousIncarnation) + 1}`;
    test.connectAndBoot(2, { incarnation, previousIncarnation });
  },
};

describe.each(Object.entries(returns))("an OSD that was wrongly taken down, %s", (_, comeBack) => {
  it("is back at its next boot, and one refused connection no longer suffices", async () => {
    const test = await TestCluster.make(3);
    test.report(0, 2, "connection_refused");
    await test.settle();
    comeBack(test);
    await test.settle();
    expect(test.up()).toEqual([0, 1, 2]);
    test.report(0, 2, "connection_refused");
    await test.clock.advance(500);
    expect(test.up()).toEqual([0, 1, 2]);
    test.report(1, 2, "connection_refused");
    await test.settle();
    expect(test.up()).toEqual([0, 1]);
  });

  it("comes back later each time: 3 times in a minute of reports, not 60", async () => {
    const test = await TestCluster.make(3);
    const before = test.map().epoch;
    for (let second = 0; second < 60; second += 1) {
      if (test.osd(2).up) test.report(0, 2);
      else comeBack(test);
      await test.clock.advance(1000);
    }
    const changes = test.map().epoch - before;
    expect(changes).toBeGreaterThanOrEqual(6);
    expect(changes).toBeLessThanOrEqual(14);
  });
});

describe("an OSD that was taken down rightly", () => {
  it("is not held back after a real restart", async () => {
    const test = await TestCluster.make(3);
    for (let start = 0; start < 5; start += 1) {
      test.report(0, 2, "connection_refused");
      test.disconnect(2);
      await test.settle();
      expect(test.up()).toEqual([0, 1]);
      test.connectAndBoot(2, { incarnation: String(start) });
      await test.settle();
      expect(test.up()).toEqual([0, 1, 2]);
    }
  });
});

describe("failure detector, other sizes", () => {
  it("believes the only witness of 2 OSDs at once, but not a mere reset", async () => {
    const test = await TestCluster.make(2);
    test.report(0, 1, "connection_reset");
    await test.settle();
    expect(test.up()).toEqual([0, 1]);
    test.report(0, 1, "heartbeat_timeout");
    await test.settle();
    expect(test.up()).toEqual([0]);
  });

  it("takes a lone OSD down 3 s after it left the monitor", async () => {
    const test = await TestCluster.make(1);
    test.disconnect(0);
    await test.clock.advance(2900);
    expect(test.up()).toEqual([0]);
    await test.clock.advance(200);
    expect(test.up()).toEqual([]);
  });

  it("gives OSDs 10 s to connect to a monitor that has just started", async () => {
    const test = await TestCluster.make(1);
    const { Cluster } = await import("../cluster.js");
    const { fakeCrush } = await import("../testing/fake-crush.js");
    const { silentLog } = await import("../../common/log.js");
    const ports = { store: test.store, crush: fakeCrush, clock: test.clock, log: silentLog };
    const again = await Cluster.open(ports, test.cluster.options);
    await test.cluster.close();
    await test.clock.advance(12_900);
    expect(again.map().osds[0]?.up).toBe(true);
    await test.clock.advance(200);
    expect(again.map().osds[0]?.up).toBe(false);
  });

  it("believes a lone reporter of 6 only after 10 s, and not one that reports many", async () => {
    const test = await TestCluster.make(6);
    test.report(0, 5);
    await test.clock.advance(9000);
    expect(test.up()).toHaveLength(6);
    await test.clock.advance(1100);
    expect(test.up()).toEqual([0, 1, 2, 3, 4]);
    test.report(0, 1);
    test.report(0, 2);
    await test.clock.advance(29_000);
    expect(test.up()).toEqual([0, 1, 2, 3, 4]);
  });

  it("does not count a report that was not repeated for 30 s", async () => {
    const test = await TestCluster.make(6);
    test.report(0, 4);
    test.report(0, 5);
    await test.clock.advance(30_100);
    test.report(1, 5);
    await test.settle();
    expect(test.up()).toHaveLength(6);
  });

  it("sleeps when all is well", async () => {
    const test = await TestCluster.make(6);
    expect(test.clock.armed()).toBe(0);
  });
});
