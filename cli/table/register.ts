// The table as commands of the parser: its options, the tree of verbs with their other names, and
// the words behind a verb given to its slots.
import { type Command, Option } from "commander";
import { StorageError } from "../../common/errors.js";
import { groupHelp, longName, verbHelp } from "./help.js";
import type { Family, GivenFlags, OptionRow, Slot, Verb } from "./verb.js";

/** Adds verbs to the program. */
export function registerVerbs(program: Command, verbs: readonly Verb[]): void {
  for (const row of verbs) {
    for (const name of [row.name, ...row.aliases]) {
      const command = commandAt(program, name.split(" "), verbs);
      if (command.description() === "") fillIn(command, row, verbs);
    }
  }
}

/** The command of a path; groups on the way are made. */
function commandAt(program: Command, path: readonly string[], verbs: readonly Verb[]): Command {
  let command = program;
  path.forEach((word, depth) => {
    const found = command.commands.find((candidate) => candidate.name() === word);
    if (found !== undefined) {
      command = found;
      return;
    }
    const made = command.command(word).helpCommand(false);
    const name = path.slice(0, depth + 1).join(" ");
    made.configureHelp({ formatHelp: () => groupHelp(name, verbs) });
    command = made;
  });
  return command;
}

function fillIn(command: Command, row: Verb, verbs: readonly Verb[]): void {
  command
    .description(row.summary)
    .configureHelp({ formatHelp: () => verbHelp(row, verbs) })
    // The words are given to the slots when the options are known: those may name a slot.
    .argument("[words...]")
    .allowUnknownOption(row.lenient === true);
  for (const [key, option] of Object.entries(row.options)) {
    command.addOption(optionOf(key, option));
  }
  command.action(async (words: string[]) => {
    const flags = withDefaults(row, command.opts<Record<string, unknown>>());
    const subcommands = command.commands.map((one) => one.name());
    const values = assign(row, words, flags, subcommands);
    await (await row.load())(...values, flags);
  });
}

function withDefaults(row: Verb, given: GivenFlags): GivenFlags {
  const flags = { ...given };
  for (const [key, { otherwiseOf }] of Object.entries(row.options)) {
    if (otherwiseOf !== undefined) flags[key] ??= otherwiseOf();
  }
  return flags;
}

function optionOf(key: string, row: OptionRow): Option {
  const short = row.short === undefined ? "" : `-${row.short}, `;
  const metavar = row.kind === "value" ? ` <${row.metavar}>` : "";
  const no = row.kind === "negated" ? "no-" : "";
  const option = new Option(`${short}--${no}${longName(key)}${metavar}`, row.help);
  const { parse } = row;
  if (row.choices !== undefined) option.choices(row.choices);
  if (row.repeats && parse !== undefined && !option.variadic) {
    option.argParser((text, before: unknown) => [...(before as unknown[]), parse(text)]);
  } else if (parse !== undefined && !option.variadic) {
    option.argParser(parse);
  }
  // The parser gives a negated option its default by itself.
  if (row.otherwise !== undefined && row.kind === "value") option.default(row.otherwise);
  if (row.mandatory) option.makeOptionMandatory();
  if (row.env !== undefined) option.env(row.env);
  if (row.conflicts !== undefined) option.conflicts(row.conflicts);
  return option;
}

/**
 * Gives the words to the slots, in order; a slot that options name takes none.
 * @param subcommands of the verb: a word too many may have been meant as one
 * @throws invalid_argument, with what to do
 */
export function assign(
  row: Verb,
  words: readonly string[],
  flags: GivenFlags,
  subcommands: readonly string[] = [],
): unknown[] {
  try {
    return assignWords(row, words, flags, subcommands);
  } catch (thrown) {
    if (!(thrown instanceof StorageError) || thrown.remedy !== undefined) throw thrown;
    throw new StorageError(thrown.code, thrown.message, {
      remedy: `\`cairn ${row.name} --help\` shows the usage.`,
    });
  }
}

function assignWords(
  row: Verb,
  words: readonly string[],
  flags: GivenFlags,
  subcommands: readonly string[],
): unknown[] {
  const left = [...words];
  const values = row.slots.map((slot, index) => {
    if (slot.named(flags)) return slot.read([], flags);
    // A slot that may be left out leaves the last words to those behind it that may not.
    const needed = row.slots.slice(index + 1).filter((next) => needsWord(next, flags)).length;
    if (slot.optional && left.length <= needed) return slot.read([], flags);
    return slot.read(left.splice(0, slot.variadic ? left.length : 1), flags);
  });
  if (left.length === 0) return values;
  if (row.slots.length === 0 && subcommands.length > 0) {
    throw new StorageError("invalid_argument", `unknown command '${left[0]}'`, {
      remedy: `\`cairn ${row.name} --help\` lists the commands.`,
    });
  }
  const most = words.length - left.length;
  throw new StorageError(
    "invalid_argument",
    `too many arguments: ${most} expected, ${words.length} given`,
  );
}

function needsWord(slot: Slot, flags: GivenFlags): boolean {
  return !slot.optional && !slot.named(flags);
}

/** The verbs of which the first word is this one: no others have to be registered. */
export function verbsUnder(families: readonly Family[], first: string): Verb[] {
  const isUnder = (name: string) => name.split(" ", 1)[0] === first;
  return families
    .flatMap(({ verbs }) => verbs)
    .filter(({ name, aliases }) => [name, ...aliases].some(isUnder));
}

/**
 * Puts options in front of the verb behind it, as rbd takes them: `-p fast ls` -> `ls -p fast`.
 * The options of the program itself stay.
 */
export function verbFirst(argv: readonly string[], families: readonly Family[]): string[] {
  const takesValue = new Set(
    families
      .flatMap(({ verbs }) => verbs)
      .flatMap(({ options }) => Object.entries(options))
      .filter(([, row]) => row.kind === "value")
      .flatMap(([key, row]) => [`--${longName(key)}`, ...(row.short ? [`-${row.short}`] : [])]),
  );
  let at = 0;
  while (argv[at]?.startsWith("-") && !programOptions.has(argv[at] ?? "")) {
    at += takesValue.has(argv[at] ?? "") ? 2 : 1;
  }
  if (at >= argv.length) return [...argv];
  const behind = argv.slice(at);
  const end = behind.indexOf("--");
  const cut = end < 0 ? behind.length : end;
  return [...behind.slice(0, cut), ...argv.slice(0, at), ...behind.slice(cut)];
}

/** The first word that leads to no verb and to no group of verbs; options are passed over. */
export function unknownWord(
  families: readonly Family[],
  words: readonly string[],
): string | undefined {
  const names = families
    .flatMap(({ verbs }) => verbs)
    .flatMap(({ name, aliases }) => [name, ...aliases]);
  let path = "";
  for (const word of words) {
    if (word.startsWith("-")) continue;
    path += `${word} `;
    if (!names.some((name) => `${name} `.startsWith(path))) return word;
  }
  return undefined;
}

const programOptions: ReadonlySet<string> = new Set(["-h", "--help", "-V", "--version", "--"]);
