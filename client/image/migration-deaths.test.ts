// Each verb of a migration, cut off by the death of its client anywhere.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect } from "vitest";
import {
  contents,
  diesAnywhere,
  image,
  type MortalVerb,
  sizeBytes,
  write,
} from "../testing/deaths.js";
import type { FakeClient } from "../testing/fake-cluster.js";

/** A file that is data all over. */
const importedFile = path.join(mkdtempSync(path.join(tmpdir(), "cairn-deaths-")), "disk.raw");
afterAll(() => rmSync(path.dirname(importedFile), { recursive: true }));
writeFileSync(importedFile, Buffer.alloc(sizeBytes, 1));

const imported = ({ images }: FakeClient) =>
  images.migrations.importFrom("b", { stream: "file", location: importedFile });

const importedSnapshot = ({ images }: FakeClient) => {
  const from = { scope: images.scope, image: "a", snap: "s1" };
  return images.migrations.importSnapshot("b", from);
};

async function snapshotImported(client: FakeClient): Promise<void> {
  await snapshotted(client);
  await importedSnapshot(client);
}

/** The image is as it was, and has such children. */
async function checkImported(client: FakeClient, children: string[]): Promise<void> {
  const { clones } = client.images;
  expect((await clones.children("a")).map(({ name }) => name)).toEqual(children);
  await checkMoved(client, "a");
}

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

/** An image with two snapshots that differ. */
async function snapshotted(client: FakeClient): Promise<void> {
  await image(client, "a", "first");
  await client.images.snapshots.create("a", "s1");
  await write(client, "a", "second");
  await client.images.snapshots.create("a", "s2");
  await write(client, "a", "third");
}

/** The same with a clone of each, the first of them removed. */
async function cloned(client: FakeClient): Promise<void> {
  await snapshotted(client);
  const { clones, scope, snapshots } = client.images;
  await clones.create("a", "s1", { scope, name: "c1" });
  await clones.create("a", "s2", { scope, name: "c2" });
  await snapshots.remove("a", "s1");
}

async function checkClones(client: FakeClient, names: string[]): Promise<void> {
  expect(await contents(client, "c1")).toEqual(["first"]);
  expect(await contents(client, "c2")).toEqual(["second"]);
  const { images } = client;
  const parents = await Promise.all(["c1", "c2"].map((name) => images.clones.parent(name)));
  expect(names).toContain(parents[0]?.name);
  expect(parents[1]).toMatchObject({ name: parents[0]?.name, snapshot: "s2" });
}

async function executedWithClones(client: FakeClient): Promise<void> {
  await cloned(client);
  await moved(client);
  await client.images.migrations.execute("b");
}

/** And whoever takes a clone's lock next clears away what it has left to do there. */
async function andThenTheClones(client: FakeClient, verb: Promise<unknown>): Promise<void> {
  try {
    await verb;
  } finally {
    for (const name of ["c1", "c2"]) await client.images.features.disable(name, ["fast-diff"]);
  }
}

async function checkMoved(client: FakeClient, name = "b"): Promise<void> {
  expect(await contents(client, name, "s1")).toEqual(["first"]);
  expect(await contents(client, name, "s2")).toEqual(["second"]);
  expect(await contents(client, name)).toEqual(["third"]);
  expect(await client.images.snapshots.list(name, { all: true })).toHaveLength(2);
}

async function preparedWithSnapshots(client: FakeClient): Promise<void> {
  await snapshotted(client);
  await moved(client);
}

async function executedWithSnapshots(client: FakeClient): Promise<void> {
  await preparedWithSnapshots(client);
  await client.images.migrations.execute("b");
}

const rows: MortalVerb[] = [
  {
    verb: "migration prepare of an image with clones",
    prepare: cloned,
    act: moved,
    check: async (client) => {
      await checkClones(client, ["a"]);
      await client.images.migrations.execute("b");
      await client.images.migrations.commit("b");
      await checkClones(client, ["b"]);
    },
    operations: 20,
  },
  {
    verb: "migration execute of an image with clones",
    prepare: async (client) => {
      await cloned(client);
      await moved(client);
    },
    act: ({ images }) => images.migrations.execute("b"),
    check: (client) => checkClones(client, ["a"]),
    operations: 30,
  },
  {
    verb: "migration commit of an image with clones",
    prepare: executedWithClones,
    act: ({ images }) => images.migrations.commit("b"),
    next: (client) => andThenTheClones(client, client.images.migrations.commit("b")),
    check: (client) => checkClones(client, ["b"]),
    operations: 50,
  },
  {
    verb: "migration abort of an image with clones",
    prepare: executedWithClones,
    act: ({ images }) => images.migrations.abort("b"),
    check: (client) => checkClones(client, ["a"]),
    operations: 20,
  },
  {
    verb: "migration prepare of an image with snapshots",
    prepare: snapshotted,
    act: moved,
    check: (client) => checkMoved(client),
    operations: 20,
  },
  {
    verb: "migration prepare of an image with snapshots, and then abort",
    prepare: snapshotted,
    act: moved,
    next: ({ images }) => images.migrations.abort("b"),
    check: (client) => checkMoved(client, "a"),
    operations: 20,
  },
  {
    verb: "migration execute of an image with snapshots",
    prepare: preparedWithSnapshots,
    act: ({ images }) => images.migrations.execute("b"),
    check: async (client) => {
      await client.images.migrations.commit("b");
      await checkMoved(client);
    },
    operations: 30,
  },
  {
    verb: "migration commit of an image with snapshots",
    prepare: executedWithSnapshots,
    act: ({ images }) => images.migrations.commit("b"),
    check: async (client) => {
      expect((await client.images.list()).map(({ name }) => name)).toEqual(["b"]);
      await checkMoved(client);
    },
    operations: 16,
  },
  {
    verb: "migration abort of an image with snapshots",
    prepare: executedWithSnapshots,
    act: ({ images }) => images.migrations.abort("b"),
    check: async (client) => {
      expect((await client.images.list()).map(({ name }) => name)).toEqual(["a"]);
      await checkMoved(client, "a");
    },
    operations: 16,
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
    verb: "migration prepare of a snapshot",
    prepare: snapshotted,
    act: importedSnapshot,
    check: async (client) => {
      expect(await contents(client, "b")).toEqual(["first"]);
      await checkImported(client, ["b"]);
    },
    operations: 4,
  },
  {
    verb: "migration execute of a snapshot",
    prepare: snapshotImported,
    act: ({ images }) => images.migrations.execute("b"),
    // What is left of its leaving goes with the commit.
    next: async ({ images }) => {
      await images.migrations.execute("b");
      await images.migrations.commit("b");
    },
    check: async (client) => {
      expect(await contents(client, "b")).toEqual(["first"]);
      expect(await client.images.migrations.info("b")).toBeUndefined();
      await checkImported(client, []);
    },
    operations: 16,
  },
  {
    verb: "migration abort of a snapshot",
    prepare: snapshotImported,
    act: ({ images }) => images.migrations.abort("b"),
    check: (client) => checkImported(client, []),
    operations: 10,
  },
  {
    verb: "migration prepare of a file",
    prepare: async () => undefined,
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

describe("a client that dies in the middle of", () => diesAnywhere(rows));
