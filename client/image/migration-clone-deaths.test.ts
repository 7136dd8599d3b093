// Migrations of images with clones that are cut off, or ended in two ways at once.
import { describe, expect, it } from "vitest";
import { violations } from "../testing/invariants.js";
import { check, contents, during, made, objects } from "../testing/migration-world.js";
import { pendingStaleMs } from "./making.js";

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

  it("counts no clone that went in the middle of its end", async () => {
    for (let death = 0; ; death += 1) {
      const { cluster, images, fast, prepare, execute, commit } = await made();
      await prepare();
      await execute();
      const dying = cluster.client((operation) => (operation === death ? "after" : undefined));
      await during(
        cluster,
        dying
          .inPool("fast")
          .migrations.commit("moved")
          .catch(() => undefined),
      );
      if (!dying.io.dead) break;
      await during(cluster, images.clones.flatten("child"));
      await during(cluster, images.remove("grandchild"));
      await during(cluster, images.snapshots.purge("child"));
      await during(cluster, images.remove("child"));
      await commit().catch(() => undefined);
      cluster.wallMs += pendingStaleMs + 1;
      await during(cluster, images.clearStale(["removing"]));
      const left = await fast.snapshots.list("moved");
      const where = `died after ${death}`;
      expect(
        left.map(({ children }) => children),
        where,
      ).toEqual([0, 0]);
      expect(violations(cluster.pool), where).toEqual([]);
    }
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
