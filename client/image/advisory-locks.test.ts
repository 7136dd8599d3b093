// Advisory locks: which exclude each other, who may be told to have one, and that nothing else
// takes notice of them.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { maxAdvisoryLocks } from "./advisory-lock-record.js";
import { openLocked } from "./open-locked.js";

async function made() {
  const cluster = new FakeCluster();
  const [one, other] = [cluster.client(), cluster.client()];
  await one.images.create("a", 2 ** 24);
  return { cluster, one, other, mine: one.images.locks, theirs: other.images.locks };
}

describe("advisory locks", () => {
  it("of one kind exclude all others, until they are taken away", async () => {
    const { one, mine, theirs } = await made();
    const lock = await mine.add("a", "backup");
    expect(lock.client).toBe(String(one.images.scope.cluster.clientId));
    for (const tag of [undefined, "readers"]) {
      await expect(theirs.add("a", "mine", tag)).rejects.toMatchObject({
        code: "busy",
        remedy: expect.stringContaining(`cairn lock rm POOL/IMAGE backup client.${lock.client}`),
      });
    }
    expect(await theirs.list("a")).toEqual({ locks: [lock] });
    expect(await theirs.remove("a", "backup")).toEqual(lock);
    expect(await mine.list("a")).toBeUndefined();
    await theirs.add("a", "mine");
  });

  it("with a tag are shared with those of the same tag only", async () => {
    const { mine, theirs } = await made();
    await mine.add("a", "r", "readers");
    await theirs.add("a", "r", "readers");
    for (const tag of [undefined, "writers"]) {
      await expect(theirs.add("a", "x", tag)).rejects.toMatchObject({ code: "busy" });
    }
    const found = await mine.list("a");
    expect(found?.tag).toBe("readers");
    await expect(mine.remove("a", "r")).rejects.toMatchObject({ code: "busy" });
    await expect(mine.remove("a", "r", "77")).rejects.toMatchObject({ code: "not_found" });
    await mine.remove("a", "r", found?.locks[1]?.client);
    expect((await mine.list("a"))?.locks).toEqual([found?.locks[0]]);
    await mine.remove("a", "r");
    await mine.add("a", "x");
  });

  it("of two that come at once, one is had", async () => {
    const { mine, theirs } = await made();
    const both = await Promise.allSettled([mine.add("a", "x"), theirs.add("a", "y")]);
    expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect((await mine.list("a"))?.locks).toHaveLength(1);
  });

  it("keep nobody from the image: it is written, renamed and removed", async () => {
    const { cluster, one, mine, theirs } = await made();
    await theirs.add("a", "backup");
    const image = await openLocked(one.images, "a");
    await image.lock.acquire();
    await image.close();
    await one.images.rename("a", "b");
    expect((await mine.list("b"))?.locks).toHaveLength(1);
    await one.images.remove("b");
    expect(violations(cluster.pool)).toEqual([]);
  });

  it("refuse bad names, and more than fit", async () => {
    const { mine } = await made();
    for (const id of ["", "a\nb", "x".repeat(129)]) {
      await expect(mine.add("a", id)).rejects.toMatchObject({ code: "invalid_argument" });
    }
    await expect(mine.add("a", "x", "\u0007")).rejects.toMatchObject({ code: "invalid_argument" });
    await expect(mine.add("none", "x")).rejects.toMatchObject({ code: "not_found" });
    for (let at = 0; at < maxAdvisoryLocks; at += 1) await mine.add("a", `r${at}`, "t");
    await expect(mine.add("a", "one-more", "t")).rejects.toMatchObject({ code: "busy" });
  });
});
