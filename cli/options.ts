// What actions get of the options that several verbs share, and the parsers of argument values. A
// value that is wrong is a usage error (exit code 2) that names its option.
import { InvalidArgumentError } from "commander";
import type { Address } from "../common/config.js";
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
/** Milliseconds: "30s", "500ms", "10" (seconds). */
export const durationValue = valueParser(parseDurationMs);

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
