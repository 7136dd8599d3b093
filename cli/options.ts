// What actions get of the options that several verbs share, and the parsers of argument values. A
// value that is wrong is a usage error (exit code 2) that names its option.
import { InvalidArgumentError } from "commander";
import { type Address, maxMetadataCacheBytes, minMetadataCacheBytes } from "../common/config.js";
import { StorageError } from "../common/errors.js";
import { parseDurationMs, parseSize } from "../common/units.js";

export type OutputFormat = "plain" | "json" | "table";

/** Options of every verb that prints something. */
export interface OutputOptions {
  format: OutputFormat;
  /** JSON over several lines */
  prettyFormat?: true;
}

/** Options of every verb that talks to a cluster. */
export interface ClusterOptions extends OutputOptions {
  dir: string;
  monitor?: Address;
}

/** Options of verbs that take long. */
export interface ProgressOptions {
  /** --no-progress */
  progress: boolean;
}

/** A parser of common/units.ts or client/ as a parser of commander. */
export function valueParser<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (thrown) {
      if (!(thrown instanceof StorageError)) throw thrown;
      throw new InvalidArgumentError([`${thrown.message}.`, thrown.remedy].join(" ").trim());
    }
  };
}

/** Bytes: "4096", "20G". */
export const sizeValue = valueParser((text): number => parseSize(text));
const mebibyte = 2 ** 20;

/** The size of an image. A small number alone is what rbd takes for MiB: it is not guessed at. */
export function imageSizeValue(text: string): number {
  const bytes = sizeValue(text);
  if (!/^[0-9]+$/.test(text) || bytes === 0 || bytes >= mebibyte) return bytes;
  throw new InvalidArgumentError(
    `A number alone is bytes, for rbd it is MiB. Write ${text}M, or ${text}B for bytes.`,
  );
}

/** Of an OSD's metadata cache. */
export function metadataCacheValue(text: string): number {
  const bytes = sizeValue(text);
  if (bytes >= minMetadataCacheBytes && bytes <= maxMetadataCacheBytes) return bytes;
  throw new InvalidArgumentError("It should be from 1M to 1T; the default is 32M.");
}

const maxWatchTimeoutMs = 300_000;

/** A size that has to be a power of two: of objects. */
export function powerOfTwoSize(text: string): number {
  const bytes = sizeValue(text);
  if (bytes > 0 && Number.isInteger(Math.log2(bytes))) return bytes;
  throw new InvalidArgumentError("It should be a power of two, such as 4M.");
}

/** A moment in milliseconds since 1970: "now", "tomorrow", a duration from now, or a date. */
export function momentValue(nowMs: () => number): (text: string) => number {
  const dayMs = 86_400_000;
  return (text) => {
    if (text === "now") return nowMs();
    if (text === "tomorrow") return nowMs() + dayMs;
    if (/^[0-9.]+(ms|s|m|h|d)$/.test(text)) return nowMs() + durationValue(text);
    const atMs = /^[0-9]{4}-/.test(text) ? Date.parse(text) : Number.NaN;
    if (!Number.isNaN(atMs)) return atMs;
    throw new InvalidArgumentError('It should be "now", a duration such as 7d, or a date.');
  };
}

/** A number from 0 to 1. */
export function shareValue(text: string): number {
  const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError("It should be a number from 0 to 1.");
}

/** Milliseconds: "30s", "500ms", "10" (seconds). */
export const durationValue = valueParser(parseDurationMs);

/** Of a watch: the native core takes no other (kMaxWatchTimeoutMs). */
export function watchTimeoutValue(text: string): number {
  const timeoutMs = durationValue(text);
  if (Number.isInteger(timeoutMs) && timeoutMs >= 1 && timeoutMs <= maxWatchTimeoutMs) {
    return timeoutMs;
  }
  throw new InvalidArgumentError("It should be whole milliseconds, from 1ms to 5m.");
}

/** A parser of whole numbers in a range. */
export function countValue(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It should be a whole number from ${min} to ${max}.`);
  };
}

/** HOST:PORT, [IPV6]:PORT. */
export function addressValue(text: string): Address {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s/]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65535) {
    throw new InvalidArgumentError("It should be HOST:PORT, for example 127.0.0.1:6789.");
  }
  return { host, port };
}

/** HOST:PORT of an address. */
export function addressText({ host, port }: Address): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
