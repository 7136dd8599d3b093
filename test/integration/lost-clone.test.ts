// Headers that are damaged for real, of a clone and of a parent: both are removed, and the other
// one's books are mended by the verbs that meet it.
import { expect, it } from "vitest";
import type { ClusterClient, Images } from "../../client/index.js";
import { cairn, cairnJson } from "./support.js";
import { testCluster } from "./test-cluster.js";

let client: ClusterClient;
let images: Images<ClusterClient["io"]>;

const { dir } = testCluster("lost-clone", (made) => {
  ({ client, images } = made);
});

async function damage(image: string, key: string): Promise<void> {
  const { id } = await images.info(image);
  const value = Uint8Array.of(0xff, 0xee);
  await client.io.operate(images.poolId, `rbd_header.${id}`, [{ code: "omapSet", key, value }]);
  const { code, stderr } = await cairn(dir, "info", `rbd/${image}`);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/`cairn rm` removes what is left/);
}

/** golden@s with the clones a and b */
async function family(golden: string): Promise<void> {
  await cairnJson(dir, "create", `rbd/${golden}`, "--size", "8M");
  await cairnJson(dir, "snap", "create", `rbd/${golden}@s`);
  for (const clone of ["a", "b"]) {
    await cairnJson(dir, "clone", `rbd/${golden}@s`, `rbd/${golden}-${clone}`);
  }
}

it("a clone that can't tell whose it was", { timeout: 120_000 }, async () => {
  await family("g1");
  await damage("g1-a", "parent");
  await cairnJson(dir, "rm", "rbd/g1-a", "--no-progress");
  const counts = async () => (await images.snapshots.list("g1")).map(({ children }) => children);
  expect(await counts(), "it is lost").toEqual([2]);
  expect(await cairnJson(dir, "children", "rbd/g1")).toMatchObject([{ name: "g1-b" }]);
  expect(await counts()).toEqual([1]);

  await damage("g1-b", "parent");
  await cairnJson(dir, "rm", "rbd/g1-b", "--no-progress");
  expect(await counts()).toEqual([1]);
  await cairnJson(dir, "snap", "rm", "rbd/g1@s", "--no-progress");
  expect(await images.snapshots.list("g1", { all: true })).toEqual([]);
  await cairnJson(dir, "rm", "rbd/g1", "--no-progress");
});

it("a parent that can't tell who its clones are", { timeout: 120_000 }, async () => {
  await family("g2");
  await damage("g2", "size");
  const refused = await cairn(dir, "rm", "rbd/g2", "--no-progress");
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/has 2 clones/) });
  for (const clone of ["a", "b"]) {
    await cairnJson(dir, "rm", `rbd/g2-${clone}`, "--no-progress");
  }
  await cairnJson(dir, "rm", "rbd/g2", "--no-progress");
  expect(await images.scope.directory.names()).toEqual([]);
});
