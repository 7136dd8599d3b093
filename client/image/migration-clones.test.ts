// Migrations of images that have clones: what these and theirs show at every moment, whoever has
// them open, and whose children they are.
import { describe, expect, it } from "vitest";
import { StorageError } from "../../common/errors.js";
import { violations } from "../testing/invariants.js";
import {
  check,
  contents,
  during,
  made,
  objectBytes,
  objects,
  parentOf,
  shown,
} from "../testing/migration-world.js";
import { makeChange } from "./exclusive.js";
import { headerObject } from "./header.js";
import type { Images } from "./images.js";
import { pendingStaleMs } from "./making.js";
import { openLocked } from "./open-locked.js";
import { openReader } from "./open-reader.js";

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

  it("has them again when that is undone, with those that its target has got", async () => {
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

  it("keeps what its clones need of removed snapshots, until they need it no more", async () => {
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
      const { id } = await images.snapshots.info("base", "s");
      await images.snapshots.remove("base", "s");
      await prepare();
      await images.clones.flatten("child");
      await during(cluster, images.snapshots.remove("base", { id }));
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

  it("is not held by a clone that is lost, and is by one that has lost its header", async () => {
    const { cluster, client, images, prepare, execute, commit } = await made();
    const { scope } = images;
    const { id } = await images.clones.create("base", "t", { scope, name: "lost" });
    cluster.pool.objects.get(headerObject(id))?.set("parent", Uint8Array.of(0xff));
    await images.remove("lost");
    const headless = await images.clones.create("base", "t", { scope, name: "headless" });
    const object = headerObject(headless.id);
    const header = cluster.pool.objects.get(object);
    cluster.pool.objects.delete(object);
    await prepare();
    await execute();
    await expect(commit()).rejects.toMatchObject({ code: "corrupt" });
    expect(await images.migrations.info("base")).toBeDefined();
    cluster.pool.objects.set(object, header ?? new Map());
    await commit();
    await check(client);
    expect(await parentOf(client, "headless")).toBe("fast/moved@t");
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("may be in use itself all the while", async () => {
    const { cluster, client, images, fast, prepare, execute, commit } = await made();
    await images.snapshots.remove("base", "s");
    const user = cluster.client();
    const guest = await openLocked(user.images, "base");
    user.io.deliver({ type: "device", device: guest.handle, state: "wanted" });
    await cluster.pass(0);
    await prepare();
    user.io.fill(guest.handle, 0, objectBytes, "guest");
    await images.clones.flatten("child");
    await execute();
    await fast.clones.create("moved", "t", { scope: images.scope, name: "late" });
    await commit();
    user.io.fill(guest.handle, objectBytes, objectBytes, "guest");
    await check(client);
    expect(await contents(client, "late")).toEqual(objects.map(() => "later"));
    const now = ["guest", "guest", "later", "later"];
    expect(await contents(client, "moved", undefined, fast)).toEqual(now);
    const left = await fast.snapshots.list("moved", { all: true });
    expect(left).toMatchObject([{ name: "t", children: 1 }]);
    await during(cluster, guest.close());
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("keeps a snapshot that is removed from its target while clones need it", async () => {
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

  it("stays until all who read a clone of it follow", async () => {
    const { cluster, client, images, fast, prepare, execute, commit } = await made();
    await prepare();
    await execute();
    const deaf = cluster.client();
    const reader = await openReader(deaf.images, "grandchild");
    deaf.io.operate = () => Promise.reject(new StorageError("io_error", "unreadable"));
    for (const _ of ["once", "and again"]) {
      const refused = expect(fast.migrations.commit("moved")).rejects.toMatchObject({
        code: "timed_out",
      });
      await cluster.pass(200_000);
      await refused;
      expect(await images.migrations.info("base")).toMatchObject({ side: "source" });
      expect(objects.map((at) => deaf.io.contentAt(reader.handle, at))).toEqual(shown.grandchild);
    }
    await reader.close();
    await commit();
    await check(client);
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("is not committed while one is just being made; a dead maker is not waited for", async () => {
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

  it("is not committed while a clone is migrated itself, and is afterwards", async () => {
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

  it("gets no clones in the middle of an abort, and can be committed after all", async () => {
    const { cluster, client, images, fast, prepare, execute, commit } = await made();
    await prepare();
    await execute();
    await fast.clones.create("moved", "t", { scope: images.scope, name: "late" });
    // What a commit does that has not heard of the abort.
    const joinTarget = async () => {
      const refOf = async (of: Images, name: string) => ({
        ...of.scope.refOf(await of.scope.idOf(name)),
        snapId: (await of.snapshots.info(name, "s")).id,
      });
      const [from, to] = [await refOf(images, "base"), await refOf(fast, "moved")];
      const child = await images.scope.idOf("child");
      await during(cluster, makeChange(images.scope, child, { kind: "relink", from, to }));
    };
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
    await expect(joinTarget()).rejects.toMatchObject({ code: "busy" });
    expect(await contents(client, "moved", undefined, fast)).toEqual(objects.map(() => "later"));
    await execute();
    await commit();
    await check(client);
    expect(await parentOf(client, "late")).toBe("fast/moved@t");
    expect(violations(cluster.pool)).toEqual([]);
  });
});
