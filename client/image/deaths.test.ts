// Every verb that takes more than one step, cut off by the death of its client before and after
// each single operation. Then the next command that meets what it has left: nothing half made
// stays.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type FakeClient, FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { pendingStaleMs } from "./making.js";
import { Namespaces } from "./namespaces.js";

const mebibyte = 2 ** 20;
const sizeBytes = 32 * mebibyte;

interface Row {
  verb: string;
  prepare(client: FakeClient): Promise<unknown>;
  act(client: FakeClient): Promise<unknown>;
  /** by another client afterwards; default: the same verb again */
  next?(client: FakeClient): Promise<unknown>;
  /** what must be so then, however far the first one came */
  check?(client: FakeClient): Promise<unknown>;
  /** it has at least so many operations */
  operations: number;
}

async function image({ io, images }: FakeClient, name: string, content = "x"): Promise<void> {
  await images.create(name, sizeBytes);
  await write({ io, images } as FakeClient, name, content);
}

/** Under no lock, as a guest of another host did before. */
async function write({ io, images }: FakeClient, name: string, content: string): Promise<void> {
  const { handle } = await images.open(name);
  io.fill(handle, 0, sizeBytes, content);
  images.close(handle);
}

/** What the image, or a snapshot of it, holds, one text for each content that is in it. */
async function contents({ io, images }: FakeClient, name: string, snap?: string) {
  const { handle, info } = await images.open(name, { readOnly: true, ...(snap && { snap }) });
  const found = new Set<string | undefined>();
  for (let at = 0; at < info.sizeBytes; at += info.objectBytes) {
    found.add(io.contentAt(handle, at));
  }
  images.close(handle);
  return [...found];
}

async function snapshotted(client: FakeClient, name: string): Promise<void> {
  await image(client, name, "old");
  await client.images.snapshots.create(name, "s");
  await write(client, name, "new");
}

async function cloned(client: FakeClient): Promise<void> {
  await snapshotted(client, "parent");
  const { images } = client;
  await images.clones.create("parent", "s", { scope: images.scope, name: "child" });
}

/** The snapshot is removed, but kept for its clone. */
async function orphaned(client: FakeClient): Promise<void> {
  await cloned(client);
  await client.images.snapshots.remove("parent", "s");
}

async function grouped(client: FakeClient): Promise<void> {
  const { images } = client;
  await images.groups.create("g");
  for (const name of ["a", "b"]) {
    await image(client, name, "old");
    await images.groups.addImage("g", { scope: images.scope, name });
  }
}

async function groupSnapshotted(client: FakeClient): Promise<void> {
  await grouped(client);
  await client.images.groups.snapshots.create("g", "gs");
  for (const name of ["a", "b"]) await write(client, name, "new");
}

/** A file whose first half has data. */
const importedFile = path.join(mkdtempSync(path.join(tmpdir(), "cairn-deaths-")), "disk.raw");
afterAll(() => rmSync(path.dirname(importedFile), { recursive: true }));
writeFileSync(importedFile, Buffer.alloc(sizeBytes, 1));

const imported = ({ images }: FakeClient) =>
  images.migrations.importFrom("b", { stream: "file", location: importedFile });

const moved = ({ images }: FakeClient) =>
  images.migrations.prepare("a", { scope: images.scope, name: "b" });

async function prepared(client: FakeClient): Promise<void> {
  await image(client, "a");
  await moved(client);
}

async function executed(client: FakeClient): Promise<void> {
  await prepared(client);
  await client.images.migrations.execute("b");
}

const trashId = async ({ images }: FakeClient) => (await images.trash.list())[0]?.id ?? "";
const nothing = async () => undefined;
const shrunk = 8 * mebibyte;

const rows: Row[] = [
  {
    verb: "create",
    prepare: nothing,
    act: ({ images }) => images.create("a", sizeBytes),
    operations: 4,
  },
  {
    verb: "rename",
    prepare: (client) => image(client, "a"),
    act: ({ images }) => images.rename("a", "b"),
    check: async (client) => expect(await contents(client, "b")).toEqual(["x"]),
    operations: 2,
  },
  {
    verb: "rm",
    prepare: (client) => image(client, "a"),
    act: ({ images }) => images.remove("a"),
    check: async ({ images }) => expect(await images.list()).toEqual([]),
    operations: 8,
  },
  {
    verb: "resize",
    prepare: (client) => image(client, "a"),
    act: ({ images }) => images.resize("a", shrunk, { allowShrink: true }),
    check: async ({ images }) => expect((await images.info("a")).sizeBytes).toBe(shrunk),
    operations: 8,
  },
  {
    verb: "feature disable",
    prepare: (client) => image(client, "a"),
    act: ({ images }) => images.features.disable("a", ["fast-diff"]),
    operations: 5,
  },
  {
    verb: "image-meta set",
    prepare: (client) => image(client, "a"),
    act: ({ images }) => images.metadata.set("a", "owner", "anna"),
    check: async ({ images }) => expect(await images.metadata.get("a", "owner")).toBe("anna"),
    operations: 2,
  },
  {
    verb: "snap create",
    prepare: (client) => image(client, "a", "old"),
    act: ({ images }) => images.snapshots.create("a", "s"),
    check: async (client) => {
      await write(client, "a", "new");
      expect(await contents(client, "a", "s")).toEqual(["old"]);
    },
    operations: 8,
  },
  {
    verb: "snap rm",
    prepare: (client) => snapshotted(client, "a"),
    act: ({ images }) => images.snapshots.remove("a", "s"),
    next: ({ images }) => images.snapshots.purge("a"),
    check: async ({ images }) =>
      expect(await images.snapshots.list("a", { all: true })).toEqual([]),
    operations: 8,
  },
  {
    verb: "snap rm of one that has a clone",
    prepare: cloned,
    act: ({ images }) => images.snapshots.remove("parent", "s"),
    check: async (client) => {
      expect(await contents(client, "child")).toEqual(["old"]);
      expect(await client.images.snapshots.list("parent")).toEqual([]);
    },
    operations: 8,
  },
  {
    verb: "snap purge",
    prepare: async (client) => {
      await snapshotted(client, "a");
      await client.images.snapshots.create("a", "t");
    },
    act: ({ images }) => images.snapshots.purge("a"),
    check: async ({ images }) =>
      expect(await images.snapshots.list("a", { all: true })).toEqual([]),
    operations: 16,
  },
  {
    verb: "snap rename",
    prepare: (client) => snapshotted(client, "a"),
    act: ({ images }) => images.snapshots.rename("a", "s", "t"),
    check: async (client) => expect(await contents(client, "a", "t")).toEqual(["old"]),
    operations: 5,
  },
  {
    verb: "snap rollback",
    prepare: (client) => snapshotted(client, "a"),
    act: ({ images }) => images.snapshots.rollback("a", "s"),
    check: async (client) => expect(await contents(client, "a")).toEqual(["old"]),
    operations: 12,
  },
  {
    verb: "clone",
    prepare: (client) => snapshotted(client, "parent"),
    act: ({ images }) =>
      images.clones.create("parent", "s", { scope: images.scope, name: "child" }),
    check: async (client) => expect(await contents(client, "child")).toEqual(["old"]),
    operations: 6,
  },
  {
    verb: "flatten",
    prepare: cloned,
    act: ({ images }) => images.clones.flatten("child"),
    check: async (client) => expect(await contents(client, "child")).toEqual(["old"]),
    operations: 12,
  },
  {
    verb: "flatten of the last clone of a removed snapshot",
    prepare: orphaned,
    act: ({ images }) => images.clones.flatten("child"),
    next: async ({ images }) => {
      await images.clones.flatten("child").catch(() => undefined);
      await images.snapshots.purge("parent");
    },
    check: async (client) => {
      expect(await contents(client, "child")).toEqual(["old"]);
      expect(await client.images.snapshots.list("parent", { all: true })).toEqual([]);
    },
    operations: 16,
  },
  {
    verb: "rm of the last clone of a removed snapshot",
    prepare: orphaned,
    act: ({ images }) => images.remove("child"),
    next: async ({ images }) => {
      await images.remove("child").catch(() => undefined);
      await images.snapshots.purge("parent");
    },
    check: ({ images }) => images.remove("parent"),
    operations: 12,
  },
  {
    verb: "trash mv",
    prepare: (client) => image(client, "a"),
    act: ({ images }) => images.trash.move("a"),
    check: async ({ images }) => expect(await images.trash.list()).toHaveLength(1),
    operations: 5,
  },
  {
    verb: "trash restore",
    prepare: async (client) => {
      await image(client, "a");
      await client.images.trash.move("a");
    },
    act: async (client) => client.images.trash.restore(await trashId(client)),
    check: async (client) => expect(await contents(client, "a")).toEqual(["x"]),
    operations: 3,
  },
  {
    verb: "trash rm",
    prepare: async (client) => {
      await image(client, "a");
      await client.images.trash.move("a");
    },
    act: async (client) => client.images.trash.remove(await trashId(client)),
    check: async ({ images }) => expect(await images.trash.list()).toEqual([]),
    operations: 8,
  },
  {
    verb: "namespace create",
    prepare: nothing,
    act: ({ images }) => new Namespaces(images.scope).create("ns"),
    operations: 4,
  },
  {
    verb: "namespace rm",
    prepare: ({ images }) => new Namespaces(images.scope).create("ns"),
    act: ({ images }) => new Namespaces(images.scope).remove("ns"),
    check: async ({ images }) => expect(await new Namespaces(images.scope).list()).toEqual([]),
    operations: 6,
  },
  {
    verb: "namespace rm of one that is not empty",
    prepare: async ({ images }) => {
      await new Namespaces(images.scope).create("ns");
      const cluster = images.scope.cluster;
      const { Images } = await import("./images.js");
      await new Images(cluster, "rbd", images.scope.ports, "ns").create("a", 512);
    },
    act: async ({ images }) => {
      const removing = new Namespaces(images.scope).remove("ns");
      await expect(removing).rejects.toMatchObject({ code: "busy", message: /1 images/ });
    },
    check: async ({ images }) =>
      expect(await new Namespaces(images.scope).list()).toEqual([{ name: "ns", state: "ready" }]),
    operations: 6,
  },
  {
    verb: "group create",
    prepare: nothing,
    act: ({ images }) => images.groups.create("g"),
    operations: 4,
  },
  {
    verb: "group image add",
    prepare: async (client) => {
      await client.images.groups.create("g");
      await image(client, "a");
    },
    act: ({ images }) => images.groups.addImage("g", { scope: images.scope, name: "a" }),
    next: async ({ images }) => {
      await images.groups.addImage("g", { scope: images.scope, name: "a" }).catch(() => undefined);
      await images.groups.snapshots.create("g", "gs");
    },
    check: async ({ images }) => expect(await images.groups.images("g")).toHaveLength(1),
    operations: 8,
  },
  {
    verb: "group image rm",
    prepare: grouped,
    act: ({ images }) => images.groups.removeImage("g", { scope: images.scope, name: "a" }),
    check: async ({ images }) => {
      expect(await images.groups.images("g")).toHaveLength(1);
      await images.remove("a");
    },
    operations: 8,
  },
  {
    verb: "group rm",
    prepare: groupSnapshotted,
    act: ({ images }) => images.groups.remove("g"),
    check: async ({ images }) => {
      expect(await images.groups.list()).toEqual([]);
      await images.remove("a");
      await images.remove("b");
    },
    operations: 30,
  },
  {
    verb: "group snap create",
    prepare: grouped,
    act: ({ images }) => images.groups.snapshots.create("g", "gs"),
    check: async (client) => {
      for (const name of ["a", "b"]) await write(client, name, "new");
      await client.images.groups.snapshots.rollback("g", "gs");
      for (const name of ["a", "b"]) expect(await contents(client, name)).toEqual(["old"]);
    },
    operations: 30,
  },
  {
    verb: "group snap rm",
    prepare: groupSnapshotted,
    act: ({ images }) => images.groups.snapshots.remove("g", "gs"),
    check: async ({ images }) => expect(await images.groups.snapshots.list("g")).toEqual([]),
    operations: 20,
  },
  {
    verb: "group snap rollback",
    prepare: groupSnapshotted,
    act: ({ images }) => images.groups.snapshots.rollback("g", "gs"),
    check: async (client) => {
      for (const name of ["a", "b"]) expect(await contents(client, name)).toEqual(["old"]);
    },
    operations: 30,
  },
  {
    verb: "group snap rollback that nobody tries again",
    prepare: groupSnapshotted,
    act: ({ images }) => images.groups.snapshots.rollback("g", "gs"),
    // The images are used again, then something else is done with the group.
    next: async ({ images }) => {
      for (const name of ["a", "b"]) await images.snapshots.purge(name);
      await images.groups.snapshots.rename("g", "gs", "other");
    },
    check: async (client) =>
      expect(await contents(client, "a")).toEqual(await contents(client, "b")),
    operations: 30,
  },
  {
    verb: "copy",
    prepare: (client) => image(client, "a"),
    act: ({ images }) => images.copies.copy("a", undefined, { scope: images.scope, name: "b" }),
    check: async (client) => expect(await contents(client, "b")).toEqual(["x"]),
    operations: 12,
  },
  {
    verb: "deep copy",
    prepare: (client) => snapshotted(client, "a"),
    act: ({ images }) => images.copies.deepCopy("a", { scope: images.scope, name: "b" }),
    check: async (client) => {
      expect(await contents(client, "b")).toEqual(["new"]);
      expect(await contents(client, "b", "s")).toEqual(["old"]);
    },
    operations: 30,
  },
  {
    verb: "migration prepare",
    prepare: (client) => image(client, "a"),
    act: moved,
    check: async (client) => {
      expect(await contents(client, "b")).toEqual(["x"]);
      await expect(client.images.open("a")).rejects.toMatchObject({ code: "busy" });
    },
    operations: 12,
  },
  {
    verb: "migration prepare, and then abort",
    prepare: (client) => image(client, "a"),
    act: moved,
    next: ({ images }) => images.migrations.abort("b"),
    check: async (client) => expect(await contents(client, "a")).toEqual(["x"]),
    operations: 12,
  },
  {
    verb: "migration prepare of a file",
    prepare: nothing,
    act: imported,
    check: async (client) => expect(await contents(client, "b")).toEqual(["file"]),
    operations: 4,
  },
  {
    verb: "migration execute",
    prepare: prepared,
    act: ({ images }) => images.migrations.execute("b"),
    check: async (client) => {
      await client.images.migrations.commit("b");
      expect(await contents(client, "b")).toEqual(["x"]);
    },
    operations: 16,
  },
  {
    verb: "migration execute of a file",
    prepare: imported,
    act: ({ images }) => images.migrations.execute("b"),
    check: async (client) => {
      await client.images.migrations.commit("b");
      expect(client.io.pool.dataObjects()).toHaveLength(8);
      expect(await contents(client, "b")).toEqual(["file"]);
    },
    operations: 16,
  },
  {
    verb: "migration commit",
    prepare: executed,
    act: ({ images }) => images.migrations.commit("b"),
    check: async (client) => {
      expect((await client.images.list()).map(({ name }) => name)).toEqual(["b"]);
      expect(await contents(client, "b")).toEqual(["x"]);
      expect(await client.images.migrations.info("b")).toBeUndefined();
    },
    operations: 12,
  },
  {
    verb: "migration abort",
    prepare: executed,
    act: ({ images }) => images.migrations.abort("b"),
    check: async (client) => {
      expect((await client.images.list()).map(({ name }) => name)).toEqual(["a"]);
      await write(client, "a", "y");
      expect(await contents(client, "a")).toEqual(["y"]);
    },
    operations: 14,
  },
];

/** What clients that died while they made something have left goes with any later rm. */
async function clearLater(cluster: FakeCluster): Promise<void> {
  cluster.wallMs += pendingStaleMs + 1;
  const { images } = cluster.client();
  await images.create("other", 512);
  await images.remove("other");
  await images.groups.create("other");
  await images.groups.remove("other");
}

describe("a client that dies in the middle of", () => {
  it.each(rows)("$verb", async ({ prepare, act, next = act, check, operations }) => {
    for (let death = 0; ; death += 1) {
      for (const moment of ["before", "after"] as const) {
        const cluster = new FakeCluster();
        await prepare(cluster.client());
        const dying = cluster.client((operation) => (operation === death ? moment : undefined));
        const first = await act(dying).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        const where = `died ${moment} operation ${death}`;
        if (!dying.io.dead) {
          expect(first, "undisturbed").toBeUndefined();
          expect(violations(cluster.pool), "undisturbed").toEqual([]);
          expect(death).toBeGreaterThanOrEqual(operations);
          return;
        }
        // What the first one has done all the same, the second one may find done.
        await next(cluster.client()).catch((error: { code: string }) => {
          expect(["already_exists", "not_found", "invalid_argument"], where).toContain(error.code);
        });
        await clearLater(cluster);
        expect(violations(cluster.pool), where).toEqual([]);
        await check?.(cluster.client());
      }
    }
  });
});
