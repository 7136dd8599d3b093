// The help of a verb, of a group of verbs, and of the program: from the table.
import { sharedNames } from "./option-rows.js";
import type { Family, OptionRow, Slot, Verb } from "./verb.js";

const columns = 100;

/** "allowShrink" -> "allow-shrink" */
export function longName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** "-s, --size <size>" */
export function optionUsage(key: string, row: OptionRow): string {
  const short = row.short === undefined ? "" : `-${row.short}, `;
  const no = row.kind === "negated" ? "no-" : "";
  const metavar = row.kind === "value" ? ` <${row.metavar}>` : "";
  return `${short}--${no}${longName(key)}${metavar}`;
}

/** What the help says of an option: its choices and default too. */
export function optionHelp(row: OptionRow): string {
  const notes = [
    ...(row.mandatory ? ["mandatory"] : []),
    ...(row.choices === undefined ? [] : [row.choices.join(", ")]),
    ...(row.repeats ? ["may be given again"] : []),
    ...defaultNotes(row),
    ...(row.env === undefined ? [] : [`else ${row.env}`]),
  ];
  return notes.length === 0 ? row.help : `${row.help} (${notes.join("; ")})`;
}

function defaultNotes(row: OptionRow): string[] {
  if (row.otherwiseText !== undefined) return [`default ${row.otherwiseText}`];
  if (row.kind !== "value" || row.otherwise === undefined || row.repeats) return [];
  return [`default ${String(row.otherwise)}`];
}

function slotUsage(slot: Slot): string {
  const isOptional = slot.optional || Object.keys(slot.options).length > 0;
  return isOptional ? `[${slot.metavar}]` : `<${slot.metavar}>`;
}

/** "cairn snap create [pool/image@snap] [options]" */
export function usageLine({ name, slots, options }: Verb): string {
  const mandatory = Object.entries(options)
    .filter(([, row]) => row.mandatory)
    .map(([key, row]) => `--${longName(key)} <${row.metavar}>`);
  return ["cairn", name, ...mandatory, ...slots.map(slotUsage), "[options]"].join(" ");
}

/** Lines of at most the width, at spaces. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1) ?? "";
    if (last !== "" && last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`;
  }
  return lines;
}

/** Two columns: terms, and what is said of them. */
function definitions(entries: readonly (readonly [term: string, text: string])[]): string[] {
  const widest = Math.max(0, ...entries.map(([term]) => term.length));
  const indent = Math.min(widest, 34) + 4;
  return entries.flatMap(([term, text]) => {
    const lines = wrapped(text, columns - indent);
    const head = `  ${term}`;
    if (head.length + 2 <= indent) {
      return lines.map((line, at) => (at === 0 ? head : "").padEnd(indent) + line);
    }
    return [head, ...lines.map((line) => " ".repeat(indent) + line)];
  });
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ["", `${title}:`, ...lines];
}

/** What `cairn help VERB` and `cairn VERB --help` print. */
export function verbHelp(row: Verb, verbs: readonly Verb[]): string {
  const entries = Object.entries(row.options);
  const describe = ([key, option]: [string, OptionRow]) =>
    [optionUsage(key, option), optionHelp(option)] as const;
  const own = entries.filter(([key]) => !sharedNames.has(key)).map(describe);
  const shared = entries.filter(([key]) => sharedNames.has(key)).map(describe);
  const slots = row.slots.map((slot) => [slot.metavar, slotHelp(slot)] as const);
  return [
    `Usage: ${usageLine(row)}`,
    "",
    row.summary,
    ...row.details.flatMap((paragraph) => ["", ...wrapped(paragraph, columns)]),
    ...section(
      "Also called",
      row.aliases.map((alias) => `  cairn ${alias}`),
    ),
    ...section("Commands below it", summaries(below(row.name, verbs))),
    ...section("Arguments", definitions(slots)),
    ...section("Options", definitions(own)),
    ...section("Common options", definitions([...shared, ["-h, --help", "print this help"]])),
    ...section(
      "Examples",
      row.examples.map((line) => `  ${line}`),
    ),
    ...section("Exit codes", [
      "  0 success, 1 failure, 2 wrong arguments",
      ...row.exits.map((line) => `  ${line}`),
    ]),
    "",
  ].join("\n");
}

function slotHelp(slot: Slot): string {
  return slot.choices === undefined ? slot.help : `${slot.help}: ${slot.choices.join(", ")}`;
}

const below = (name: string, verbs: readonly Verb[]): Verb[] =>
  verbs.filter((other) => other.name.startsWith(`${name} `));

const summaries = (verbs: readonly Verb[]): string[] =>
  definitions(verbs.map(({ name, summary }) => [name, summary] as const));

/** What `cairn help snap` prints: the verbs that begin with these words. */
export function groupHelp(group: string, verbs: readonly Verb[]): string {
  const all = verbs.filter(({ name, aliases }) =>
    [name, ...aliases].some((one) => `${one} `.startsWith(`${group} `)),
  );
  return [
    `Usage: cairn ${group} COMMAND [options]`,
    ...section("Commands", summaries(all)),
    "",
    `\`cairn help ${group} COMMAND\` shows one with examples.`,
    "",
  ].join("\n");
}

/** What `cairn --help` prints. */
export function programHelp(families: readonly Family[]): string {
  return [
    "Usage: cairn COMMAND [options]",
    "",
    "Cairn: distributed block storage for virtual machines.",
    ...families.flatMap(({ title, verbs }) => section(title, summaries(verbs))),
    ...section("Options", [
      "  -V, --version  print the version",
      "  -h, --help     print help; every command has its own",
    ]),
    ...section("Examples", [
      "  cairn up                               start a cluster with 3 OSDs in ./.cairn",
      "  cairn create rbd/disk1 --size 4G",
      "  cairn import debian.qcow2 rbd/debian",
      "  cairn attach rbd/debian --vhost-user /tmp/vm1.sock",
      "  cairn status",
    ]),
    "",
    "An image is named POOL/IMAGE, or in parts: --pool POOL --image IMAGE; the pool is rbd",
    "by default.",
    "`cairn help COMMAND` shows a command with examples; `cairn completion bash` completes them.",
    "Exit codes: 0 success, 1 failure, 2 wrong arguments.",
    "",
  ].join("\n");
}
