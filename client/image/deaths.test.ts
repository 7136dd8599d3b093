// Every verb that takes more than one step, cut off by the death of its client before and after
// each single operation. Then the next command that meets what it has left: nothing half made
// stays.
import { describe, expect } from "vitest";
import {
  contents,
  diesAnywhere,
  image,
  type MortalVerb,
  mebibyte,
  sizeBytes,
  write,
} from "../testing/deaths.js";
import type { FakeClient } from "../testing/fake-cluster.js";
import { exportDiff } from "./export-diff.js";
import { importDiff } from "./import-diff.js";
import { Namespaces } from "./namespaces.js";

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

/** What a has between its snapshots s and t, as a file. */
async function diffed(client: FakeClient): Promise<void> {
  const { io, images } = client;
  await snapshotted(client, "a");
  await images.snapshots.create("a", "t");
  await exportDiff(images, io, "a", fd, { fromSnap: "s", snap: "t" });
}

const fd = 7;
const zeros = [undefined];
const trashId = async ({ images }: FakeClient) => (await images.trash.list())[0]?.id ?? "";
const nothing = async () => undefined;
const shrunk = 8 * mebibyte;

const rows: MortalVerb[] = [
  {
    verb: "create",
    prepare: nothing,
    act: ({ images }) => images.create("a", sizeBytes),
    operations: 4,
  },
  {
    verb: "create --thick-provision",
    prepare: nothing,
    act: ({ images }) => images.create("a", sizeBytes, { thickProvision: true }),
    check: async (client) => expect(await contents(client, "a")).toEqual(["0"]),
    operations: 14,
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
    verb: "flatten of a clone with snapshots",
    prepare: async (client) => {
      await cloned(client);
      const { images } = client;
      await images.snapshots.create("child", "first");
      await images.resize("child", shrunk, { allowShrink: true });
      await images.snapshots.create("child", "second");
    },
    act: ({ images }) => images.clones.flatten("child"),
    check: async (client) => {
      const { images } = client;
      await images.snapshots.purge("parent");
      await images.remove("parent");
      for (const snap of ["first", "second", undefined])
        expect(await contents(client, "child", snap)).toEqual(["old"]);
    },
    operations: 20,
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
    verb: "trash purge",
    prepare: async (client) => {
      for (const name of ["a", "b"]) {
        await image(client, name);
        await client.images.trash.move(name);
      }
    },
    act: ({ images }) => images.trash.purge(),
    check: async ({ images }) => expect(await images.trash.list()).toEqual([]),
    operations: 16,
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
    verb: "sparsify",
    prepare: async (client) => {
      await cloned(client);
      await write(client, "child", "0");
      await client.images.snapshots.create("child", "t");
      await write(client, "parent", "0");
    },
    act: async ({ images }) => {
      await images.copies.sparsify("child");
      await images.copies.sparsify("parent");
    },
    check: async (client) => {
      for (const name of ["child", "parent"]) expect(await contents(client, name)).toEqual(zeros);
      expect(await contents(client, "child", "t")).toEqual(zeros);
      expect(await contents(client, "parent", "s")).toEqual(["old"]);
    },
    operations: 16,
  },
  {
    verb: "export-diff",
    prepare: (client) => snapshotted(client, "a"),
    act: ({ io, images }) => exportDiff(images, io, "a", fd, { fromSnap: "s" }),
    check: async ({ io, images }) => {
      await images.clones.create("a", "s", { scope: images.scope, name: "b" });
      await images.snapshots.create("b", "s");
      await importDiff(images, io, "b", fd);
      expect(await contents({ io, images } as FakeClient, "b")).toEqual(["new"]);
    },
    operations: 4,
  },
  {
    verb: "import-diff",
    prepare: async (client) => {
      await diffed(client);
      await image(client, "b", "old");
      await client.images.snapshots.create("b", "s");
    },
    act: ({ io, images }) => importDiff(images, io, "b", fd),
    check: async (client) => {
      expect(await contents(client, "b")).toEqual(["new"]);
      expect(await contents(client, "b", "s")).toEqual(["old"]);
      expect(await contents(client, "b", "t")).toEqual(["new"]);
    },
    operations: 16,
  },
  {
    verb: "deep copy of a clone",
    prepare: async (client) => {
      await cloned(client);
      await client.images.snapshots.create("child", "s");
    },
    act: ({ images }) => images.copies.deepCopy("child", { scope: images.scope, name: "b" }),
    check: async (client) => {
      const { images } = client;
      expect(await contents(client, "b", "s")).toEqual(["old"]);
      expect(await images.clones.children("parent")).toHaveLength(2);
      for (const name of ["child", "b"]) {
        await images.snapshots.purge(name);
        await images.remove(name);
      }
      await images.snapshots.purge("parent");
      await images.remove("parent");
    },
    operations: 20,
  },
];

describe("a client that dies in the middle of", () => diesAnywhere(rows));
