// What the tests of this folder share: qemu-img as the outside oracle, and the content of a disk
// put together in JavaScript from its map. Test code: the product never reads payload this way.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inflateRawSync } from "node:zlib";
import { assert } from "../common/assert.js";
import { ImageChain, type Layer } from "./chain.js";
import { hasData, type MapExtent, map } from "./map.js";

/** A folder under the system's temporary one; remove() deletes it. */
export class TestFolder {
  readonly path = mkdtempSync(join(tmpdir(), "cairn-qcow2-"));

  file(name: string): string {
    return join(this.path, name);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Runs a QEMU tool. @throws with its standard error when it fails */
export function qemu(tool: "qemu-img" | "qemu-io", ...parts: string[]): string {
  return execFileSync(tool, parts, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Runs qemu-io commands on an image. */
export function qemuIo(path: string, format: string, commands: readonly string[]): void {
  const parts = commands.flatMap((command) => ["-c", command]);
  const output = qemu("qemu-io", "-f", format, ...parts, path);
  assert(!/failed|error/i.test(output), output);
}

export async function mapOf(path: string, format?: "raw" | "qcow2"): Promise<MapExtent[]> {
  const chain = await ImageChain.open(path, format);
  try {
    return await collect(chain);
  } finally {
    await chain.close();
  }
}

export async function collect(chain: ImageChain): Promise<MapExtent[]> {
  const extents: MapExtent[] = [];
  for await (const extent of map(chain)) extents.push(extent);
  return extents;
}

/** The content of the disk that the image describes, or a snapshot in it; zlib clusters too. */
export async function contentOf(path: string, snapshot?: string): Promise<Buffer> {
  const chain = await ImageChain.open(path, undefined, undefined, snapshot);
  try {
    const disk = Buffer.alloc(chain.sizeBytes);
    let position = 0;
    for (const extent of await collect(chain)) {
      assert(extent.guestOffset === position && extent.lengthBytes > 0, "a gap in the map");
      position += extent.lengthBytes;
      const content = await extentContent(chain.layers, extent);
      content?.copy(disk, extent.guestOffset);
    }
    assert(position === disk.length, "the map ends early");
    return disk;
  } finally {
    await chain.close();
  }
}

async function extentContent(
  layers: readonly Layer[],
  extent: MapExtent,
): Promise<Buffer | undefined> {
  if (!hasData(extent)) return undefined;
  const source = layers[extent.source]?.source;
  assert(source !== undefined, "the extent names no file");
  if (extent.kind === "data") return await source.read(extent.hostOffset, extent.lengthBytes);
  assert(extent.kind === "zlib", "Node 20 knows no zstd: the native tests cover it");
  const compressed = await source.read(extent.hostOffset, extent.compressedBytes);
  const cluster = inflateRawSync(compressed, { maxOutputLength: extent.clusterBytes });
  return cluster.subarray(extent.clusterOffset, extent.clusterOffset + extent.lengthBytes);
}

/** A seeded generator of 32-bit numbers (mulberry32), so that a failing seed can be run again. */
export function seededRandom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
