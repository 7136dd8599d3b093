// Damaged images: bytes of good ones changed at random (seeded), and images cut at random places.
// Whatever the damage, opening, mapping, listing and checking end soon, with a result or a
// StorageError, and every extent lies inside the disk and the file.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { StorageError } from "../common/errors.js";
import { ImageChain } from "./chain.js";
import { check } from "./check.js";
import { Qcow2Image } from "./image.js";
import { hasData, map } from "./map.js";
import { openSnapshot, readSnapshots } from "./snapshots.js";
import { MemorySource } from "./source.js";
import { seededRandom } from "./testing.js";

const golden = join(dirname(fileURLToPath(import.meta.url)), "../test/golden/qcow2");
const mutationsPerImage = 500;

/** Changes up to 8 bytes, mostly in the header and the tables behind it. */
function mutate(original: Buffer, random: (below: number) => number): Buffer {
  const bytes = Buffer.from(original);
  const changes = 1 + random(8);
  for (let i = 0; i < changes; i++) {
    const end = [72, 112, 1024, bytes.length][random(4)] ?? bytes.length;
    const at = random(Math.min(end, bytes.length));
    const old = bytes.readUInt8(at);
    bytes.writeUInt8([random(256), 0, 0xff, old ^ (1 << random(8))][random(4)] ?? 0, at);
  }
  return random(4) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes;
}

/** Throws on anything but a StorageError. */
async function attempt(work: () => Promise<void>): Promise<"done" | "refused"> {
  try {
    await work();
    return "done";
  } catch (error) {
    if (error instanceof StorageError) return "refused";
    throw error;
  }
}

async function mapAll(source: MemorySource): Promise<void> {
  const image = await Qcow2Image.open(source);
  await mapImage(source, image);
  for (const { id } of (await readSnapshots(image)).slice(0, 4)) {
    await mapImage(source, (await openSnapshot(image, id)).image);
  }
}

async function mapImage(source: MemorySource, image: Qcow2Image): Promise<void> {
  const { sizeBytes, clusterBytes } = image.header;
  const chain = new ImageChain([{ format: "qcow2", source, image, sizeBytes }]);
  let position = 0;
  for await (const extent of map(chain)) {
    expect(extent.guestOffset).toBe(position);
    expect(extent.lengthBytes).toBeGreaterThan(0);
    position += extent.lengthBytes;
    if (!hasData(extent)) continue;
    const inFile = extent.kind === "data" ? extent.lengthBytes : extent.compressedBytes;
    expect(inFile).toBeGreaterThan(0);
    expect(extent.hostOffset + inFile).toBeLessThanOrEqual(source.sizeBytes);
    if (extent.kind === "data") continue;
    expect(extent.clusterBytes).toBe(clusterBytes);
    expect(extent.clusterOffset + extent.lengthBytes).toBeLessThanOrEqual(clusterBytes);
  }
  expect(position).toBe(sizeBytes);
}

describe.each(["v2", "small-clusters", "zlib", "snapshot"])("damaged %s", (name) => {
  it(`${mutationsPerImage} mutations`, async () => {
    const original = readFileSync(join(golden, `${name}.qcow2`));
    const outcomes = { done: 0, refused: 0 };
    for (let seed = 1; seed <= mutationsPerImage; seed++) {
      const bytes = mutate(original, seededRandom(seed));
      const source = new MemorySource(`seed ${seed}`, bytes);
      const started = performance.now();
      try {
        outcomes[await attempt(() => mapAll(source))]++;
        await attempt(async () => void (await check(source)));
      } catch (error) {
        throw new Error(`${name}, seed ${seed}`, { cause: error });
      }
      expect(performance.now() - started, `time of seed ${seed}`).toBeLessThan(5000);
    }
    // Both must happen, or the mutations are too mild or too wild.
    expect(outcomes.done).toBeGreaterThan(mutationsPerImage / 20);
    expect(outcomes.refused).toBeGreaterThan(mutationsPerImage / 20);
  });
});
