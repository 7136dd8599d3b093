// The image header and the entries of the directory, as bytes of omap values: docs/format/image.md.
// Pure; little-endian.
import { Type } from "@sinclair/typebox";
import { StorageError } from "../../common/errors.js";
import { Checker } from "../../common/schema.js";
import type { NativeStep } from "../../native/binding.js";
import { decodeValue, encodeValue } from "../../proto/encoding.js";

/** Object that names the images of a pool. */
export const directoryObject = "rbd_directory";
export const namePrefix = "name_";
export const idPrefix = "id_";
export const pendingPrefix = "pending_";

/** 4 MiB objects. */
export const defaultOrder = 22;
const minOrder = 12;
const maxOrder = 25;
/** Image sizes are whole sectors. */
export const sectorBytes = 512;
/** Unit in which space is given back. */
export const blockBytes = 4096;
/** 64 TiB: 2^24 objects of 4 MiB. */
export const maxImageBytes = 2 ** 46;
/** Feature bits that a client must know to touch the image; none exists yet. */
const knownFeatures = 0n;

export interface ImageHeader {
  id: string;
  sizeBytes: number;
  /** log2 of the object size in bytes */
  order: number;
  objectPrefix: string;
  features: bigint;
  /** milliseconds since 1970 */
  createdAt: number;
  /** while a shrink is under way: [sizeBytes, trimEndBytes) is still to be discarded */
  trimEndBytes: number | undefined;
}

export function headerObject(id: string): string {
  return `rbd_header.${id}`;
}

export function dataPrefix(id: string): string {
  return `rbd_data.${id}`;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

export function textValue(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function u64Value(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

/** Text of an omap value. @throws corrupt */
export function valueText(bytes: Uint8Array, what: string): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new StorageError("corrupt", `${what} is not UTF-8`);
  }
}

function valueU64(bytes: Uint8Array, what: string): bigint {
  if (bytes.length !== 8) throw new StorageError("corrupt", `${what} has ${bytes.length} bytes`);
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
}

function valueNumber(bytes: Uint8Array, what: string): number {
  const value = valueU64(bytes, what);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new StorageError("corrupt", `${what} is ${value}`);
  }
  return Number(value);
}

/** The steps that write a new header. */
export function headerSteps(header: ImageHeader): NativeStep[] {
  const set = (key: string, value: Uint8Array): NativeStep => ({ code: "omapSet", key, value });
  return [
    set("size", u64Value(header.sizeBytes)),
    set("order", Uint8Array.of(header.order)),
    set("object_prefix", textValue(header.objectPrefix)),
    set("features", u64Value(header.features)),
    set("created", u64Value(header.createdAt)),
  ];
}

/**
 * The header in the key-values of its object.
 * @throws corrupt; unsupported_feature when a newer Cairn made it
 */
export function decodeHeader(
  id: string,
  omap: readonly (readonly [key: string, value: Uint8Array])[],
): ImageHeader {
  const values = new Map(omap);
  const what = (key: string) => `${key} in ${headerObject(id)}`;
  const need = (key: string): Uint8Array => {
    const value = values.get(key);
    if (value === undefined) throw new StorageError("corrupt", `${what(key)} is missing`);
    return value;
  };
  const features = valueU64(need("features"), what("features"));
  if ((features & ~knownFeatures) !== 0n) {
    throw new StorageError(
      "unsupported_feature",
      `the image has features that this version does not know: 0x${features.toString(16)}`,
      { remedy: "Use the version of Cairn that made it, or a newer one." },
    );
  }
  const order = need("order");
  const trimEnd = values.get("trim_end");
  const header: ImageHeader = {
    id,
    sizeBytes: valueNumber(need("size"), what("size")),
    order: order[0] ?? 0,
    objectPrefix: valueText(need("object_prefix"), what("object_prefix")),
    features,
    createdAt: valueNumber(need("created"), what("created")),
    trimEndBytes: trimEnd === undefined ? undefined : valueNumber(trimEnd, what("trim_end")),
  };
  const fits =
    order.length === 1 &&
    header.order >= minOrder &&
    header.order <= maxOrder &&
    header.sizeBytes <= maxImageBytes &&
    (header.trimEndBytes ?? 0) <= maxImageBytes &&
    header.objectPrefix === dataPrefix(id);
  if (!fits) throw new StorageError("corrupt", `${headerObject(id)} holds impossible values`);
  return header;
}

export const pendingStates = ["creating", "importing", "removing"] as const;
export type PendingState = (typeof pendingStates)[number];

/** An image that is being made or taken away; it has no name in the directory. */
export interface PendingRecord {
  state: PendingState;
  /** that it will have, or had */
  name: string;
  /** milliseconds since 1970, renewed while somebody works on it */
  refreshedAt: number;
}

const pendingChecker = new Checker(
  Type.Object(
    {
      state: Type.Union(pendingStates.map((state) => Type.Literal(state))),
      name: Type.String({ maxLength: 96 }),
      refreshedAt: Type.Integer({ minimum: 0 }),
    },
    { additionalProperties: false },
  ),
  "pending entry of the image directory",
  "corrupt",
);

export function encodePending({ state, name, refreshedAt }: PendingRecord): Uint8Array {
  return encodeValue({ state, name, refreshedAt });
}

/** @throws corrupt */
export function decodePending(bytes: Uint8Array): PendingRecord {
  let value: unknown;
  try {
    value = decodeValue(bytes);
  } catch (cause) {
    throw new StorageError("corrupt", "a pending entry of the image directory is no msgpack", {
      cause,
    });
  }
  return pendingChecker.check(value);
}
