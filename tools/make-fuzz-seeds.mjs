// Makes the seeds of the fuzz targets for persisted structs (native/fuzz/corpus) from golden bytes
// and the byte tables of docs/format, so that the fuzzers start behind the first checks.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");

function write(target, name, ...parts) {
  const folder = join(root, "native/fuzz/corpus", target);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), Buffer.concat(parts));
}

/** The bytes of a golden file with lines of offset, colon and hexadecimal digits. */
function golden(name) {
  const pieces = readFileSync(join(root, "test/golden/object_store", name), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(": "))
    .map(([offset, digits]) => ({
      at: Number.parseInt(offset, 16),
      bytes: Buffer.from(digits, "hex"),
    }));
  const last = pieces.at(-1);
  const all = Buffer.alloc(last.at + last.bytes.length);
  for (const { at, bytes } of pieces) bytes.copy(all, at);
  return all;
}

const u8 = (...values) => Buffer.from(values);
function integer(length, value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes.subarray(0, length);
}
const u16 = (value) => integer(2, value);
const u32 = (value) => integer(4, value);
const u64 = (value) => integer(8, value);
const text16 = (text) => Buffer.concat([u16(Buffer.byteLength(text)), Buffer.from(text)]);

function superblockSeeds() {
  const block = golden("superblock.hex");
  const short = Buffer.concat([block.subarray(0, 152), block.subarray(4088)]);
  write("superblock", "whole", u8(0), block);
  write("superblock", "repaired", u8(2), short);
  write("superblock", "other-copy", u8(1), block);
}

function walRecordSeeds() {
  const record = golden("wal-record.hex");
  // Mode 0: as it is, two transactions (the count is in bits 2 and up); 3: repaired, by the header.
  write("wal_record", "two-transactions", u8(2 << 2, 2), record);
  write("wal_record", "by-header", u8(3, 2), record);
  const header = record.subarray(0, 64);
  const pg = Buffer.concat([u32(1), u32(2)]);
  const object = Buffer.concat([text16("rbd_data.1"), u64(0xffff_ffff_ffff_ffffn)]);
  const version = Buffer.concat([u32(7), u64(11)]);
  const key = text16("key");
  const value = Buffer.concat([u32(3), Buffer.from("abc")]);
  const ops = [
    u8(3),
    pg,
    object,
    version,
    u32(0),
    u32(4), // write_zeroes
    u8(5),
    pg,
    object,
    version, // touch
    u8(6),
    pg,
    object, // remove
    u8(8),
    pg,
    object,
    version,
    key,
    value, // omap_set
    u8(9),
    pg,
    object,
    version,
    key, // omap_remove
    u8(13),
    pg,
    u64(5), // log_trim
    u8(16),
    pg,
    key,
    value, // pg_meta_set
    u8(18),
    pg, // remove_pg
    u8(19),
    key,
    value, // store_meta_set
    u8(20),
    pg,
    object,
    u64(9), // reap_object
    u8(21),
    pg,
    object,
    version,
    value, // set_attr
    u8(23),
    pg,
    object,
    u64(6), // move
  ];
  write("wal_record", "every-field", u8(1 << 2, 0), header, u32(12), ...ops);
}

// Values that docs/format/object-store.md describes; varints below 128 are one byte.
function storeValueSeeds() {
  write("store_values", "header", u8(0, 5, 0, 7, 11, 16));
  write("store_values", "header-attribute", u8(0, 5, 0, 7, 11, 16), Buffer.from("attribute"));
  // Sequence 11; whiteout at 3.7; clone 5 serves 2, 3 and 5, clone 9 serves 8.
  write("store_values", "snap-set", u8(8, 1, 11, 3, 7, 2), u8(5, 3, 2, 1, 2), u8(4, 1, 3));
  const data = (crc, distance) => Buffer.concat([u8(0, 1), u32(crc), u8(distance)]);
  write(
    "store_values",
    "shard",
    u8(1),
    u32(0b01_10_10),
    u16(2),
    u8(7, 10),
    data(1, 84),
    data(2, 0),
    u8(0, 0),
  );
  write("store_values", "references", u8(2, 0, 1, 31, 2));
  write("store_values", "system-state", u8(3), u64(100), u64(8192), u64(9));
  const entry = Buffer.concat([u32(2), u8(0xaa, 0xbb)]);
  write("store_values", "segment", u8(4, 70, 2), entry, entry);
  write("store_values", "pg", u8(5, 3, 9, 60, 12));
  write("store_values", "bitmap", u8(6, 17), Buffer.alloc(16, 0x5a));
  write("store_values", "bitmap-middle", u8(6, 2), Buffer.alloc(8, 0xff));
  write(
    "store_values",
    "key-header",
    u8(7),
    Buffer.from("o\0\0\0\0\0\0\0\x07a\0\xffb\0\x01"),
    u64(1),
  );
  write("store_values", "key-pg", u8(7), Buffer.from("c\0\0\0\x01\0\0\0\x02"));
}

function fileTableSeeds() {
  const header = Buffer.alloc(64);
  header.writeUInt32LE(2, 20); // files
  header.writeBigUInt64LE(7n, 48); // generation
  header.writeBigUInt64LE(9n, 56); // next file id
  const file = (id, size, name, extents, tail) =>
    Buffer.concat([
      u64(id),
      u64(size),
      text16(name),
      u32(extents.length),
      ...extents.flatMap(([first, count]) => [u32(first), u32(count)]),
      text16(tail),
    ]);
  const log = file(3, 4092 + 5, "000003.log", [[0, 2]], "abcde");
  const table = file(
    4,
    9000,
    "000004.ldb",
    [
      [5, 1],
      [9, 3],
    ],
    "",
  );
  write("file_table", "two-files", u8(1), header, log, table);
  write("file_table", "empty", u8(1), Buffer.alloc(64));
}

function pgLoadSeeds() {
  const logEntry = (number, object) =>
    Buffer.concat([u32(4), u64(number), u64(7), u64(number + 50), u8(0), text16(object)]);
  const item = (kind, bytes) => Buffer.concat([u8(kind), u16(bytes.length), bytes]);
  const info = item(0, Buffer.concat([u32(3), u32(4), u64(12)]));
  write("pg_load", "empty-log", info, item(1, Buffer.from("rbd_data.1")));
  write("pg_load", "log", info, item(2, logEntry(13, "a")), item(2, logEntry(14, "b")));
  write("pg_load", "gap", item(2, logEntry(1, "a")), item(3, logEntry(4, "b")));
  write("messages", "log-entry", u8(0), u16(0), logEntry(13, "rbd_data.1"));
}

/** The golden frames (header of 32 bytes) that the fuzzer would not find from the others. */
function messageSeeds() {
  const names = [
    "op-copyup",
    "op-fill-layers",
    "op-lacking",
    "op-sparsify",
    "op-snap-read",
    "op-list-objects",
    "replicate-clone",
    "replicate-layers",
    "push-head",
    "push-clone",
  ];
  for (const name of names) {
    const lines = readFileSync(join(root, "test/golden/messages", `${name}.hex`), "utf8");
    const frame = Buffer.from(lines.split("bytes:\n")[1].replaceAll("\n", ""), "hex");
    const metaLength = frame.readUInt32LE(8);
    write("messages", name, u8(frame[5]), u16(metaLength), frame.subarray(32));
  }
}

superblockSeeds();
walRecordSeeds();
storeValueSeeds();
fileTableSeeds();
pgLoadSeeds();
messageSeeds();
