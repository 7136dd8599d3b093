// Thick provisioning on a real cluster: the space that it takes and what gives that back, what is
// refused, and a client that is stopped or killed in its middle.
import { expect, it } from "vitest";
import { type ClusterClient, Image, Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { cairn, cairnJson, spawnCairn } from "./support.js";
import { testCluster } from "./test-cluster.js";

const ports = { clock: systemClock, random: systemRandom };
const mebibyte = 2 ** 20;
const sizeBytes = 128 * mebibyte;
const thick = ["--thick-provision", "--no-progress"];

let client: ClusterClient;
let images: Images<ClusterClient["io"]>;

const { dir } = testCluster("thick", (made) => {
  ({ client, images } = made);
});

/** As `cairn du` has it. */
async function usedBytes(image: string): Promise<number> {
  const usage = await cairnJson<{ totalUsedBytes: number }>(dir, "du", `rbd/${image}`);
  return usage.totalUsedBytes;
}

/** What each OSD has said last. */
async function osdsUse(): Promise<number[]> {
  const rows = await cairnJson<{ usedBytes: number }[]>(dir, "osd", "df");
  return rows.map((row) => row.usedBytes);
}

async function maxAvailBytes(): Promise<number> {
  const { pools } = await cairnJson<{ pools: { maxAvailBytes: number }[] }>(dir, "df");
  return pools[0]?.maxAvailBytes ?? 0;
}

/** The data objects of an image, whether it has a header or not. */
async function objectsOf(id: string): Promise<number> {
  const { io } = client;
  const handle = io.openImage({
    ...{
      pool: images.poolId,
      objectPrefix: `rbd_data.${id}`,
      sizeBytes,
      objectBytes: 4 * mebibyte,
    },
    readOnly: true,
  });
  try {
    return (await io.measureImage(handle, 0)).objects;
  } finally {
    io.closeDevice(handle);
  }
}

it("takes the whole size on all OSDs; zeros written later leave it so", {
  timeout: 120_000,
}, async () => {
  const before = await osdsUse();
  const info = await cairnJson<{ sizeBytes: number }>(
    ...[dir, "create", "rbd/thick", "--size", "128M", ...thick],
  );
  expect(info.sizeBytes).toBe(sizeBytes);
  expect(await usedBytes("thick")).toBe(sizeBytes);
  const grown = async () => (await osdsUse()).map((bytes, osd) => bytes - (before[osd] ?? 0));
  await expect
    .poll(async () => Math.min(...(await grown())), { timeout: 30_000 })
    .toBeGreaterThanOrEqual(sizeBytes);
  expect(Math.max(...(await grown()))).toBeLessThan(sizeBytes * 1.25);

  const image = await Image.open(client, ports, "rbd/thick");
  expect(Buffer.from(await image.read(0, mebibyte)).equals(Buffer.alloc(mebibyte))).toBe(true);
  for (let at = 0; at < 16 * mebibyte; at += mebibyte) {
    await image.write(at, Buffer.alloc(mebibyte, at % (2 * mebibyte)));
  }
  expect(await usedBytes("thick")).toBe(sizeBytes);
  await image.discard(4 * mebibyte, 8 * mebibyte);
  expect(await usedBytes("thick")).toBe(sizeBytes - 8 * mebibyte);
  await image.close();
  const { code } = await cairn(dir, "rm", "rbd/thick");
  expect(code).toBe(0);
});

it("striped, with a last block that is one in part", { timeout: 60_000 }, async () => {
  const layout = ["--object-size", "1M", "--stripe-unit", "64K", "--stripe-count", "3"];
  const oddBytes = 10 * mebibyte + 1536;
  const args = ["--size", String(oddBytes), ...layout, ...thick];
  await cairnJson(dir, "create", "rbd/striped", ...args);
  const image = await Image.open(client, ports, "rbd/striped", { readOnly: true });
  const found = [];
  for await (const extent of image.diff()) found.push(extent);
  expect(found).toEqual([{ offset: 0, length: oddBytes, state: "data" }]);
  await image.close();
});

/** What OSDs report of their space comes some seconds late. */
async function settledAvailBytes(): Promise<number> {
  for (let before = await maxAvailBytes(); ; ) {
    await new Promise((resolve) => setTimeout(resolve, 5000));
    const now = await maxAvailBytes();
    if (now === before) return now;
    before = now;
  }
}

it("is refused when the pool has not so much left, or is to be thin as well", {
  timeout: 60_000,
}, async () => {
  const freeBytes = await settledAvailBytes();
  expect(freeBytes).toBeGreaterThan(2048 * mebibyte);
  // Less than the pool could hold were it empty, and more than it has.
  const size = String(Math.ceil(freeBytes / mebibyte) * mebibyte + mebibyte);
  for (const bytes of [size, "1T"]) {
    const refused = await cairn(dir, "create", "rbd/big", "--size", bytes, ...thick);
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/rbd has .* left, and .* are wanted\n.*cairn df/s),
    });
  }
  const both = await cairn(dir, "create", "rbd/big", "-s", "1M", ...thick, "--thin-overcommit");
  expect(both).toMatchObject({ code: 2, stderr: expect.stringMatching(/cannot be used with/) });
  expect(await images.pending()).toEqual([]);
  expect(await images.list()).toHaveLength(1);
});

it("stopped by Ctrl-C, it takes away what it has written", { timeout: 120_000 }, async () => {
  const child = spawnCairn(dir, "create", "rbd/stopped", "--size", "2G", ...thick);
  const ended = new Promise((resolve) => child.on("exit", resolve));
  await expect.poll(() => images.pending(), { timeout: 30_000 }).toHaveLength(1);
  const [entry] = await images.pending();
  const id = entry?.id ?? "";
  await expect.poll(() => objectsOf(id), { timeout: 30_000 }).toBeGreaterThan(0);
  child.kill("SIGINT");
  expect(await ended).toBe(1);
  expect(await images.pending()).toEqual([]);
  expect(await objectsOf(id)).toBe(0);
});

it("killed at any moment, the next command that meets it clears it away", {
  timeout: 300_000,
}, async () => {
  const ids: string[] = [];
  for (let round = 0; round < 6; round += 1) {
    const child = spawnCairn(dir, "create", `rbd/killed${round}`, "--size", "1G", ...thick);
    const ended = new Promise((resolve) => child.on("exit", resolve));
    const known = ids.length;
    await expect.poll(() => images.pending(), { timeout: 30_000 }).toHaveLength(known + 1);
    ids.push(...(await images.pending()).map(({ id }) => id).filter((id) => !ids.includes(id)));
    await new Promise((resolve) => setTimeout(resolve, round * 60));
    child.kill("SIGKILL");
    await ended;
    // One that had just ended has its name.
    expect(await images.pending()).toHaveLength(known + 1);
  }
  const left = await Promise.all(ids.map(objectsOf));
  expect(Math.max(...left)).toBeGreaterThan(0);
  expect((await images.list()).map(({ name }) => name)).toEqual(["striped"]);
  // By this clock what the killed were making is long left over.
  const clock = { ...systemClock, wallMs: () => systemClock.wallMs() + 600_000 };
  const later = new Images(client, "rbd", { ...ports, clock });
  await later.create("next", 4 * mebibyte, { thickProvision: true });
  expect(await images.pending()).toEqual([]);
  expect(await Promise.all(ids.map(objectsOf))).toEqual(ids.map(() => 0));
});
