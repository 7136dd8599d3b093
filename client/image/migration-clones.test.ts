// Migrations of images that have clones: what these and theirs show at every moment, whoever has
// them open, and whose children they are.
import { describe, expect, it } from "vitest";
import { type FakeClient, FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import type { Images } from "./images.js";
import { pendingStaleMs } from "./making.js";
import { openLocked } from "./open-locked.js";
import { openReader } from "./open-reader.js";

const mebibyte = 2 ** 20;
const objectBytes = 4 * mebibyte;
const sizeBytes = 16 * mebibyte;

const shown = {
  child: ["own", "base", "base", undefined],
  grandchild: ["own", "base", "newest", undefined],
};

/** Lets time pass until something that takes some has ended. */
async function during<T>(cluster: FakeCluster, work: Promise<T>): Promise<T> {
  let over = false;
  const end = () => {
    over = true;
  };
  work.then(end, end);
  for (let round = 0; round < 400 && !over; round += 1) await cluster.pass(250);
  return work;
}

/**
 * base, with the snapshots s and t, has been written since; child is a clone of base@s with one
 * object of its own and a snapshot, grandchild a clone of that.
 */
async function made() {
  const cluster = new FakeCluster();
  const client = cluster.client();
  const { images, inPool } = client;
  const fast = inPool("fast");
  const { scope } = images;
  await images.create("base", sizeBytes);
  await fill(client, "base", "base", 0, 3 * objectBytes);
  await images.snapshots.create("base", "s");
  await fill(client, "base", "later", 0, sizeBytes);
  await images.snapshots.create("base", "t");
  await images.clones.create("base", "s", { scope, name: "child" });
  await fill(client, "child", "own", 0, objectBytes);
  await images.snapshots.create("child", "cs");
  await images.clones.create("child", "cs", { scope, name: "grandchild" });
  await fill(client, "grandchild", "newest", 2 * objectBytes, objectBytes);
  const to = { scope: fast.scope, name: "moved" };
  const prepare = () => during(cluster, images.migrations.prepare("base", to));
  const execute = () => during(cluster, fast.migrations.execute("moved"));
  const commit = () => during(cluster, fast.migrations.commit("moved"));
  const abort = () => during(cluster, fast.migrations.abort("moved"));
  return { cluster, client, images, fast, to, prepare, execute, commit, abort };
}

async function fill(
  { io, images }: FakeClient,
  name: string,
  content: string,
  at: number,
  length: number,
) {
  const { handle } = await images.open(name);
  io.fill(handle, at, length, content);
  images.close(handle);
}

const objects = [0, 1, 2, 3].map((number) => number * objectBytes);

async function contents(
  client: FakeClient,
  name: string,
  snap?: string,
  from: Images = client.images,
) {
  const { handle } = await from.open(name, { readOnly: true, ...(snap && { snap }) });
  const found = objects.map((at) => client.io.contentAt(handle, at));
  from.close(handle);
  return found;
}

async function check(client: FakeClient): Promise<void> {
  expect(await contents(client, "child")).toEqual(shown.child);
  expect(await contents(client, "child", "cs")).toEqual(shown.child);
  expect(await contents(client, "grandchild")).toEqual(shown.grandchild);
}

async function parentOf({ images }: FakeClient, name: string): Promise<string> {
  const found = await images.clones.parent(name);
  return `${found?.pool}/${found?.name}@${found?.snapshot}`;
}

describe("an image with clones that is migrated", () => {
  it("has them afterwards; they show the same at every step", async () => {
    const { cluster, client, images, fast, prepare, execute, commit } = await made();
    const namesOf = async (of: Images, name: string, snap?: string) =>
      (await of.clones.children(name, snap)).map((child) => `${child.name} ${child.snapshot}`);
    await prepare();
    await check(client);
    expect(await namesOf(fast, "moved")).toEqual(["child s"]);
    expect(await namesOf(fast, "moved", "t")).toEqual([]);
    expect(await namesOf(images, "base")).toEqual(["child s"]);
    await execute();
    await check(client);
    expect(await parentOf(client, "child")).toBe("rbd/base@s");
    await commit();
    await check(client);
    expect(await parentOf(client, "child")).toBe("fast/moved@s");
    expect(await parentOf(client, "grandchild")).toBe("rbd/child@cs");
    expect(await namesOf(fast, "moved")).toEqual(["child s"]);
    expect(await namesOf(fast, "moved", "s")).toEqual(["child s"]);
    expect((await images.list()).map(({ name }) => name)).toEqual(["child", "grandchild"]);
    expect(violations(cluster.pool)).toEqual([]);
    // And back, with what they have got since.
    const back = fast.migrations.prepare("moved", { scope: images.scope, name: "base" });
    await during(cluster, back);
    await during(cluster, images.migrations.execute("base"));
    await during(cluster, images.migrations.commit("base"));
    await check(client);
    expect(await parentOf(client, "child")).toBe("rbd/base@s");
    await images.clones.flatten("child");
    expect(await images.clones.children("base")).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("has them again when the migration is undone, with those that its target has got", async () => {
    const { cluster, client, images, fast, prepare, execute, abort } = await made();
    await prepare();
    await execute();
    const late = { scope: images.scope, name: "late" };
    await fast.clones.create("moved", "t", late);
    const reader = cluster.client();
    const open = await openReader(reader.images, "late");
    await abort();
    await check(client);
    expect(await parentOf(client, "child")).toBe("rbd/base@s");
    expect(await parentOf(client, "late")).toBe("rbd/base@t");
    expect(objects.map((at) => reader.io.contentAt(open.handle, at))).toEqual(
      objects.map(() => "later"),
    );
    await open.close();
    expect(await contents(client, "base")).toEqual(objects.map(() => "later"));
    expect(await fast.list()).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it.each(["commit", "abort"] as const)(
    "is followed by those who have its clones open: %s",
    async (end) => {
      const { cluster, client, prepare, execute, ...verbs } = await made();
      const user = cluster.client();
      const guest = await openLocked(user.images, "child");
      user.io.deliver({ type: "device", device: guest.handle, state: "wanted" });
      await cluster.pass(0);
      const reader = cluster.client();
      const open = await openReader(reader.images, "grandchild");
      const see = () => {
        expect(objects.map((at) => user.io.contentAt(guest.handle, at))).toEqual(shown.child);
        const read = objects.map((at) => reader.io.contentAt(open.handle, at));
        expect(read).toEqual(shown.grandchild);
      };
      await prepare();
      see();
      await execute();
      see();
      await verbs[end]();
      see();
      user.io.fill(guest.handle, 3 * objectBytes, objectBytes, "guest");
      expect((await contents(client, "child"))[3]).toBe("guest");
      await during(cluster, guest.close());
      await open.close();
      expect(violations(cluster.pool)).toEqual([]);
    },
  );

  it("may have clones with more snapshots than one operation changes", async () => {
    const { cluster, client, images, prepare, execute, commit } = await made();
    for (let count = 0; count < 45; count += 1) await images.snapshots.create("child", `s${count}`);
    await prepare();
    await execute();
    await commit();
    expect(await contents(client, "child", "s0")).toEqual(shown.child);
    expect(await contents(client, "child", "s44")).toEqual(shown.child);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("keeps what its clones need of snapshots that were removed, until they need it no more", async () => {
    const { cluster, client, images, fast, prepare, execute, commit } = await made();
    await images.snapshots.remove("base", "s");
    await prepare();
    await execute();
    await commit();
    await check(client);
    expect((await fast.snapshots.list("moved")).map(({ name }) => name)).toEqual(["t"]);
    const [kept] = await fast.snapshots.list("moved", { all: true });
    expect(kept).toMatchObject({ kind: "trash", name: `trash-${kept?.id}`, children: 1 });
    await images.clones.flatten("child");
    expect(await fast.snapshots.list("moved", { all: true })).toHaveLength(1);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it.each(["commit", "abort"] as const)(
    "lets a removed snapshot go at the end when its clone went meanwhile: %s",
    async (end) => {
      const { cluster, client, images, fast, prepare, execute, ...verbs } = await made();
      await images.snapshots.remove("base", "s");
      await prepare();
      await images.clones.flatten("child");
      // What the target shows of it may still be copied.
      await execute();
      await verbs[end]();
      await check(client);
      const [of, name] =
        end === "commit" ? ([fast, "moved"] as const) : ([images, "base"] as const);
      const left = await of.snapshots.list(name, { all: true });
      expect(left.map((snapshot) => snapshot.name)).toEqual(["t"]);
      expect(violations(cluster.pool)).toEqual([]);
    },
  );

  it("keeps a snapshot that is removed from its target while clones of the source need it", async () => {
    const { cluster, client, fast, prepare, execute, commit } = await made();
    await prepare();
    await execute();
    await fast.snapshots.remove("moved", "s");
    await fast.snapshots.remove("moved", "t");
    expect(await fast.snapshots.list("moved")).toEqual([]);
    await commit();
    await check(client);
    const [kept, ...others] = await fast.snapshots.list("moved", { all: true });
    expect(kept).toMatchObject({ kind: "trash", children: 1 });
    expect(others).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("is not committed while one of them is just being made; a dead maker is not waited for", async () => {
    for (const death of [2, 3, 4, 5]) {
      const { cluster, client, images, prepare, execute, commit } = await made();
      const dying = cluster.client((operation) => (operation === death ? "after" : undefined));
      const to = { scope: dying.images.scope, name: "half" };
      await dying.images.clones.create("base", "t", to).catch(() => undefined);
      const isPending = (await images.pending()).length > 0;
      await prepare();
      await execute();
      if (isPending && (await images.snapshots.info("base", "t")).children > 0) {
        await expect(commit()).rejects.toMatchObject({
          code: "busy",
          message: expect.stringMatching(/clone rbd\/half is just being made/),
        });
      }
      cluster.wallMs += pendingStaleMs + 1;
      await commit();
      await check(client);
      if (isPending) await images.clearStale(["creating"]);
      expect(violations(cluster.pool), `died after ${death}`).toEqual([]);
    }
  });

  it("is not committed while a clone of it is migrated itself, and afterwards without that", async () => {
    const { cluster, client, images, fast, prepare, execute, commit } = await made();
    await prepare();
    await execute();
    const to = { scope: fast.scope, name: "c" };
    await during(cluster, images.migrations.prepare("child", to));
    await expect(commit()).rejects.toMatchObject({
      code: "busy",
      message: expect.stringMatching(/rbd\/child is being migrated/),
    });
    expect(await contents(client, "grandchild")).toEqual(shown.grandchild);
    await during(cluster, fast.migrations.execute("c"));
    await during(cluster, fast.migrations.commit("c"));
    expect(await parentOf(client, "grandchild")).toBe("fast/c@cs");
    await commit();
    expect(await contents(client, "grandchild")).toEqual(shown.grandchild);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("is not committed while a clone of it is being flattened", async () => {
    const { cluster, client, images, prepare, execute, commit } = await made();
    await prepare();
    await execute();
    const user = cluster.client();
    const guest = await openLocked(user.images, "child");
    user.io.deliver({ type: "device", device: guest.handle, state: "wanted" });
    await cluster.pass(0);
    let refused: Promise<unknown> | undefined;
    user.io.duringFlatten = () => {
      refused ??= commit().catch((thrown: unknown) => thrown);
    };
    await during(cluster, images.clones.flatten("child"));
    await expect(refused).resolves.toMatchObject({
      code: "busy",
      message: expect.stringMatching(/being flattened/),
    });
    await commit();
    await check(client);
    await during(cluster, guest.close());
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("is refused where the new image is to be one that can't have clones", async () => {
    const { images, to } = await made();
    const refused = images.migrations.prepare("base", to, { features: ["exclusive-lock"] });
    await expect(refused).rejects.toMatchObject({ code: "invalid_argument" });
    expect(await images.migrations.info("base")).toBeUndefined();
  });

  it("gets no clones in the middle of an abort, can be used, and be committed after all", async () => {
    const { cluster, client, images, fast, prepare, execute, commit } = await made();
    await prepare();
    await execute();
    await fast.clones.create("moved", "t", { scope: images.scope, name: "late" });
    for (let death = 0; ; death += 1) {
      const dying = cluster.client((operation) => (operation === death ? "before" : undefined));
      await during(
        cluster,
        dying
          .inPool("fast")
          .migrations.abort("moved")
          .catch(() => undefined),
      );
      const { state } = (await fast.migrations.info("moved")) ?? {};
      if (state === "aborting") break;
      expect(state, `died before ${death}`).toBe("executed");
    }
    const cloning = fast.clones.create("moved", "t", { scope: images.scope, name: "later" });
    await expect(cloning).rejects.toMatchObject({ code: "busy" });
    await expect(commit()).rejects.toMatchObject({ code: "busy" });
    expect(await contents(client, "moved", undefined, fast)).toEqual(objects.map(() => "later"));
    await execute();
    await commit();
    await check(client);
    expect(await parentOf(client, "late")).toBe("fast/moved@t");
    expect(violations(cluster.pool)).toEqual([]);
  });
});

describe("the end of a migration that was cut off anywhere", () => {
  it.each([
    ["commit", "commit"],
    ["commit", "abort"],
    ["abort", "abort"],
    ["abort", "commit"],
  ] as const)("leaves clones that show what they did: %s, then %s", async (first, second) => {
    const outcomes = new Set<string>();
    for (let death = 0; ; death += 1) {
      const world = await made();
      const { cluster, client, images, fast, prepare, execute } = world;
      await prepare();
      await execute();
      const late = { scope: images.scope, name: "late" };
      await fast.clones.create("moved", "t", late);
      const dying = cluster.client((operation) => (operation === death ? "after" : undefined));
      await during(
        cluster,
        dying
          .inPool("fast")
          .migrations[first]("moved")
          .catch(() => undefined),
      );
      const where = `died after ${death}`;
      await check(client);
      expect(await contents(client, "late"), where).toEqual(objects.map(() => "later"));
      if (!dying.io.dead) break;
      // Whatever is refused has a way on: an abort back to the commit, and the other way round.
      const done = await world[second]().then(
        () => second,
        () => undefined,
      );

      if (done === undefined) {
        await execute().catch(() => undefined);
        await world[first]().catch(() => undefined);
      }
      outcomes.add(String(done));
      await check(client);
      expect(await contents(client, "late"), where).toEqual(objects.map(() => "later"));
      cluster.wallMs += pendingStaleMs + 1;
      await during(cluster, images.create("other", 512));
      await during(cluster, images.remove("other"));
      await during(cluster, fast.clearStale(["removing"]));
      // Whoever takes a clone's lock next clears away what it has left to do there.
      for (const name of ["child", "late"]) {
        await during(cluster, images.features.disable(name, ["fast-diff"]));
      }
      expect(violations(cluster.pool), where).toEqual([]);
      const names = [...(await images.list()), ...(await fast.list())].map(({ name }) => name);
      expect(
        names.filter((name) => name === "base" || name === "moved"),
        where,
      ).toHaveLength(1);
    }
    expect(outcomes).toContain(second);
  });
});

describe("two clients that end a migration in different ways", () => {
  it.each([
    ["commit", "abort"],
    ["abort", "commit"],
  ] as const)("agree on one: %s, and %s in the middle of it", async (first, second) => {
    const refused = new Set<string>();
    for (let at = 0; ; at += 1) {
      const { cluster, client, images, fast, prepare, execute, ...verbs } = await made();
      await prepare();
      await execute();
      await fast.clones.create("moved", "t", { scope: images.scope, name: "late" });
      const slow = cluster.client();
      const operate = slow.io.operate.bind(slow.io);
      let count = 0;
      let between: Promise<string> | undefined;
      slow.io.operate = async (...operation) => {
        if (count++ === at) {
          between = verbs[second]().then(
            () => "done",
            (thrown: { code: string }) => thrown.code,
          );
          await between;
        }
        return operate(...operation);
      };
      const { migrations } = slow.inPool("fast");
      await during(
        cluster,
        migrations[first]("moved").catch(() => undefined),
      );
      if (between === undefined) break;
      refused.add(await between);
      const where = `in front of ${at}: ${await between}`;
      await check(client);
      expect(await contents(client, "late"), where).toEqual(objects.map(() => "later"));
      // Whatever has been decided can be carried through.
      for (const verb of ["commit", "abort"] as const) await verbs[verb]().catch(() => undefined);
      const named = [...(await images.list()), ...(await fast.list())].map(({ name }) => name);
      expect(
        named.filter((name) => name === "base" || name === "moved"),
        where,
      ).toHaveLength(1);
      await check(client);
      expect(await contents(client, "late"), where).toEqual(objects.map(() => "later"));
    }
    expect(refused).toContain("done");
    expect(refused).toContain("busy");
  });
});
