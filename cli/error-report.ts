// Errors of the CLI: on stderr, for people as `cairn: MESSAGE` and what to do, or as one JSON object.
import { CommanderError } from "commander";
import { AssertionError } from "../common/assert.js";
import {
  type ErrorBody,
  exitCodeOf,
  exitCodes,
  isErrorCode,
  StorageError,
  toStorageError,
} from "../common/errors.js";

/** Prints the error of a command; stack traces are for bugs of Cairn only. @returns the exit code */
export function reportError(thrown: unknown, argv: readonly string[]): number {
  if (thrown instanceof AssertionError || thrown instanceof TypeError) {
    process.stderr.write(`cairn: this is a bug: ${thrown.stack ?? thrown.message}\n`);
    return exitCodes.failure;
  }
  const error = asStorageError(thrown, argv);
  process.stderr.write(wantsJson(argv) ? jsonError(error.toJSON()) : plainError(error.toJSON()));
  return exitCodeOf(error);
}

function asStorageError(thrown: unknown, argv: readonly string[]): StorageError {
  if (thrown instanceof CommanderError) {
    const missing = thrown.code === "commander.help";
    const message = missing ? "a command is missing" : thrown.message.replace(/^error: /, "");
    return new StorageError("invalid_argument", message, { remedy: usageRemedy(argv) });
  }
  if (thrown instanceof StorageError) return thrown;
  const code = (thrown as { code?: unknown } | null)?.code;
  // Errors of the native core have one of our codes, not the class.
  if (thrown instanceof Error && isErrorCode(code)) return new StorageError(code, thrown.message);
  return toStorageError(thrown);
}

function usageRemedy(argv: readonly string[]): string {
  const words = argv.filter((word) => /^[a-z][a-z-]*$/.test(word));
  const verbs = words.slice(0, nestedVerbs[words[0] ?? ""]?.includes(words[1] ?? "") ? 2 : 1);
  const known = words[0] !== undefined && (words[0] in nestedVerbs || plainVerbs.has(words[0]));
  return `\`${["cairn", ...(known ? verbs : []), "--help"].join(" ")}\` shows the usage.`;
}

function wantsJson(argv: readonly string[]): boolean {
  return argv.some(
    (word, at) => word === "--format=json" || (word === "--format" && argv[at + 1] === "json"),
  );
}

/** The error as lines for people. */
export function plainError({ message, remedy }: ErrorBody): string {
  const indented = remedy === undefined ? "" : `  ${remedy.replaceAll("\n", "\n  ")}\n`;
  return `cairn: ${message}\n${indented}`;
}

function jsonError(body: ErrorBody): string {
  return `${JSON.stringify({ error: body })}\n`;
}
