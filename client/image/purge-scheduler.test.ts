// Purges by schedule, in virtual time: made when they are due, once, by one client at a time; and
// gone on with when they were cut off.
import { describe, expect, it } from "vitest";
import { scheduleKey } from "../../proto/purge-schedule.js";
import { diesAnywhere, image } from "../testing/deaths.js";
import { type FakeClient, FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { Namespaces } from "./namespaces.js";
import { PurgeScheduler } from "./purge-scheduler.js";
import { lastPurge, purgeByPlan } from "./trash-purge.js";

const minuteMs = 60_000;

/** A scheduler as a monitor has one, with what it reports. */
function schedulerOf(cluster: FakeCluster, { images, inPool }: FakeClient) {
  const purged: string[] = [];
  const scheduler = new PurgeScheduler({
    clock: images.scope.ports.clock,
    map: () => images.scope.cluster.map(),
    images: async (pool, namespace) =>
      namespace === "" ? inPool(pool) : cluster.client(undefined, namespace).images,
    onPurged: (place, { removed, kept }) => purged.push(`${place}: ${removed}, kept ${kept}`),
    onFailed: (place, error) => purged.push(`${place}: ${error.code}`),
  });
  scheduler.start();
  return { purged, scheduler };
}

async function madeWithTrash(...names: string[]) {
  const cluster = new FakeCluster();
  const client = cluster.client();
  for (const name of names) {
    await client.images.create(name, 2 ** 24);
    await client.images.trash.move(name);
  }
  const add = (level: { pool?: string; namespace: string }, interval: string) => {
    cluster.config[scheduleKey({ ...level, interval })] = String(cluster.wallMs);
  };
  return { cluster, client, add };
}

describe("the scheduler of purges", () => {
  it("purges when it is due, and not before, again and again", async () => {
    const { cluster, client, add } = await madeWithTrash("a");
    add({ pool: "rbd", namespace: "" }, "10m");
    const { purged } = schedulerOf(cluster, client);
    const dueMs = Math.ceil(cluster.wallMs / (10 * minuteMs)) * 10 * minuteMs;
    await cluster.pass(dueMs - cluster.wallMs - 1);
    expect(purged).toEqual([]);
    await cluster.pass(20_000);
    expect(purged).toEqual(["rbd: 1, kept 0"]);
    expect(await client.images.trash.list()).toEqual([]);
    await client.images.create("b", 2 ** 24);
    await client.images.trash.move("b");
    await cluster.pass(9 * minuteMs);
    expect(purged).toHaveLength(1);
    await cluster.pass(2 * minuteMs);
    expect(purged).toEqual(["rbd: 1, kept 0", "rbd: 1, kept 0"]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("keeps what has not expired, and what has snapshots", async () => {
    const { cluster, client, add } = await madeWithTrash("a");
    await client.images.create("later", 2 ** 24);
    await client.images.trash.move("later", 3_600_000);
    await client.images.create("snapped", 2 ** 24);
    await client.images.snapshots.create("snapped", "s");
    await client.images.trash.move("snapped");
    add({ namespace: "" }, "1m");
    const { purged } = schedulerOf(cluster, client);
    await cluster.pass(80_000);
    expect(purged).toContain("rbd: 1, kept 1");
    const names = (await client.images.trash.list()).map(({ name }) => name);
    expect(names.sort()).toEqual(["later", "snapped"]);
  });

  it("goes by the schedule that is nearest, of namespaces too", async () => {
    const { cluster, client, add } = await madeWithTrash("a");
    await new Namespaces(client.images.scope).create("ns");
    const inside = cluster.client(undefined, "ns");
    await inside.images.create("b", 2 ** 24);
    await inside.images.trash.move("b");
    add({ pool: "rbd", namespace: "" }, "1d");
    add({ pool: "rbd", namespace: "ns" }, "1m");
    const { purged, scheduler } = schedulerOf(cluster, client);
    await cluster.pass(70_000);
    expect(purged).toEqual(["rbd/ns: 1, kept 0"]);
    expect(await client.images.trash.list()).toHaveLength(1);
    scheduler.stop();
    await cluster.pass(10 * minuteMs);
    expect(purged).toHaveLength(1);
  });

  it("of two, one purges what is due, and none what was purged before it began", async () => {
    const { cluster, client, add } = await madeWithTrash("a", "b", "c");
    add({ pool: "rbd", namespace: "" }, "1m");
    const both = [schedulerOf(cluster, client), schedulerOf(cluster, cluster.client())];
    await cluster.pass(40_000);
    expect(both.flatMap(({ purged }) => purged)).toEqual(["rbd: 3, kept 0"]);
    for (const { scheduler } of both) scheduler.stop();
    const next = schedulerOf(cluster, cluster.client());
    await cluster.pass(15_000);
    expect(next.purged).toEqual([]);
  });
});

describe("a purge that is cut off", () => {
  diesAnywhere([
    {
      verb: "is made by the next who looks",
      prepare: async (client) => {
        for (const name of ["a", "b"]) {
          await image(client, name);
          await client.images.trash.move(name);
        }
      },
      act: ({ images }) => purgeByPlan(images, 1),
      check: async ({ images }) => {
        expect((await lastPurge(images.scope))?.endedAt).toBeDefined();
        expect(await images.trash.list()).toEqual([]);
      },
      operations: 15,
    },
  ]);
});
