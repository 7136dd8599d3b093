// Images made by qemu-img and qemu-io with random writes: what we map must be what qemu-img reads,
// and check() must count what `qemu-img check` counts. Needs Debian's qemu-utils.
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { check } from "./check.js";
import { createQcow2 } from "./create.js";
import { readHeader } from "./header.js";
import { FileSource } from "./source.js";
import { contentOf, mapOf, qemu, qemuIo, seededRandom, TestFolder } from "./testing.js";

const folder = new TestFolder();
afterAll(() => folder.remove());

const mib = 2 ** 20;

/** Random writes, zeroes and discards inside the first sizeBytes. */
function randomCommands(seed: number, sizeBytes: number, count: number): string[] {
  const random = seededRandom(seed);
  const commands: string[] = [];
  for (let i = 0; i < count; i++) {
    const offset = random(sizeBytes / 512) * 512;
    const most = Math.min(sizeBytes - offset, random(4) === 0 ? 2 * mib : 80_000);
    const length = Math.max(512, Math.floor(random(most) / 512) * 512);
    const verb = ["write", "write", "write", "write -z", "write -z -u", "discard"][random(6)];
    const pattern = verb === "write" ? `-P ${random(255) + 1} ` : "";
    commands.push(`${verb} ${pattern}${offset} ${length}`);
  }
  return commands;
}

function expectedContent(path: string): Buffer {
  const raw = folder.file("expected.raw");
  qemu("qemu-img", "convert", "-O", "raw", path, raw);
  return readFileSync(raw);
}

async function ourCheck(path: string) {
  const source = await FileSource.open(path);
  try {
    return await check(source);
  } finally {
    await source.close();
  }
}

interface QemuCheck {
  leaks?: number;
  corruptions?: number;
  "allocated-clusters"?: number;
  "compressed-clusters"?: number;
}

function qemuCheck(path: string): QemuCheck {
  let output: string;
  try {
    output = qemu("qemu-img", "check", "--output=json", path);
  } catch (error) {
    // It exits with 2 or 3 for corruptions and leaks, and prints all the same.
    output = (error as { stdout: string }).stdout;
  }
  return JSON.parse(output) as QemuCheck;
}

async function expectSameAsQemu(path: string): Promise<void> {
  const ours = await contentOf(path);
  expect(ours.equals(expectedContent(path)), `content of ${path}`).toBe(true);
  const counts = await ourCheck(path);
  const theirs = qemuCheck(path);
  expect(counts).toMatchObject({
    leaks: theirs.leaks ?? 0,
    corruptions: theirs.corruptions ?? 0,
    compressedClusters: theirs["compressed-clusters"] ?? 0,
    allocatedClusters: theirs["allocated-clusters"] ?? 0,
  });
}

describe("images with random content", () => {
  const variants: [name: string, options: string][] = [
    ["version 2", "compat=0.10"],
    ["version 3", "compat=1.1"],
    ["512-byte clusters", "cluster_size=512"],
    ["2 MiB clusters", "cluster_size=2M"],
    ["1-bit refcounts", "refcount_bits=1"],
    ["64-bit refcounts", "refcount_bits=64"],
    ["extended L2 entries", "extended_l2=on,cluster_size=64k"],
    ["lazy refcounts", "lazy_refcounts=on"],
    ["preallocated metadata", "preallocation=metadata"],
  ];
  it.each(variants)("%s", async (_name, options) => {
    const path = folder.file("random.qcow2");
    // Not a multiple of most cluster sizes.
    const sizeBytes = 24 * mib + 512 * 3;
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, String(sizeBytes));
    qemuIo(path, "qcow2", randomCommands(options.length, sizeBytes, 60));
    await expectSameAsQemu(path);
  });

  it("compressed clusters, then overwritten in part", async () => {
    const plain = folder.file("plain.qcow2");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", plain, "10M");
    qemuIo(plain, "qcow2", randomCommands(5, 10 * mib, 40));
    for (const clusterSize of ["4k", "64k", "2M"]) {
      const path = folder.file("compressed.qcow2");
      const options = `cluster_size=${clusterSize}`;
      qemu("qemu-img", "convert", "-c", "-O", "qcow2", "-o", options, plain, path);
      expect((await mapOf(path)).some(({ kind }) => kind === "zlib")).toBe(true);
      await expectSameAsQemu(path);
      qemuIo(path, "qcow2", randomCommands(6, 10 * mib, 10));
      await expectSameAsQemu(path);
    }
  });

  it("zstd clusters are mapped as such", async () => {
    const raw = folder.file("text.raw");
    qemu("qemu-img", "create", "-q", "-f", "raw", raw, "4M");
    qemuIo(raw, "raw", ["write -P 7 1M 1M"]);
    const path = folder.file("zstd.qcow2");
    qemu("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", raw, path);
    const extents = (await mapOf(path)).filter(({ kind }) => kind === "zstd");
    expect(extents).toHaveLength(16);
    expect(extents[0]).toMatchObject({ guestOffset: mib, clusterBytes: 65_536, clusterOffset: 0 });
    expect(await ourCheck(path)).toMatchObject({
      leaks: 0,
      corruptions: 0,
      compressedClusters: 16,
    });
  });

  it("snapshots share clusters with the disk", async () => {
    const path = folder.file("snapshots.qcow2");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", path, "8M");
    qemuIo(path, "qcow2", randomCommands(7, 8 * mib, 20));
    qemu("qemu-img", "snapshot", "-c", "first", path);
    qemuIo(path, "qcow2", randomCommands(8, 8 * mib, 20));
    qemu("qemu-img", "snapshot", "-c", "zweiter Stand", path);
    qemuIo(path, "qcow2", randomCommands(9, 8 * mib, 5));
    await expectSameAsQemu(path);
  });

  it.each([
    ["version 2", "compat=0.10", undefined],
    ["version 3, over a backing file", "compat=1.1", "6M"],
    ["extended L2 entries", "extended_l2=on,cluster_size=64k", undefined],
  ])("shows what qemu-img reads of a snapshot: %s", async (_name, options, backing) => {
    const path = folder.file("shown.qcow2");
    const below = folder.file("below.raw");
    qemu("qemu-img", "create", "-q", "-f", "raw", below, backing ?? "1M");
    qemuIo(below, "raw", randomCommands(17, mib, 10));
    const over = backing === undefined ? [] : ["-b", below, "-F", "raw"];
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, ...over, path, "8M");
    qemuIo(path, "qcow2", randomCommands(13, 8 * mib, 20));
    qemu("qemu-img", "snapshot", "-c", "2", path);
    qemuIo(path, "qcow2", randomCommands(14, 8 * mib, 20));
    qemu("qemu-img", "snapshot", "-c", "zweiter Stand", path);
    qemuIo(path, "qcow2", randomCommands(15, 8 * mib, 20));
    const raw = folder.file("shown.raw");
    const contents = new Set<string>();
    // The first one is named like the other one's id: the id counts.
    for (const snapshot of ["1", "2", "zweiter Stand"]) {
      qemu("qemu-img", "convert", "-l", snapshot, "-O", "raw", path, raw);
      const content = await contentOf(path, snapshot);
      expect(content.equals(readFileSync(raw)), `snapshot ${snapshot}`).toBe(true);
      contents.add(content.toString("base64"));
    }
    expect(contents.size).toBe(2);
    await expectSameAsQemu(path);
  });

  it("a snapshot has the size that the disk had then", async () => {
    const path = folder.file("resized.qcow2");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", path, "4M");
    qemuIo(path, "qcow2", randomCommands(16, 4 * mib, 10));
    const before = expectedContent(path);
    qemu("qemu-img", "snapshot", "-c", "small", path);
    qemu("qemu-img", "resize", "-q", path, "1G");
    qemuIo(path, "qcow2", ["write -P 9 900M 1M"]);
    expect((await contentOf(path, "small")).equals(before)).toBe(true);
  });

  it("backing files: other cluster sizes, shorter, raw, and compressed below", async () => {
    const base = folder.file("base.raw");
    qemu("qemu-img", "create", "-q", "-f", "raw", base, "5M");
    qemuIo(base, "raw", randomCommands(10, 5 * mib, 10));
    const middle = folder.file("middle.qcow2");
    const large = "cluster_size=2M";
    qemu(
      "qemu-img",
      "create",
      "-q",
      "-f",
      "qcow2",
      "-o",
      large,
      "-b",
      base,
      "-F",
      "raw",
      middle,
      "9M",
    );
    qemuIo(middle, "qcow2", randomCommands(11, 9 * mib, 6));
    const packed = folder.file("packed.qcow2");
    qemu("qemu-img", "convert", "-c", "-O", "qcow2", "-o", large, middle, packed);
    for (const below of ["middle.qcow2", "packed.qcow2"]) {
      const top = folder.file("top.qcow2");
      const small = "cluster_size=4k";
      qemu(
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        small,
        "-b",
        below,
        "-F",
        "qcow2",
        top,
        "12M",
      );
      qemuIo(top, "qcow2", randomCommands(12, 12 * mib, 30));
      await expectSameAsQemu(top);
    }
  });
});

describe("header", () => {
  it("has the feature names that QEMU writes", async () => {
    const path = folder.file("names.qcow2");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", path, "1M");
    const source = await FileSource.open(path);
    const { featureNames } = await readHeader(source);
    await source.close();
    expect(featureNames).toContainEqual({ kind: "incompatible", bit: 0, name: "dirty bit" });
    expect(featureNames).toContainEqual({ kind: "compatible", bit: 0, name: "lazy refcounts" });
  });
});

describe("check() counts what qemu-img check counts", () => {
  it("leaks and wrong refcounts", async () => {
    const path = folder.file("damaged.qcow2");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", path, "8M");
    qemuIo(path, "qcow2", ["write -P 1 0 1M"]);
    const { open } = await import("node:fs/promises");
    const file = await open(path, "r+");
    // Cluster 2 is the first refcount block of a fresh image; data starts at cluster 5.
    const block = 2 * 65_536;
    await file.write(Buffer.from([0, 0]), 0, 2, block + 6 * 2);
    await file.write(Buffer.from([0, 5]), 0, 2, block + 7 * 2);
    await file.close();
    const theirs = qemuCheck(path);
    expect(theirs.corruptions).toBeGreaterThan(0);
    expect(theirs.leaks).toBeGreaterThan(0);
    expect(await ourCheck(path)).toMatchObject({
      leaks: theirs.leaks,
      corruptions: theirs.corruptions,
    });
  });
});

describe("createQcow2()", () => {
  it.each([512, 4096, 65_536, 2 ** 21])("with clusters of %i bytes", async (clusterBytes) => {
    const path = folder.file(`new-${clusterBytes}.qcow2`);
    const sizeBytes = 10 * 2 ** 30 + 512;
    await createQcow2(path, { sizeBytes, clusterBytes });
    expect(qemuCheck(path)).toMatchObject({ "check-errors": 0 });
    expect(qemuCheck(path).leaks ?? 0).toBe(0);
    const info = JSON.parse(qemu("qemu-img", "info", "--output=json", path));
    expect(info).toMatchObject({ "virtual-size": sizeBytes, "cluster-size": clusterBytes });
    qemuIo(path, "qcow2", ["write -P 3 9G 1M"]);
    expect(await ourCheck(path)).toMatchObject({ leaks: 0, corruptions: 0 });
  });

  it("with a backing file", async () => {
    const base = folder.file("below.raw");
    qemu("qemu-img", "create", "-q", "-f", "raw", base, "1M");
    qemuIo(base, "raw", ["write -P 9 4k 8k"]);
    const path = folder.file("above.qcow2");
    const backing = { backingFile: "below.raw", backingFormat: "raw" } as const;
    await createQcow2(path, { sizeBytes: 2 * mib, ...backing });
    await expectSameAsQemu(path);
  });
});
