// msgpack as Cairn uses it: plain maps with text keys, no msgpackr records or extensions, so that
// any msgpack reader understands it. Decoding yields plain data; what it means is checked by the
// schemas of the messages.
import { Packr, Unpackr } from "msgpackr";
import { StorageError, toStorageError } from "../common/errors.js";

// skipValues is missing from msgpackr's type declarations, hence the variable.
const packing = { useRecords: false, variableMapSize: true, skipValues: [undefined] };
const packr = new Packr(packing);
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

/** The bytes of a plain value; keys in insertion order, undefined members left out. */
export function encodeValue(value: unknown): Uint8Array {
  return Uint8Array.from(packr.pack(value));
}

/**
 * The bytes of a plain value with the keys of all its maps in code-unit order: equal values have
 * equal bytes, whatever order their keys were set in. For hashing.
 */
export function encodeCanonical(value: unknown): Uint8Array {
  return Uint8Array.from(packr.pack(sortedKeys(value)));
}

function sortedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortedKeys);
  if (value === null || typeof value !== "object" || value instanceof Uint8Array) return value;
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, member]) => [key, sortedKeys(member)]));
}

/**
 * The value of bytes that encodeValue() or encodeCanonical() made.
 * @throws protocol_error when they are no msgpack, cut off, or followed by more bytes
 */
export function decodeValue(bytes: Uint8Array): unknown {
  try {
    return unpackr.unpack(bytes);
  } catch (thrown) {
    throw new StorageError("protocol_error", `bad msgpack: ${toStorageError(thrown).message}`, {
      cause: thrown,
    });
  }
}
