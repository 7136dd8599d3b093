// The golden images of test/golden/qcow2: the map must be qemu-img's, byte for byte.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { ImageChain } from "./chain.js";
import { check } from "./check.js";
import { Qcow2Image } from "./image.js";
import { hasData, type MapExtent } from "./map.js";
import { readSnapshots } from "./snapshots.js";
import { FileSource } from "./source.js";
import { collect, contentOf, mapOf } from "./testing.js";

const golden = join(dirname(fileURLToPath(import.meta.url)), "../test/golden/qcow2");

/** An entry of `qemu-img map --output=json`. */
interface QemuExtent {
  start: number;
  length: number;
  depth: number;
  zero: boolean;
  data: boolean;
  /** missing: compressed, or no data */
  offset?: number;
}

/** Our extent in QEMU's terms; its depth is only meant for data. */
function inQemuTerms(extent: MapExtent): Omit<QemuExtent, "start" | "length"> {
  if (!hasData(extent)) return { depth: 0, zero: true, data: false };
  const place = { depth: extent.source, zero: false, data: true };
  return extent.kind === "data" ? { ...place, offset: extent.hostOffset } : place;
}

/** What both say of each sector. */
function bySector(entries: QemuExtent[]): string[] {
  return entries.flatMap(({ length, depth, zero, data, offset }) =>
    Array.from({ length: length / 512 }, (_, index) => {
      const place = offset === undefined ? "" : offset + index * 512;
      return data ? `data ${depth} ${place}` : `zero ${zero}`;
    }),
  );
}

const names = ["v2", "small-clusters", "zlib", "zstd", "snapshot", "overlay"];
const hashes = new Map(
  readFileSync(join(golden, "content.sha256"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => line.split("  ").reverse() as [string, string]),
);

describe.each(names)("%s", (name) => {
  const path = join(golden, `${name}.qcow2`);

  it("has QEMU's map", async () => {
    const theirs = JSON.parse(readFileSync(join(golden, `${name}.map.json`), "utf8"));
    const ours = (await mapOf(path)).map((extent) => ({
      start: extent.guestOffset,
      length: extent.lengthBytes,
      ...inQemuTerms(extent),
    }));
    expect(bySector(ours)).toEqual(bySector(theirs));
  });

  it("is consistent", async () => {
    const source = await FileSource.open(path);
    expect(await check(source)).toMatchObject({ leaks: 0, corruptions: 0, problems: [] });
    await source.close();
  });
});

// Node 20 has no zstd; the native test reads that image's content.
it.each(names.filter((name) => name !== "zstd"))("%s has QEMU's content", async (name) => {
  const content = await contentOf(join(golden, `${name}.qcow2`));
  const hash = createHash("sha256").update(content).digest("hex");
  expect(hash).toBe(hashes.get(`${name}.qcow2`));
});

describe("details", () => {
  it("reads every header field of version 3", async () => {
    const source = await FileSource.open(join(golden, "zstd.qcow2"));
    const { header } = await Qcow2Image.open(source);
    await source.close();
    expect(header).toMatchObject({
      version: 3,
      clusterBytes: 4096,
      sizeBytes: 65_536,
      cryptMethod: 0,
      l1Entries: 1,
      refcountTableOffset: 4096,
      snapshotCount: 0,
      incompatibleFeatures: 8n,
      compatibleFeatures: 0n,
      refcountOrder: 4,
      headerLength: 112,
      compression: "zstd",
      extendedL2: false,
      backingFile: undefined,
    });
  });

  it("lists the snapshots", async () => {
    const source = await FileSource.open(join(golden, "snapshot.qcow2"));
    const snapshots = await readSnapshots(await Qcow2Image.open(source));
    await source.close();
    expect(snapshots.map(({ id, name }) => [id, name])).toEqual([
      ["1", "before"],
      ["2", "zweiter Stand"],
    ]);
    expect(snapshots[0]).toMatchObject({ vmStateBytes: 0n, diskSizeBytes: 65_536n, l1Entries: 2 });
    expect(snapshots[0]?.takenMs).toBeGreaterThan(1.6e12);
  });

  it("opens the backing file beside the image that names it", async () => {
    const chain = await ImageChain.open(join(golden, "overlay.qcow2"));
    expect(chain.layers.map(({ format }) => format)).toEqual(["qcow2", "raw"]);
    expect(chain.fds.every((fd) => fd > 2)).toBe(true);
    expect((await collect(chain)).map(({ kind }) => kind)).toEqual([
      "data",
      "data",
      "zero",
      "data",
      "absent",
    ]);
    await chain.close();
  });
});
