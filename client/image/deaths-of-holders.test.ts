// The holder of an image's lock dies before or after each operation of a change that another client
// has asked it for: the asker has it made all the same, once, and nothing half made stays.
import { describe, expect, it } from "vitest";
import { type FakeClient, FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { openLocked } from "./open-locked.js";

const mebibyte = 2 ** 20;
const sizeBytes = 32 * mebibyte;

interface Row {
  change: string;
  /** of the image a, which the holder has open, holding "new", and its snapshot s "old" */
  ask(client: FakeClient): Promise<unknown>;
  check(client: FakeClient): Promise<unknown>;
  /** of the holder, at least so many */
  operations: number;
}

const rows: Row[] = [
  {
    change: "snap create",
    ask: ({ images }) => images.snapshots.create("a", "t"),
    check: async ({ images }) => expect(await images.snapshots.list("a")).toHaveLength(2),
    operations: 5,
  },
  {
    change: "snap rm",
    ask: ({ images }) => images.snapshots.remove("a", "s"),
    check: async ({ images }) =>
      expect(await images.snapshots.list("a", { all: true })).toEqual([]),
    operations: 8,
  },
  {
    change: "snap rename",
    ask: ({ images }) => images.snapshots.rename("a", "s", "t"),
    check: async ({ images }) =>
      expect((await images.snapshots.list("a")).map(({ name }) => name)).toEqual(["t"]),
    operations: 3,
  },
  {
    change: "snap rollback",
    ask: ({ images }) => images.snapshots.rollback("a", "s"),
    check: async (client) => expect(await contents(client)).toEqual(["old"]),
    operations: 12,
  },
  {
    change: "resize",
    ask: ({ images }) => images.resize("a", 8 * mebibyte, { allowShrink: true }),
    check: async ({ images }) => expect((await images.info("a")).sizeBytes).toBe(8 * mebibyte),
    operations: 8,
  },
  {
    change: "flatten",
    ask: ({ images }) => images.clones.flatten("a"),
    check: async ({ images }) => expect(await images.clones.parent("a")).toBeUndefined(),
    operations: 8,
  },
  {
    change: "move to the target of its parent's migration",
    ask: async ({ images: { migrations, scope } }) => {
      await migrations.prepare("base", { scope, name: "moved" });
      await migrations.execute("moved");
      await migrations.commit("moved");
    },
    check: async (client) => {
      const { images } = client;
      expect(await images.clones.parent("a")).toMatchObject({ name: "moved", snapshot: "s" });
      expect(await contents(client)).toEqual(["new"]);
    },
    operations: 8,
  },
  {
    change: "feature disable",
    ask: ({ images }) => images.features.disable("a", ["fast-diff"]),
    check: async ({ images }) =>
      expect((await images.info("a")).features).not.toContain("fast-diff"),
    operations: 4,
  },
];

async function fill({ io, images }: FakeClient, name: string, content: string): Promise<void> {
  const { handle } = await images.open(name);
  io.fill(handle, 0, sizeBytes / 2, content);
  images.close(handle);
}

async function contents({ io, images }: FakeClient): Promise<(string | undefined)[]> {
  const { handle } = await images.open("a", { readOnly: true });
  const found = new Set<string | undefined>();
  for (let at = 0; at < sizeBytes / 2; at += 4 * mebibyte) found.add(io.contentAt(handle, at));
  return [...found];
}

/** a is a clone, so that there is something to flatten. */
async function prepared(): Promise<FakeCluster> {
  const cluster = new FakeCluster();
  const client = cluster.client();
  const { images } = client;
  await images.create("base", sizeBytes);
  await fill(client, "base", "base");
  await images.snapshots.create("base", "s");
  await images.clones.create("base", "s", { scope: images.scope, name: "a" });
  await fill(client, "a", "old");
  await images.snapshots.create("a", "s");
  await fill(client, "a", "new");
  return cluster;
}

/** Lets time pass until it has ended. */
async function during<T>(cluster: FakeCluster, work: Promise<T>): Promise<T> {
  let over = false;
  const end = () => {
    over = true;
  };
  work.then(end, end);
  for (let round = 0; round < 40 && !over; round += 1) await cluster.pass(500);
  return work;
}

describe("a holder that dies in the middle of", () => {
  it.each(rows)("$change", async ({ ask, check, operations }) => {
    for (let death = 0; ; death += 1) {
      for (const moment of ["before", "after"] as const) {
        const cluster = await prepared();
        let asked = false;
        let count = 0;
        const holder = cluster.client(() => (asked && count++ === death ? moment : undefined));
        const { handle } = await openLocked(holder.images, "a");
        holder.io.deliver({ type: "device", device: handle, state: "wanted" });
        await cluster.pass(2000);
        asked = true;
        const where = `died ${moment} operation ${death}`;
        const asker = cluster.client();
        await during(cluster, ask(asker));
        await check(asker);
        if (!holder.io.dead) {
          expect(death).toBeGreaterThanOrEqual(operations);
          expect(violations(cluster.pool), "undisturbed").toEqual([]);
          return;
        }
        // Whoever takes the lock next finds what is left.
        await during(cluster, asker.images.features.disable("a", ["deep-flatten"]));
        expect(violations(cluster.pool), where).toEqual([]);
        await check(asker);
      }
    }
  });
});
