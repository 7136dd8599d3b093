// Values of omap keys as bytes: text, little-endian integers, checked msgpack maps. Pure.
import type { Static, TSchema } from "@sinclair/typebox";
import { StorageError } from "../../common/errors.js";
import type { Checker } from "../../common/schema.js";
import type { NativeStep } from "../../native/binding.js";
import { decodeValue } from "../../proto/encoding.js";

export type Omap = readonly (readonly [key: string, value: Uint8Array])[];

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** What omapCompare takes for "the key is absent". */
export const noValue = new Uint8Array();

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

export function valueU64(bytes: Uint8Array, what: string): bigint {
  if (bytes.length !== 8) throw new StorageError("corrupt", `${what} has ${bytes.length} bytes`);
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
}

export function valueNumber(bytes: Uint8Array, what: string): number {
  const value = valueU64(bytes, what);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new StorageError("corrupt", `${what} is ${value}`);
  }
  return Number(value);
}

/** A msgpack map that fits its schema. @throws the checker's code (corrupt) */
export function valueMap<S extends TSchema>(
  bytes: Uint8Array,
  checker: Checker<S>,
  what: string,
): Static<S> {
  let value: unknown;
  try {
    value = decodeValue(bytes);
  } catch (cause) {
    throw new StorageError("corrupt", `${what} is no msgpack`, { cause });
  }
  return checker.check(value);
}

export const setStep = (key: string, value: Uint8Array): NativeStep => ({
  code: "omapSet",
  key,
  value,
});
export const removeStep = (key: string): NativeStep => ({ code: "omapRemove", key });
/** Guard: the key has this value; undefined: it has none. */
export const compareStep = (key: string, value: Uint8Array | undefined): NativeStep => ({
  code: "omapCompare",
  key,
  value: value ?? noValue,
});

/** 16 hexadecimal digits, so that keys sort as their numbers do. */
export const hex16 = (value: number | bigint): string => value.toString(16).padStart(16, "0");

export function hasCode(thrown: unknown, code: string): boolean {
  return (thrown as { code?: unknown } | null)?.code === code;
}
