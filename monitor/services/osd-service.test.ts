// Tests of the OSD service and the pg_temp service, through the whole cluster in virtual time.
import { describe, expect, it } from "vitest";
import type { StorageError } from "../../common/errors.js";
import { type Epoch, pgId } from "../../common/units.js";
import { testPool } from "../../proto/fixtures.js";
import { bootOf, TestCluster } from "../testing/test-cluster.js";

describe("boot", () => {
  it("makes an OSD: up, in, part of the CRUSH map", async () => {
    const test = await TestCluster.make(0);
    test.connectAndBoot(3);
    await test.settle();
    const map = test.map();
    expect(map).toMatchObject({ epoch: 2, maxOsd: 4 });
    expect(test.osd(3)).toMatchObject({ up: true, in: true, weight: 65536, upFrom: 2, downAt: 0 });
    expect(map.crush).toContain("host3");
  });

  it("puts boots of the same moment into one epoch", async () => {
    const test = await TestCluster.make(3);
    expect(test.map().epoch).toBe(2);
    expect(test.up()).toEqual([0, 1, 2]);
  });

  it("shows a restarted OSD down in one epoch and up in the next", async () => {
    const test = await TestCluster.make(3);
    const before = test.map().epoch;
    test.connectAndBoot(1, { incarnation: "55" });
    await test.settle();
    expect(test.map().epoch).toBe(before + 2);
    expect(test.osd(1)).toMatchObject({ downAt: before + 1, upFrom: before + 2, up: true });
    expect(test.cluster.mapAt((before + 1) as Epoch).osds[1]?.up).toBe(false);
  });

  it("changes nothing when the OSD is up already", async () => {
    const test = await TestCluster.make(2);
    const { epoch } = test.map();
    test.connectAndBoot(1);
    await test.settle();
    expect(test.map().epoch).toBe(epoch);
  });

  it.each([
    ["another store under the id", { uuid: "00000000-0000-4000-8000-0000000000ff" }, 1],
    ["the store of another id", { uuid: bootOf(0).uuid }, 5],
    ["a host that CRUSH cannot take", { host: "default" }, 5],
    ["no port", { address: { host: "127.0.0.1", port: 0 } }, 5],
  ])("refuses %s", async (_, overrides, id) => {
    const test = await TestCluster.make(2);
    const refused: [number, StorageError][] = [];
    test.cluster.addListener({ onRefuse: (osd, error) => refused.push([osd, error]) });
    const { epoch } = test.map();
    test.connectAndBoot(id, overrides);
    await test.settle();
    expect(refused).toHaveLength(1);
    expect(refused[0]?.[0]).toBe(id);
    expect(test.map().epoch).toBe(epoch);
  });

  it("rebuilds the CRUSH map when the OSD has moved or grown", async () => {
    const test = await TestCluster.make(2);
    const before = test.map().crush;
    test.connectAndBoot(1, { incarnation: "9", host: "elsewhere" });
    await test.settle();
    expect(test.map().crush).not.toBe(before);
    expect(test.map().crush).toContain("elsewhere");
  });

  it("waits for noup to go", async () => {
    const test = await TestCluster.make(1);
    await test.cluster.change({ flags: ["noup"] });
    test.connectAndBoot(1);
    await test.settle();
    expect(test.up()).toEqual([0]);
    await test.cluster.change({ flags: [] });
    test.connectAndBoot(1);
    await test.settle();
    expect(test.up()).toEqual([0, 1]);
  });
});

describe("up_thru, clean stop, commands", () => {
  it("records up_thru up to the published epoch, never back", async () => {
    const test = await TestCluster.make(2);
    const alive = (wantUpThru: number) => {
      test.cluster.handle({
        kind: "osdAlive",
        osd: 1,
        wantUpThru: wantUpThru as Epoch,
        epoch: 1 as Epoch,
      });
      return test.settle();
    };
    await alive(2);
    expect(test.osd(1).upThru).toBe(2);
    await alive(99);
    expect(test.osd(1).upThru).toBe(test.map().epoch - 1);
    const { epoch } = test.map();
    await alive(1);
    expect(test.map().epoch).toBe(epoch);
  });

  it("notes the interval of a clean stop", async () => {
    const test = await TestCluster.make(2);
    const { upFrom } = test.osd(1);
    test.cluster.handle({ kind: "osdMarkMeDown", osd: 1, incarnation: "1001" });
    await test.settle();
    const end = test.map().epoch;
    expect(test.osd(1)).toMatchObject({ up: false, lastCleanBegin: upFrom, lastCleanEnd: end });
  });

  it("marks out, in and down by command; down comes back by booting", async () => {
    const test = await TestCluster.make(2);
    test.cluster.handle({ kind: "osdOut", osd: 1 });
    await test.settle();
    expect(test.osd(1)).toMatchObject({ up: true, in: false });
    test.cluster.handle({ kind: "osdIn", osd: 1 });
    test.cluster.handle({ kind: "osdDown", osd: 1 });
    await test.settle();
    expect(test.osd(1)).toMatchObject({ up: false, in: true });
    test.connectAndBoot(1);
    await test.settle();
    expect(test.osd(1).up).toBe(true);
  });

  it("never goes up and down in one epoch", async () => {
    const test = await TestCluster.make(1);
    test.connectAndBoot(1);
    test.cluster.handle({ kind: "osdDown", osd: 1 });
    await test.settle();
    const osd = test.osd(1);
    expect(osd.up).toBe(false);
    expect(osd.downAt).toBe(osd.upFrom + 1);
  });
});

describe("down and up in one moment", () => {
  it.each(["1001", "77"])("takes two epochs, incarnation %s", async (incarnation) => {
    const test = await TestCluster.make(2);
    const before = test.map().epoch;
    test.cluster.handle({ kind: "osdDown", osd: 1 });
    test.connectAndBoot(1, { incarnation });
    await test.settle();
    const seen = { up: true, incarnation, downAt: before + 1, upFrom: before + 2 };
    expect(test.osd(1)).toMatchObject(seen);
    expect(test.cluster.mapAt((before + 1) as Epoch).osds[1]?.up).toBe(false);
  });
});

describe("down for long", () => {
  const make = async () => {
    const test = await TestCluster.make(4);
    await test.cluster.change({ config: { "mon.down_out_interval_ms": "60000" } });
    return test;
  };

  async function downOsd(test: TestCluster, id: number): Promise<void> {
    test.cluster.handle({ kind: "osdDown", osd: id });
    test.disconnect(id);
    await test.settle();
  }

  it("marks an OSD out after the interval, and in again when it boots", async () => {
    const test = await make();
    await downOsd(test, 3);
    await test.clock.advance(59_000);
    expect(test.osd(3).in).toBe(true);
    await test.clock.advance(2000);
    expect(test.osd(3)).toMatchObject({ in: false, autoOut: true });
    test.connectAndBoot(3, { incarnation: "4" });
    await test.settle();
    expect(test.osd(3)).toMatchObject({ up: true, in: true });
    expect(test.osd(3).autoOut).toBeUndefined();
  });

  it("leaves an OSD out that the operator marked out", async () => {
    const test = await make();
    test.cluster.handle({ kind: "osdOut", osd: 3 });
    await downOsd(test, 3);
    test.connectAndBoot(3, { incarnation: "4" });
    await test.settle();
    expect(test.osd(3)).toMatchObject({ up: true, in: false });
  });

  it("does not go below three quarters in, nor out under noout, nor with interval 0", async () => {
    const few = await make();
    for (const id of [1, 2, 3]) await downOsd(few, id);
    await few.clock.advance(600_000);
    expect(few.map().osds.filter((osd) => osd.in)).toHaveLength(2);
    const noout = await make();
    await noout.cluster.change({ flags: ["noout"] });
    await downOsd(noout, 3);
    await noout.clock.advance(600_000);
    expect(noout.osd(3).in).toBe(true);
    const all = await make();
    await all.cluster.change({ config: { "mon.min_in_ratio": "1" } });
    await all.cluster.change({ config: { "mon.down_out_interval_ms": "60000" } });
    for (const id of [2, 3]) await downOsd(all, id);
    await all.clock.advance(600_000);
    expect(all.map().osds.filter((osd) => osd.in)).toHaveLength(3);
    const never = await make();
    await never.cluster.change({ config: { "mon.down_out_interval_ms": "0" } });
    await downOsd(never, 3);
    await never.clock.advance(600_000);
    expect(never.osd(3).in).toBe(true);
  });
});

describe("a store that failed", () => {
  const error = { code: "io_error", message: "a write or flush of the disk failed" } as const;
  const fail = async (test: TestCluster, incarnation: string) => {
    test.cluster.handle({ kind: "osdStoreFailed", osd: 1, incarnation, error });
    await test.settle();
  };

  it("is down at once, nodown or not, with its error, until it boots again", async () => {
    const test = await TestCluster.make(3);
    await test.cluster.change({ flags: ["nodown"] });
    await fail(test, test.osd(1).incarnation);
    expect(test.osd(1)).toMatchObject({ up: false, failed: error });
    expect(test.osd(1).lastCleanEnd).toBeUndefined();
    test.connectAndBoot(1, { incarnation: "4" });
    await test.settle();
    expect(test.osd(1).up).toBe(true);
    expect(test.osd(1).failed).toBeUndefined();
  });

  it("is that of another life: ignored", async () => {
    const test = await TestCluster.make(3);
    await fail(test, "99");
    expect(test.osd(1)).toMatchObject({ up: true });
  });
});

describe("noin and noup", () => {
  it("leave a new OSD out, and one that was put out; or down", async () => {
    const test = await TestCluster.make(2);
    await test.cluster.change({
      flags: ["noin"],
      osds: [{ ...test.osd(1), autoOut: true, in: false }],
    });
    test.connectAndBoot(2);
    test.connectAndBoot(1, { incarnation: "4" });
    await test.settle();
    expect(test.osd(2)).toMatchObject({ up: true, in: false });
    expect(test.osd(1)).toMatchObject({ up: true, in: false });
    await test.cluster.change({ flags: ["noup"] });
    test.connectAndBoot(3);
    await test.settle();
    expect(test.up()).toEqual([0, 1, 2]);
  });
});

describe("pg_temp", () => {
  const pgid = pgId(1, 3);
  async function withPool() {
    const test = await TestCluster.make(3);
    await test.cluster.change({ pools: [testPool(1)], nextPoolId: 2 });
    const ask = async (acting: number[], id = pgid) => {
      const { epoch } = test.map();
      test.cluster.handle({ kind: "pgTemp", osd: 0, epoch, pgid: id, acting });
      await test.settle();
    };
    return { test, ask };
  }

  it("overrides the acting set, and goes when asked", async () => {
    const { test, ask } = await withPool();
    await ask([2, 0]);
    expect(test.map().pgTemp).toEqual({ [pgid]: [2, 0] });
    expect(test.cluster.placements().get(pgid)).toMatchObject({ acting: [2, 0], primary: 2 });
    await ask([]);
    expect(test.map().pgTemp).toEqual({});
  });

  it.each([
    ["an unknown PG", [0], pgId(1, 8)],
    ["an unknown pool", [0], pgId(2, 0)],
    ["an OSD named twice", [1, 1], pgid],
    ["an unknown OSD", [7], pgid],
    ["too many OSDs", [0, 1, 2, 3], pgid],
  ])("ignores %s", async (_, acting, id) => {
    const { test, ask } = await withPool();
    const { epoch } = test.map();
    await ask(acting, id);
    expect(test.map().epoch).toBe(epoch);
  });

  it("goes when its PG does", async () => {
    const { test, ask } = await withPool();
    await ask([2, 0]);
    await test.cluster.change({ removedPools: [1] });
    expect(test.map().pgTemp).toEqual({});
  });

  it("goes when all its OSDs are down", async () => {
    const { test, ask } = await withPool();
    await ask([2]);
    test.cluster.handle({ kind: "osdDown", osd: 2 });
    await test.settle();
    expect(test.map().pgTemp).toEqual({});
  });
});
