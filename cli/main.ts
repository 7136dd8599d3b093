// The entry of bin/cairn. The table of all verbs is data; what carries a verb out is loaded when it
// runs. Exit codes: 0, 1 failure, 2 wrong arguments.
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { exitCodes, StorageError } from "../common/errors.js";
import { reportError } from "./error-report.js";
import { guardStreams } from "./standard-streams.js";
import { programHelp } from "./table/help.js";
import { registerVerbs, unknownWord, verbFirst, verbsUnder } from "./table/register.js";
import { families } from "./verbs/index.js";

function version(): string {
  const file = new URL("../../package.json", import.meta.url);
  const { version: text } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
  return text;
}

function makeProgram(): Command {
  return new Command("cairn")
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print help; every command has its own")
    .helpCommand(false)
    .configureHelp({ formatHelp: () => programHelp(families) })
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .showSuggestionAfterError();
}

/** `help snap create` -> `snap create --help`. @throws invalid_argument for an unknown verb */
function withoutHelpVerb(given: readonly string[]): readonly string[] {
  const [first, ...words] = given;
  if (first !== "help") return given;
  const unknown = unknownWord(families, words);
  if (unknown === undefined) return [...words, "--help"];
  throw new StorageError("invalid_argument", `unknown command '${unknown}'`, {
    remedy: "`cairn --help` lists the commands.",
  });
}

async function main(given: readonly string[]): Promise<number> {
  const program = makeProgram();
  try {
    const argv = given.length === 0 ? ["--help"] : verbFirst(withoutHelpVerb(given), families);
    const under = verbsUnder(families, argv[0] ?? "");
    // For an unknown verb all, so that the parser finds one that is spelled alike.
    registerVerbs(program, under.length > 0 ? under : families.flatMap(({ verbs }) => verbs));
    await program.parseAsync(argv, { from: "user" });
    return Number(process.exitCode ?? exitCodes.success);
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return exitCodes.success;
    return reportError(thrown, given, program);
  }
}

const argv = process.argv.slice(2);
guardStreams(argv);
process.exitCode = await main(argv);
