// Tests of the cluster: durability before publication, failure of the store, commands.
import { describe, expect, it } from "vitest";
import type { CommandArgs, CommandResult, Verb } from "../proto/commands.js";
import { testPool } from "../proto/fixtures.js";
import { applyIncremental, type OsdMap, type PoolInfo } from "../proto/osd-map.js";
import { snapsOf } from "../proto/pool-snaps.js";
import { type CommandContext, callCommand, runCommand } from "./commands.js";
import { newestOf } from "./store/map-store.js";
import { bootOf, TestCluster } from "./testing/test-cluster.js";

function commandsOf(test: TestCluster): CommandContext {
  return { cluster: test.cluster, sessions: () => 0, startedMs: 0 };
}

function call<V extends Verb>(
  test: TestCluster,
  verb: V,
  args: CommandArgs<V>,
): Promise<CommandResult<V>> {
  return callCommand(commandsOf(test), verb, args);
}

describe("Cluster", () => {
  it("publishes an epoch only when it is durable, in order", async () => {
    const test = await TestCluster.make(3);
    const seen: number[] = [];
    test.cluster.addListener({
      onMap(map, previous) {
        expect(test.store.head()).toMatchObject({ epoch: map.epoch, hash: map.hash });
        expect(map.previousHash).toBe(previous.hash);
        seen.push(map.epoch);
      },
    });
    const first = test.map().epoch;
    await Promise.all([
      test.cluster.change({ flags: ["noout"] }),
      test.cluster.change({ config: { log_level: "warn" } }),
    ]);
    await test.cluster.change({ flags: [] });
    expect(seen).toEqual([first + 1, first + 2]);
    expect(newestOf(await test.store.load())).toEqual(test.map());
  });

  it("answers a change that changes nothing, without a new epoch", async () => {
    const test = await TestCluster.make(1);
    const { epoch } = test.map();
    expect((await test.cluster.change({ flags: [] })).epoch).toBe(epoch);
  });

  it.each([
    ["a setting whose name nobody takes", { config: { "a b": "1" } }],
    ["a setting whose value is too long", { config: { log_level: "x".repeat(1025) } }],
    ["a pool that can't be", { pools: [{ ...testPool(1), pgNum: 0 }] }],
    ["too many pools", { pools: Array.from({ length: 4097 }, (_, id) => testPool(id + 1)) }],
    ["CRUSH text that no frame takes", { crush: "x".repeat((8 << 20) + 1) }],
  ])("refuses %s, and goes on", async (_what, changes) => {
    const test = await TestCluster.make(1);
    const { epoch } = test.map();
    await expect(test.cluster.change(changes)).rejects.toMatchObject({ code: "invalid_argument" });
    expect(test.map().epoch).toBe(epoch);
    const after = await test.cluster.change({ config: { log_level: "warn" } });
    expect(after).toMatchObject({ epoch: epoch + 1, config: { log_level: "warn" } });
    expect(newestOf(await test.store.load())).toEqual(after);
  });

  it("ends when the store fails: the change is rejected, nothing is published", async () => {
    const test = await TestCluster.make(1);
    const { epoch } = test.map();
    const fatal: string[] = [];
    test.cluster.addListener({ onFatal: (error) => fatal.push(error.code) });
    test.store.failNext = true;
    await expect(test.cluster.change({ flags: ["noout"] })).rejects.toMatchObject({
      code: "no_space",
    });
    expect(fatal).toEqual(["no_space"]);
    expect(test.map().epoch).toBe(epoch);
    await expect(test.cluster.change({ flags: [] })).rejects.toMatchObject({ code: "no_space" });
  });

  it("gives subscribers what they lack, and refuses those of another history", async () => {
    const test = await TestCluster.make(1);
    const maps: OsdMap[] = [test.map()];
    for (const flags of [["noout"], [], ["noup"]]) maps.push(await test.cluster.change({ flags }));
    const [first, , , last] = maps;
    const { cluster } = test;
    expect(cluster.mapsSince(0)).toMatchObject({ full: last, incrementals: [] });
    expect(cluster.mapsSince((last?.epoch ?? 0) + 1, last?.hash)).toBeUndefined();
    const some = cluster.mapsSince((first?.epoch ?? 0) + 1, first?.hash);
    expect(first && some?.incrementals.reduce(applyIncremental, first)).toEqual(last);
    const corrupt = expect.objectContaining({ code: "corrupt" });
    expect(() => cluster.mapsSince((first?.epoch ?? 0) + 1, last?.hash)).toThrow(corrupt);
    expect(() => cluster.mapsSince((last?.epoch ?? 0) + 2)).toThrow(corrupt);
  });

  it("sends a full map to one that is far behind", async () => {
    const test = await TestCluster.make(1);
    for (let round = 0; round < 60; round += 1) {
      await test.cluster.change({ flags: ["noout"] });
      await test.cluster.change({ flags: [] });
    }
    expect(test.cluster.mapsSince(2)).toMatchObject({ full: test.map(), incrementals: [] });
    const near = test.cluster.mapsSince(test.map().epoch - 9);
    expect(near?.incrementals).toHaveLength(10);
  });
});

describe("commands", () => {
  it("make and remove pools, and show their PGs until they are clean", async () => {
    const test = await TestCluster.make(3);
    const made = await call(test, "pool create", { name: "rbd", pgNum: 16 });
    expect(made).toMatchObject({ epoch: test.map().epoch, pool: { id: 1, pgNum: 16 } });
    expect((await call(test, "status", {})).pgs).toEqual({ total: 16, byState: { unknown: 16 } });
    test.reportClean();
    const status = await call(test, "status", {});
    expect(status).toMatchObject({
      health: { status: "HEALTH_OK" },
      osds: { total: 3, up: 3, in: 3 },
      pgs: { total: 16, byState: { "active+clean": 16 } },
      usage: { objects: 32, totalBytes: 3 * 20 * 2 ** 30 },
    });
    const { pgs } = await call(test, "pg ls", { pool: "rbd", state: "clean" });
    expect(pgs).toHaveLength(16);
    expect(pgs[0]).toMatchObject({ pgid: "1.0", pool: "rbd", state: "active+clean" });
    await call(test, "pool rm", { name: "rbd" });
    expect((await call(test, "pool ls", {})).pools).toEqual([]);
    const again = await call(test, "pool create", { name: "rbd", pgNum: 16 });
    expect(again.pool.id).toBe(2);
  });

  it("refuse states of PGs and pools that there are not, and say which there are", async () => {
    const test = await TestCluster.make(3);
    await call(test, "pool create", { name: "rbd", pgNum: 16 });
    for (const state of ["nonsense", ""]) {
      await expect(call(test, "pg ls", { state })).rejects.toMatchObject({
        code: "invalid_argument",
        remedy: expect.stringContaining("degraded, down, inconsistent"),
      });
    }
    await expect(call(test, "pg ls", { pool: "none" })).rejects.toMatchObject({
      remedy: expect.stringContaining("cairn pool ls"),
    });
    await expect(call(test, "pool create", { name: "rbd" })).rejects.toMatchObject({
      remedy: expect.stringContaining("another name"),
    });
    await expect(call(test, "pool create", { name: "a/b" })).rejects.toMatchObject({
      remedy: expect.stringContaining("letters, digits"),
    });
  });

  it("hand out snapshot ids, and forget removed ones when all PGs are through", async () => {
    const test = await TestCluster.make(3);
    await call(test, "pool create", { name: "rbd", pgNum: 4 });
    const ids = await Promise.all([
      call(test, "pool snap allocate", { pool: "rbd", count: 2 }),
      call(test, "pool snap allocate", { pool: "rbd" }),
    ]);
    expect(ids.map(({ id }) => id)).toEqual([1, 3]);
    expect(newestOf(await test.store.load()).pools[0]?.snapSeq).toBe(3);
    const { epoch } = await call(test, "pool snap remove", { pool: "rbd", ids: [3, 1] });
    expect(test.map()).toMatchObject({ epoch, pools: [{ removedSnaps: [3, 1], snapRemovals: 2 }] });
    const again = await call(test, "pool snap remove", { pool: "rbd", ids: [1] });
    expect(again.epoch).toBe(epoch);
    test.reportClean({ snapTrimmed: 0, state: "active+clean+snaptrim" });
    test.reportClean({ snapTrimmed: 1, state: "active+clean+snaptrim_wait" });
    await test.settle();
    expect(test.map().pools).toMatchObject([{ removedSnaps: [1], snapRemovals: 2 }]);
    test.reportClean({ snapTrimmed: 2 });
    await test.settle();
    expect(snapsOf(test.map().pools[0] as PoolInfo)).toEqual({
      seq: 3,
      removed: [],
      removals: 2,
      purged: [
        [1, 1],
        [3, 3],
      ],
    });
    const settled = test.map().epoch;
    test.reportClean({ snapTrimmed: 2 });
    await test.settle();
    expect(test.map().epoch).toBe(settled);
  });

  it("split a pool, and spread it when all its PGs are clean since then", async () => {
    const test = await TestCluster.make(3);
    await call(test, "pool create", { name: "rbd", pgNum: 8, size: 2 });
    await call(test, "osd set", { flag: "norebalance" });
    test.reportClean();
    const before = [...test.cluster.placements().values()].map(({ acting }) => acting);
    const set = await call(test, "pool set", { name: "rbd", setting: "pg_num", value: "16" });
    expect(set).toMatchObject({ epoch: test.map().epoch, pool: { pgNum: 16, pgpNum: 8 } });
    expect([...test.cluster.placements().values()].map(({ acting }) => acting)).toEqual([
      ...before,
      ...before,
    ]);
    // The old PGs were clean before the split: that says nothing any more.
    const status = await call(test, "status", {});
    expect(status).toMatchObject({ pgs: { total: 16, byState: { unknown: 16 } } });
    expect(status.splits).toEqual([{ pool: "rbd", pgNum: 16, pgpNum: 8 }]);
    test.reportClean({ epoch: (set.epoch - 1) as typeof set.epoch });
    test.reportClean();
    await test.settle();
    expect(test.map().epoch).toBe(set.epoch);
    await call(test, "osd unset", { flag: "norebalance" });
    test.reportClean({ state: "active+recovering+degraded" });
    await test.settle();
    expect(test.map().pools).toMatchObject([{ pgNum: 16, pgpNum: 8 }]);
    test.reportClean();
    await test.settle();
    expect(test.map().pools[0]).toMatchObject({ pgNum: 16, splitEpoch: set.epoch });
    expect(test.map().pools[0]).not.toHaveProperty("pgpNum");
    expect(await call(test, "status", {})).not.toHaveProperty("splits");
    const messages = test.cluster.events.last(100).map(({ message }) => message);
    expect(messages).toContain("pool rbd: pg_num 8 -> 16");
    expect(messages).toContain("pool rbd: pgp_num 8 -> 16");
  });

  it("spread no pool by what its PGs were before the split", async () => {
    const test = await TestCluster.make(3);
    await call(test, "pool create", { name: "rbd", pgNum: 8 });
    const { epoch } = await call(test, "pool set", { name: "rbd", setting: "pg_num", value: "16" });
    test.reportClean({ epoch: (epoch - 1) as typeof epoch });
    await test.settle();
    expect(test.map().pools).toMatchObject([{ pgNum: 16, pgpNum: 8 }]);
  });

  it("keep a removed snapshot until the PGs that were split off have trimmed it", async () => {
    const test = await TestCluster.make(3);
    await call(test, "pool create", { name: "rbd", pgNum: 4 });
    await call(test, "pool snap allocate", { pool: "rbd" });
    await call(test, "pool snap remove", { pool: "rbd", ids: [1] });
    await call(test, "pool set", { name: "rbd", setting: "pg_num", value: "8" });
    const parents = new Set(["1.0", "1.1", "1.2", "1.3"]);
    test.reportClean({ snapTrimmed: 1 }, ({ pgid }) => parents.has(pgid));
    await test.settle();
    expect(test.map().pools).toMatchObject([{ removedSnaps: [1], pgpNum: 4 }]);
    test.reportClean({ snapTrimmed: 1 });
    await test.settle();
    // The same report ends the removal and the split: neither undoes the other.
    expect(snapsOf(test.map().pools[0] as PoolInfo).removed).toEqual([]);
    expect(test.map().pools[0]).not.toHaveProperty("pgpNum");
  });

  it("show down OSDs in tree, health and status", async () => {
    const test = await TestCluster.make(3);
    await call(test, "pool create", { name: "rbd", pgNum: 8 });
    test.report(0, 2, "connection_refused");
    await test.settle();
    test.reportClean({ state: "active+undersized+degraded", degraded: 1 });
    const health = await call(test, "health", {});
    expect(health.status).toBe("HEALTH_WARN");
    expect(health.checks.map(({ name }) => name)).toEqual([
      "OSD_DOWN",
      "PG_UNDERSIZED",
      "PG_DEGRADED",
    ]);
    const { nodes } = await call(test, "osd tree", {});
    expect(nodes.map(({ name, type, depth, up }) => [name, type, depth, up])).toEqual([
      ["default", "root", 0, undefined],
      ["host0", "host", 1, undefined],
      ["osd.0", "osd", 2, true],
      ["host1", "host", 1, undefined],
      ["osd.1", "osd", 2, true],
      ["host2", "host", 1, undefined],
      ["osd.2", "osd", 2, false],
    ]);
  });

  it("mark OSDs out, in, down, set flags and settings; answered when durable", async () => {
    const test = await TestCluster.make(3);
    const { epoch } = await call(test, "osd out", { id: 1 });
    expect(epoch).toBe(test.map().epoch);
    expect(test.osd(1).in).toBe(false);
    await call(test, "osd in", { id: 1 });
    await call(test, "osd down", { id: 1 });
    expect(test.osd(1)).toMatchObject({ in: true, up: false });
    await call(test, "osd set", { flag: "noout" });
    await call(test, "osd set", { flag: "noout" });
    expect(test.map().flags).toEqual(["noout"]);
    await call(test, "osd unset", { flag: "noout" });
    expect(test.map().flags).toEqual([]);
    await call(test, "config set", { name: "osd.log_level", value: "debug" });
    expect((await call(test, "config ls", {})).config).toEqual({ "osd.log_level": "debug" });
    await call(test, "config set", { name: "crush.failure_domain", value: "osd" });
    expect(test.map().crush).toContain('"failureDomain":"osd"');
  });

  it("give any epoch that is kept", async () => {
    const test = await TestCluster.make(2);
    const { map } = await call(test, "map get", {});
    expect(map).toEqual(test.map());
    const first = await call(test, "map get", { epoch: 1 as never });
    expect(first.map).toMatchObject({ epoch: 1, osds: [] });
    await expect(call(test, "map get", { epoch: 99 as never })).rejects.toMatchObject({
      code: "not_found",
    });
  });

  it.each([
    ["fly", {}, "invalid_argument", /no command "fly"/],
    ["osd out", {}, "invalid_argument", /arguments of "osd out"/],
    ["osd out", { id: 1, force: true }, "invalid_argument", /arguments/],
    ["osd out", { id: 9 }, "not_found", /no osd.9/],
    ["osd set", { flag: "nosuch" }, "invalid_argument", /arguments/],
    ["pg ls", { pool: "none" }, "not_found", /no pool/],
    ["pool rm", { name: "none" }, "not_found", /no pool/],
    ["pool create", { name: "a", pgNum: 3 }, "invalid_argument", /power of two/],
    ["config set", { name: "a", value: "b" }, "invalid_argument", /no setting/],
  ])("refuse %s %j", async (verb, args, code, message) => {
    const test = await TestCluster.make(1);
    const { epoch } = test.map();
    await expect(runCommand(commandsOf(test), verb, args)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(test.map().epoch).toBe(epoch);
  });

  it("drop the reports of an OSD that is down", async () => {
    const test = await TestCluster.make(3);
    test.reportClean();
    expect((await call(test, "osd ls", {})).osds[2]).toMatchObject({
      usedBytes: 0,
      reportAgeMs: 0,
    });
    test.report(0, 2, "connection_refused");
    await test.settle();
    const { osds } = await call(test, "osd ls", {});
    expect(osds[2]).not.toHaveProperty("usedBytes");
    expect(osds[2]?.uuid).toBe(bootOf(2).uuid);
  });
});
