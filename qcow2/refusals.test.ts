// Images that must be refused: each with its code, the file's name, and what is wrong in words.
import { copyFileSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { type ErrorCode, StorageError } from "../common/errors.js";
import { ImageChain } from "./chain.js";
import { createQcow2, encodeEmptyQcow2 } from "./create.js";
import { Qcow2Image } from "./image.js";
import { map, summarize } from "./map.js";
import { probe } from "./probe.js";
import { MemorySource } from "./source.js";
import { qemu, TestFolder } from "./testing.js";

const golden = join(dirname(fileURLToPath(import.meta.url)), "../test/golden/qcow2");
const folder = new TestFolder();
afterAll(() => folder.remove());

/** Maps the whole image in memory. */
async function mapBytes(bytes: Buffer): Promise<void> {
  const source = new MemorySource("disk.qcow2", bytes);
  const image = await Qcow2Image.open(source);
  const layer = { format: "qcow2", source, image, sizeBytes: image.header.sizeBytes } as const;
  await summarize(new ImageChain([layer]));
}

async function refusal(promise: Promise<unknown>): Promise<StorageError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof StorageError)) throw new Error(`expected a refusal, got ${error}`);
  return error;
}

function set64(bytes: Buffer, offset: number, value: bigint): Buffer {
  bytes.writeBigUInt64BE(value, offset);
  return bytes;
}
function set32(bytes: Buffer, offset: number, value: number): Buffer {
  bytes.writeUInt32BE(value, offset);
  return bytes;
}

type Case = [what: string, change: (bytes: Buffer) => Buffer, code: ErrorCode, message: RegExp];

const cases: Case[] = [
  ["another format", (b) => set32(b, 0, 0), "invalid_argument", /not a qcow2 image/],
  ["version 1", (b) => set32(b, 4, 1), "incompatible_version", /qcow version 1/],
  ["version 4", (b) => set32(b, 4, 4), "incompatible_version", /qcow version 4/],
  ["tiny clusters", (b) => set32(b, 20, 8), "corrupt", /cluster_bits is 8/],
  ["huge clusters", (b) => set32(b, 20, 22), "corrupt", /cluster_bits is 22/],
  ["AES", (b) => set32(b, 32, 1), "unsupported_feature", /encryption \(AES\)/],
  ["LUKS", (b) => set32(b, 32, 2), "unsupported_feature", /encryption \(LUKS\)/],
  ["corrupt bit", (b) => set64(b, 72, 2n), "corrupt", /marked as corrupt/],
  ["data file", (b) => set64(b, 72, 4n), "unsupported_feature", /external data file/],
  ["unknown bit", (b) => set64(b, 72, 1n << 9n), "unsupported_feature", /\(incompatible bit 9\)/],
  ["extended L2, small clusters", (b) => set64(b, 72, 16n), "corrupt", /extended L2/],
  ["zstd without its bit", (b) => set32(b, 104, 1 << 24), "corrupt", /compression_type/],
  [
    "compression type 2",
    (b) => set32(set64(b, 72, 8n), 104, 2 << 24),
    "unsupported_feature",
    /compression type 2/,
  ],
  ["refcount order 7", (b) => set32(b, 96, 7), "corrupt", /refcount_order is 7/],
  ["header length 100", (b) => set32(b, 100, 100), "corrupt", /header_length is 100/],
  ["size of 2^63", (b) => set64(b, 24, 1n << 63n), "too_large", /virtual size/],
  ["L1 table too short", (b) => set64(b, 24, 1n << 40n), "corrupt", /L1 table has 2 entries/],
  ["L1 table too large", (b) => set32(b, 36, 1 << 23), "too_large", /L1 table/],
  ["L1 table misaligned", (b) => set64(b, 40, 12_345n), "corrupt", /not cluster-aligned/],
  [
    "L1 table behind the end",
    (b) => set64(b, 40, 0x100000n),
    "corrupt",
    /disk\.qcow2: L1 table at offset 0x100000 lies beyond the end of the file/,
  ],
  ["refcount table too large", (b) => set32(b, 56, 1 << 16), "too_large", /refcount table/],
  ["too many snapshots", (b) => set32(b, 60, 1 << 20), "too_large", /snapshots/],
  ["backing name too long", (b) => set32(set64(b, 8, 200n), 16, 4096), "corrupt", /backing file/],
  [
    "L2 table behind the end",
    (b) => set64(b, 0x3000, 0x200000n),
    "corrupt",
    /L2 table at .*0x200000/,
  ],
  ["L2 table misaligned", (b) => set64(b, 0x3000, 0x2200n), "corrupt", /not cluster-aligned/],
  ["reserved L1 bits", (b) => set64(b, 0x3000, 1n << 60n), "corrupt", /reserved bits/],
  [
    "L2 table used twice",
    (b) => set64(set64(b, 0x3000, 0x3000n), 0x3008, 0x3000n),
    "corrupt",
    /L2 table at offset 0x3000 is used twice/,
  ],
];

describe("headers and tables", () => {
  /** 4 KiB clusters; the L1 table is cluster 3. */
  const valid = () => encodeEmptyQcow2({ sizeBytes: 4 * 2 ** 20, clusterBytes: 4096 });

  it("takes the image that the cases change", async () => {
    await expect(mapBytes(valid())).resolves.toBeUndefined();
  });

  it.each(cases)("refuses: %s", async (_what, change, code, message) => {
    const error = await refusal(mapBytes(change(valid())));
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^disk\.qcow2: /);
    expect(error.code).toBe(code);
  });

  it("names an unknown feature as the image's own table does", async () => {
    const bytes = set64(valid(), 72, 1n << 9n);
    set32(set32(bytes, 112, 0x6803f857), 116, 48);
    bytes.writeUInt8(9, 121);
    bytes.write("time travel", 122);
    const error = await refusal(mapBytes(bytes));
    expect(error.message).toContain('"time travel" (incompatible bit 9)');
  });

  it("refuses an image cut at any place of its metadata", async () => {
    const whole = readFileSync(join(golden, "v2.qcow2"));
    for (let length = 4; length < whole.length - 4096; length += 1021) {
      const error = await refusal(mapBytes(whole.subarray(0, length)));
      expect(error.code, `cut at ${length}`).toBe("corrupt");
    }
  });

  it("a data cluster behind the end, and one that is cut by it", async () => {
    const whole = readFileSync(join(golden, "small-clusters.qcow2"));
    const cut = await refusal(mapBytes(whole.subarray(0, 0x1200)));
    expect(cut.message).toMatch(/data cluster of guest offset .* lies beyond the end of the file/);
    const source = new MemorySource("disk", whole.subarray(0, whole.length - 100));
    const image = await Qcow2Image.open(source);
    const chain = new ImageChain([{ format: "qcow2", source, image, sizeBytes: 102_400 }]);
    const kinds: unknown[] = [];
    for await (const { kind, lengthBytes } of map(chain)) kinds.push([kind, lengthBytes]);
    expect(kinds.slice(-2)).toEqual([
      ["data", 924],
      ["zero", 100],
    ]);
  });
});

describe("chains", () => {
  const create = (name: string, ...options: string[]) =>
    qemu("qemu-img", "create", "-q", "-u", "-f", "qcow2", ...options, folder.file(name), "1M");

  it("refuses a loop, also through a symbolic link", async () => {
    create("a.qcow2", "-b", "b.qcow2", "-F", "qcow2");
    create("b.qcow2", "-b", "link.qcow2", "-F", "qcow2");
    symlinkSync("a.qcow2", folder.file("link.qcow2"));
    const error = await refusal(ImageChain.open(folder.file("a.qcow2")));
    expect(error.message).toMatch(/loop/);
  });

  it("names a backing file that is missing", async () => {
    create("orphan.qcow2", "-b", "gone.qcow2", "-F", "qcow2");
    const error = await refusal(ImageChain.open(folder.file("orphan.qcow2")));
    expect(error.code).toBe("not_found");
    expect(error.message).toContain(folder.file("gone.qcow2"));
  });

  it.each(["nbd://localhost/disk", 'json:{"driver":"null-co"}', "ssh:host"])(
    "refuses the backing file %s",
    async (name) => {
      const bytes = encodeEmptyQcow2({
        sizeBytes: 2 ** 20,
        backingFile: name,
        backingFormat: "raw",
      });
      writeFileSync(folder.file("protocol.qcow2"), bytes);
      const error = await refusal(ImageChain.open(folder.file("protocol.qcow2")));
      expect(error.message).toMatch(/not a local file/);
    },
  );

  it("refuses a backing file of another format", async () => {
    create("over-vmdk.qcow2", "-b", "base.vmdk", "-F", "vmdk");
    const error = await refusal(ImageChain.open(folder.file("over-vmdk.qcow2")));
    expect(error.message).toContain('the format "vmdk"');
  });

  it("refuses folders, pipes and what is not there", async () => {
    expect((await refusal(ImageChain.open(folder.path))).code).toBe("invalid_argument");
    expect((await refusal(ImageChain.open(folder.file("nothing")))).code).toBe("not_found");
  });

  it("reads a raw file as raw when told so, whatever it holds", async () => {
    copyFileSync(join(golden, "v2.qcow2"), folder.file("inner.qcow2"));
    const chain = await ImageChain.open(folder.file("inner.qcow2"), "raw");
    expect(chain.sizeBytes).toBe(36_864);
    await chain.close();
  });
});

describe("probe()", () => {
  const of = (bytes: Buffer) => probe(new MemorySource("file", bytes));

  it("finds raw and qcow2", async () => {
    expect(await of(Buffer.alloc(1))).toBe("raw");
    expect(await of(Buffer.from("QFI\xfb....", "latin1"))).toBe("qcow2");
  });

  it("refuses other formats by name", async () => {
    const vdi = Buffer.alloc(512);
    vdi.set([0x7f, 0x10, 0xda, 0xbe], 64);
    expect((await refusal(of(vdi))).message).toContain("VDI");
    const vmdk = folder.file("x.vmdk");
    qemu("qemu-img", "create", "-q", "-f", "vmdk", vmdk, "1M");
    expect((await refusal(of(readFileSync(vmdk)))).message).toContain("VMDK");
    const vhdx = folder.file("x.vhdx");
    qemu("qemu-img", "create", "-q", "-f", "vhdx", vhdx, "1M");
    expect((await refusal(of(readFileSync(vhdx)))).message).toContain("VHDX");
    expect((await refusal(of(Buffer.from([0x1f, 0x8b, 8, 0])))).remedy).toMatch(/Decompress/);
    expect((await refusal(of(Buffer.alloc(0)))).code).toBe("invalid_argument");
  });
});

describe("createQcow2()", () => {
  it.each([
    [{ sizeBytes: 0 }, "invalid_argument"],
    [{ sizeBytes: 1000 }, "invalid_argument"],
    [{ sizeBytes: 512, clusterBytes: 256 }, "invalid_argument"],
    [{ sizeBytes: 512, clusterBytes: 3000 }, "invalid_argument"],
    [{ sizeBytes: 2 ** 40, clusterBytes: 512 }, "too_large"],
    [{ sizeBytes: 512, clusterBytes: 512, backingFile: "x".repeat(600) }, "invalid_argument"],
  ] as const)("refuses %j", async (options, code) => {
    expect((await refusal(createQcow2(folder.file("bad.qcow2"), options))).code).toBe(code);
    expect((await refusal(ImageChain.open(folder.file("bad.qcow2")))).code).toBe("not_found");
  });

  it("does not overwrite", async () => {
    writeFileSync(folder.file("there"), "x");
    const promise = createQcow2(folder.file("there"), { sizeBytes: 512 });
    expect((await refusal(promise)).code).toBe("already_exists");
  });
});

describe("a snapshot that cannot be shown", () => {
  const show = (path: string, snapshot: string) =>
    refusal(ImageChain.open(path, undefined, undefined, snapshot));

  it("one that is not there, or of a raw file", async () => {
    const path = join(golden, "snapshot.qcow2");
    expect(await show(path, "after")).toMatchObject({
      code: "not_found",
      message: expect.stringMatching(/no snapshot with the name or id "after"/),
    });
    expect(await show(join(golden, "base.raw"), "1")).toMatchObject({ code: "invalid_argument" });
  });

  const damages: [string, (entry: Buffer) => Buffer, ErrorCode, RegExp][] = [
    ["an L1 table misaligned", (entry) => set64(entry, 0, 12_345n), "corrupt", /aligned/],
    ["an L1 table behind the end", (entry) => set64(entry, 0, 1n << 40n), "corrupt", /beyond/],
    ["an L1 table too short", (entry) => set32(entry, 8, 0), "corrupt", /0 entries where/],
    ["an L1 table too large", (entry) => set32(entry, 8, 1 << 23), "too_large", /L1 table/],
    ["a disk of 2^60 bytes", (entry) => set64(entry, 48, 1n << 60n), "too_large", /disk of snap/],
  ];
  it.each(damages)("%s", async (_what, damage, code, message) => {
    const path = folder.file("damaged.qcow2");
    const bytes = readFileSync(join(golden, "snapshot.qcow2"));
    damage(bytes.subarray(Number(bytes.readBigUInt64BE(64))));
    writeFileSync(path, bytes);
    expect(await show(path, "1")).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
});
