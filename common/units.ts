// Units as branded types, and their text forms. A brand costs nothing at run time and keeps an
// epoch from being passed as a byte count.
import { StorageError } from "./errors.js";

declare const brand: unique symbol;
type Branded<Base, Name extends string> = Base & { readonly [brand]: Name };

/** Version of the cluster map; 0: none. Fits 32 bits (native cairn::Epoch). */
export type Epoch = Branded<number, "Epoch">;
/** A placement group in text form: pool in decimal, a dot, the seed in hex ("1.3f"). */
export type PgId = Branded<string, "PgId">;
/** Position in an image, object or file, in bytes. */
export type ByteOffset = Branded<number, "ByteOffset">;
/** A length in bytes. */
export type ByteCount = Branded<number, "ByteCount">;

const maxUint32 = 0xffff_ffff;

/** @throws invalid_argument when value is no unsigned 32-bit integer */
export function epoch(value: number): Epoch {
  return checkedInteger(value, maxUint32, "an epoch") as Epoch;
}

/** "No epoch": never, or not yet. */
export const noEpoch = 0 as Epoch;

/** The epoch that follows. */
export function nextEpoch(current: Epoch): Epoch {
  return epoch(current + 1);
}

/** @throws invalid_argument unless value is an integer from 0 to 2^53 - 1 */
export function byteOffset(value: number): ByteOffset {
  return checkedInteger(value, Number.MAX_SAFE_INTEGER, "a byte offset") as ByteOffset;
}

/** @throws invalid_argument unless value is an integer from 0 to 2^53 - 1 */
export function byteCount(value: number): ByteCount {
  return checkedInteger(value, Number.MAX_SAFE_INTEGER, "a byte count") as ByteCount;
}

function checkedInteger(value: number, max: number, what: string): number {
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new StorageError("invalid_argument", `${value} is not ${what} (0 to ${max})`);
}

/** A placement group by its parts. */
export interface PgParts {
  pool: number;
  /** in [0, pgNum) */
  seed: number;
}

/** The text form of a PG id. */
export function pgId(pool: number, seed: number): PgId {
  return `${pool}.${seed.toString(16)}` as PgId;
}

/** Matches exactly the text forms that pgId() makes. */
export const pgIdPattern = "^(0|[1-9][0-9]{0,9})\\.(0|[1-9a-f][0-9a-f]{0,7})$";
const pgIdRegExp = new RegExp(pgIdPattern);

/** @throws invalid_argument when text is not of the form POOL.SEEDHEX */
export function parsePgId(text: string): PgParts {
  const match = pgIdRegExp.exec(text);
  const pool = Number(match?.[1]);
  if (match === null || pool > maxUint32) {
    throw new StorageError("invalid_argument", `"${text}" is not a PG id`, {
      remedy: "Write POOL.SEED with the seed in hex, for example 1.3f.",
    });
  }
  return { pool, seed: Number.parseInt(match[2] ?? "", 16) };
}

/** Suffix -> power of 1024. */
const sizePowers: Readonly<Record<string, number>> = { "": 0, K: 1, M: 2, G: 3, T: 4, P: 5 };

/**
 * Bytes of a size such as "4096", "20G", "1.5T", "64KiB" (1024-based, as qemu-img and rbd do).
 * @throws invalid_argument when it is no size, not a whole number of bytes, or 2^53 or more
 */
export function parseSize(text: string): ByteCount {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]?)(?:i?B)?$/i.exec(text.trim());
  const power = sizePowers[(match?.[2] ?? "").toUpperCase()];
  const bytes = Number(match?.[1]) * 1024 ** (power ?? 0);
  if (match !== null && bytes > Number.MAX_SAFE_INTEGER)
    throw new StorageError("invalid_argument", `"${text}" is too large: sizes are below 8 PiB`);
  if (match === null || !Number.isSafeInteger(bytes)) {
    throw new StorageError("invalid_argument", `"${text}" is not a size`, {
      remedy: "Write bytes, or a number with K, M, G, T or P (powers of 1024), such as 20G.",
    });
  }
  return bytes as ByteCount;
}

/** A size for people: "20 GiB", "1.5 TiB", "512 B"; at most two decimals. */
export function formatSize(bytes: number): string {
  const names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let power = 0;
  let value = bytes;
  while (Math.abs(value) >= 1024 && power < names.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${Number(value.toFixed(2))} ${names[power]}`;
}

/** As formatSize where that is all of it: 4097 bytes are not 4 KiB. */
export function exactSize(bytes: number): string {
  const text = formatSize(bytes);
  return parseSize(text) === bytes ? text : `${bytes} B`;
}

const durationUnitsMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/**
 * Milliseconds of a duration such as "250ms", "30s", "10m", "1.5h"; a bare number is seconds.
 * @throws invalid_argument when it is none of these
 */
export function parseDurationMs(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?$/.exec(text.trim());
  if (match === null) {
    throw new StorageError("invalid_argument", `"${text}" is not a duration`, {
      remedy: "Write seconds, or a number with ms, s, m, h or d, such as 30s.",
    });
  }
  return Number(match[1]) * (durationUnitsMs[match[2] ?? "s"] ?? 0);
}

/** A duration for people: "250 ms", "1.5 s", "3 min", "2 h", "4 d". */
export function formatDurationMs(durationMs: number): string {
  const steps: readonly [number, string][] = [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "min"],
    [1000, "s"],
  ];
  const step = steps.find(([unitMs]) => Math.abs(durationMs) >= unitMs);
  const [unitMs, name] = step ?? [1, "ms"];
  return `${Number((durationMs / unitMs).toFixed(1))} ${name}`;
}
