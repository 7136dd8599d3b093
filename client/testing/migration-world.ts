// What tests of migrations with clones begin with: `base` with a clone, and a clone of that.
import { expect } from "vitest";
import type { Images } from "../image/images.js";
import { type FakeClient, FakeCluster } from "./fake-cluster.js";

const mebibyte = 2 ** 20;
export const objectBytes = 4 * mebibyte;
const sizeBytes = 16 * mebibyte;

export const shown = {
  child: ["own", "base", "base", undefined],
  grandchild: ["own", "base", "newest", undefined],
};

/** Lets time pass until something that takes some has ended. */
export async function during<T>(cluster: FakeCluster, work: Promise<T>): Promise<T> {
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
export async function made() {
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

export const objects = [0, 1, 2, 3].map((number) => number * objectBytes);

export async function contents(
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

export async function check(client: FakeClient): Promise<void> {
  expect(await contents(client, "child")).toEqual(shown.child);
  expect(await contents(client, "child", "cs")).toEqual(shown.child);
  expect(await contents(client, "grandchild")).toEqual(shown.grandchild);
}

export async function parentOf({ images }: FakeClient, name: string): Promise<string> {
  const found = await images.clones.parent(name);
  return `${found?.pool}/${found?.name}@${found?.snapshot}`;
}
