// Makers of option rows, and the options that many verbs share.
import path from "node:path";
import type { Address } from "../../common/config.js";
import { StorageError } from "../../common/errors.js";
import { addressValue, type OutputFormat, powerOfTwoSize } from "../options.js";
import type { OptionRow } from "./verb.js";

type More = Partial<Pick<OptionRow, "short" | "otherwiseText" | "env" | "conflicts" | "completes">>;

/** An option without a value. */
export function flag(help: string, more: More = {}): OptionRow<true | undefined> {
  return { kind: "flag", help, ...more };
}

/** --no-NAME: true unless it is given. */
export function negated(help: string): OptionRow<boolean> {
  return { kind: "negated", help, otherwise: true };
}

/** An option with a value, which may be left out. */
export function optional<T>(
  metavar: string,
  help: string,
  parse: (text: string) => T,
  more: More = {},
): OptionRow<T | undefined> {
  return { kind: "value", metavar, help, parse, ...more };
}

/** A mandatory option. */
export function required<T>(
  metavar: string,
  help: string,
  parse: (text: string) => T,
  more: More = {},
): OptionRow<T> {
  return { kind: "value", metavar, help, parse, mandatory: true, ...more };
}

/** An option with a default. */
export function withDefault<T>(
  metavar: string,
  help: string,
  parse: (text: string) => T,
  otherwise: T,
  more: More = {},
): OptionRow<T> {
  return { kind: "value", metavar, help, parse, otherwise, ...more };
}

/** One of some words. */
export function choice<const C extends string>(
  metavar: string,
  help: string,
  choices: readonly C[],
  otherwise: C,
  more: More = {},
): OptionRow<C> {
  return { kind: "value", metavar, help, choices, otherwise, ...more };
}

/** An option that may be given again. */
export function repeated<T>(
  metavar: string,
  help: string,
  parse: (text: string) => T,
  more: More = {},
): OptionRow<T[]> {
  return { kind: "value", metavar, help, parse, repeats: true, otherwise: [], ...more };
}

/** Words as they are. */
export const asIs = (text: string): string => text;

/** Of every verb that prints something. */
export const outputRows = {
  format: choice(
    "format",
    "how to print the result: text, JSON, or text with lines around the tables",
    ["plain", "json", "table"] as readonly OutputFormat[],
    "plain",
  ),
  prettyFormat: flag("JSON over several lines, also when it does not go to a terminal"),
} as const;

/** @throws not_found when a part of it is the working directory, and that is gone */
function absolute(folder: string): string {
  try {
    return path.resolve(folder);
  } catch (cause) {
    throw new StorageError("not_found", "the working directory is gone", {
      remedy: "Change to one that is there, or name the cluster's folder in full with --dir DIR.",
      cause,
    });
  }
}

export const dirRow: { dir: OptionRow<string> } = {
  dir: {
    kind: "value",
    metavar: "dir",
    help: "folder of the cluster that `cairn up` made",
    parse: absolute,
    otherwiseOf: () => absolute(".cairn"),
    env: "CAIRN_DIR",
    otherwiseText: ".cairn",
    completes: "folder",
  },
};

export const monitorRow = {
  monitor: optional("host:port", "the monitor's address, in place of --dir", addressValue, {
    short: "m",
  }) as OptionRow<Address | undefined>,
} as const;

/** Of every verb that talks to a cluster. */
export const clusterRows = { ...outputRows, ...dirRow, ...monitorRow } as const;

/** Of verbs that take long. */
export const progressRows = { progress: negated("no progress on standard error") } as const;

/** Of verbs that take long and talk to a cluster. */
export const longRows = { ...clusterRows, ...progressRows } as const;

/** Of verbs that copy: rbd's granularity for runs of zeros. */
export const sparseRow = {
  sparseSize: optional(
    "size",
    "blocks of 4K are looked at always; for the sake of rbd",
    powerOfTwoSize,
  ),
} as const;

/** Of verbs that take snapshots: there is nobody in the client to be quiesced. */
export const quiesceRows = {
  skipQuiesce: flag("there are no quiesce hooks; for the sake of rbd"),
  ignoreQuiesceError: flag("there are no quiesce hooks; for the sake of rbd"),
} as const;

/** The options whose help is the same everywhere: shown apart from a verb's own. */
export const sharedNames: ReadonlySet<string> = new Set(Object.keys(longRows));
