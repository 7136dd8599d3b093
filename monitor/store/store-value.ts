// A value of the map store: an envelope with a checksum around one full map or incremental.
// docs/format/monitor-store.md
//
//   offset size field (little-endian)
//        0    4 magic          "CMV1"; of a newer version "CMV2" and so on
//        4    1 kind           1 full map, 2 incremental
//        5    3 zero
//        8    4 epoch          as in the key: a value under a foreign key shows
//       12    4 payloadLength
//       16   32 checksum       SHA-256 of the bytes 0..15, then the payload
//       48      payload        canonical msgpack
import { createHash } from "node:crypto";
import { StorageError } from "../../common/errors.js";
import { Checker } from "../../common/schema.js";
import { decodeValue, encodeCanonical } from "../../proto/encoding.js";
import {
  type Incremental,
  IncrementalSchema,
  type OsdMap,
  OsdMapSchema,
} from "../../proto/osd-map.js";
import { newerVersion } from "./head-file.js";

const headerBytes = 48;
const checkedBytes = 16;
const magic = "CMV1";
/** Of every version, with the checksum in its place. */
const anyMagic = /^CMV[1-9]$/;
const kindNumbers = { full: 1, inc: 2 } as const;

/** The two kinds of values; also the first part of their keys. */
export type ValueKind = keyof typeof kindNumbers;

const checkers = {
  full: new Checker(OsdMapSchema, "map", "corrupt"),
  inc: new Checker(IncrementalSchema, "incremental", "corrupt"),
};

/** The key of an epoch's value: "inc/0000000007". Ten digits, so that keys sort by epoch. */
export function keyOf(kind: ValueKind, epoch: number): string {
  return `${kind}/${String(epoch).padStart(10, "0")}`;
}

/** The bytes of a value. */
export function encodeStored(kind: ValueKind, value: OsdMap | Incremental): Buffer {
  const payload = encodeCanonical(value);
  const header = Buffer.alloc(headerBytes);
  header.write(magic, 0, "latin1");
  header.writeUInt8(kindNumbers[kind], 4);
  header.writeUInt32LE(value.epoch, 8);
  header.writeUInt32LE(payload.length, 12);
  checksumOf(header, payload).copy(header, checkedBytes);
  return Buffer.concat([header, payload]);
}

/**
 * The full map in a value.
 * @param epoch of its key
 * @throws corrupt when the bytes are not exactly a full map of that epoch; incompatible_version
 *   when a newer version of Cairn has written them
 */
export function decodeFull(bytes: Buffer, epoch: number): OsdMap {
  const map = checkers.full.check(payloadOf(bytes, "full", epoch));
  if (map.epoch !== epoch) throw damaged("full", epoch, `it is of epoch ${map.epoch}`);
  return map;
}

/** As decodeFull(), for an incremental. */
export function decodeIncremental(bytes: Buffer, epoch: number): Incremental {
  const incremental = checkers.inc.check(payloadOf(bytes, "inc", epoch));
  if (incremental.epoch !== epoch) throw damaged("inc", epoch, `of epoch ${incremental.epoch}`);
  return incremental;
}

function payloadOf(bytes: Buffer, kind: ValueKind, epoch: number): unknown {
  const payload = bytes.subarray(headerBytes);
  const found = bytes.toString("latin1", 0, 4);
  if (bytes.length < headerBytes || !anyMagic.test(found)) {
    throw damaged(kind, epoch, "it has no valid header");
  }
  const checksum = bytes.subarray(checkedBytes, headerBytes);
  if (!checksumOf(bytes, payload).equals(checksum)) {
    throw damaged(kind, epoch, "its checksum is wrong");
  }
  if (found !== magic) {
    throw newerVersion(`${keyOf(kind, epoch)} of the map store has format version ${found[3]}`);
  }
  const fits =
    bytes.readUInt8(4) === kindNumbers[kind] &&
    bytes.readUInt32LE(8) === epoch &&
    bytes.readUInt32LE(12) === payload.length;
  if (!fits) throw damaged(kind, epoch, "it belongs to another key");
  return decodeValue(payload);
}

function checksumOf(header: Buffer, payload: Uint8Array): Buffer {
  const hash = createHash("sha256");
  return hash.update(header.subarray(0, checkedBytes)).update(payload).digest();
}

function damaged(kind: ValueKind, epoch: number, why: string): StorageError {
  return new StorageError("corrupt", `${keyOf(kind, epoch)} (map epoch ${epoch}) is bad: ${why}`);
}
