// Errors of the CLI, on stderr: for people as `cairn: MESSAGE` and what to do, or as a JSON object.
import { type Command, CommanderError } from "commander";
import { AssertionError } from "../common/assert.js";
import {
  type ErrorBody,
  exitCodeOf,
  exitCodes,
  StorageError,
  toStorageError,
} from "../common/errors.js";
import { leftOut } from "./verbs/left-out.js";

/**
 * Prints the error of a command; stack traces are for bugs of Cairn only.
 * @returns the exit code
 */
export function reportError(thrown: unknown, argv: readonly string[], program: Command): number {
  if (thrown instanceof AssertionError || thrown instanceof TypeError) {
    process.stderr.write(`cairn: this is a bug: ${thrown.stack ?? thrown.message}\n`);
    return exitCodes.failure;
  }
  const error = asStorageError(thrown, argv, program);
  process.stderr.write(errorText(error, argv));
  return exitCodeOf(error);
}

/** An error in the form that the arguments ask for. */
export function errorText(error: StorageError, argv: readonly string[]): string {
  return wantsJson(argv) ? jsonError(error.toJSON()) : plainError(error.toJSON());
}

/** What slots find out too: a word that is missing. */
const missingWord = /^missing required argument/;

function asStorageError(thrown: unknown, argv: readonly string[], program: Command): StorageError {
  if (thrown instanceof CommanderError) {
    const option = unknownOption(thrown);
    const verb = verbWords(argv, program).join(" ");
    const known = option === undefined ? undefined : leftOut[option];
    if (known !== undefined) {
      const message = `cairn ${verb} has no ${option}: ${known.why}`;
      return new StorageError("invalid_argument", message, { remedy: known.instead });
    }
    const missing = thrown.code === "commander.help";
    const message = missing ? "a command is missing" : thrown.message.replace(/^error: /, "");
    return new StorageError("invalid_argument", message, { remedy: usageRemedy(argv, program) });
  }
  const error = toStorageError(thrown);
  if (!missingWord.test(error.message) || error.remedy !== undefined) return error;
  return new StorageError(error.code, error.message, { remedy: usageRemedy(argv, program) });
}

function unknownOption({ code, message }: CommanderError): string | undefined {
  if (code !== "commander.unknownOption") return undefined;
  return /unknown option '(--[a-z-]+)/.exec(message)?.[1];
}

function usageRemedy(argv: readonly string[], program: Command): string {
  return `\`${["cairn", ...verbWords(argv, program)].join(" ")} --help\` shows the usage.`;
}

/** The deepest command that the words lead to. */
function verbWords(argv: readonly string[], program: Command): string[] {
  const path: string[] = [];
  let command = program;
  for (const word of argv) {
    const next = command.commands.find((candidate) => candidate.name() === word);
    if (next === undefined) continue;
    path.push(word);
    command = next;
  }
  return path;
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
