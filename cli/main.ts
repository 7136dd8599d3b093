// The entry of bin/cairn. A verb loads only its own family, so that the others cost nothing, and
// `cairn --help` loads none. Exit codes: 0, 1 failure, 2 wrong arguments.
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { exitCodes } from "../common/errors.js";
import { reportError } from "./error-report.js";

type Register = (program: Command) => void;

interface Family {
  /** verb -> its line in `cairn --help` */
  verbs: Readonly<Record<string, string>>;
  load(): Promise<Register>;
}

const families: readonly Family[] = [
  {
    verbs: {
      up: "start a cluster on this machine, or what of it is not running",
      down: "stop the cluster that `up` has started",
      status: "show the state of the cluster, or who uses an image",
      health: "show what is wrong, if anything",
    },
    load: async () => (await import("./cluster.js")).registerCluster,
  },
  {
    verbs: {
      create: "create an image",
      ls: "list images",
      info: "show an image",
      rm: "remove an image",
      resize: "change the size of an image",
      import: "make an image from a raw or qcow2 file",
      export: "write an image to a raw file",
    },
    load: async () => (await import("./image.js")).registerImage,
  },
  {
    verbs: { attach: "serve an image to a virtual machine or an NBD client" },
    load: async () => (await import("./attach.js")).registerAttach,
  },
  {
    verbs: { lock: "show and break the exclusive locks of images" },
    load: async () => (await import("./lock.js")).registerLock,
  },
  {
    verbs: { bench: "measure an image" },
    load: async () => (await import("./bench.js")).registerBench,
  },
  {
    verbs: { pool: "create, list and remove pools" },
    load: async () => (await import("./pool.js")).registerPool,
  },
  {
    verbs: { pg: "look at placement groups" },
    load: async () => (await import("./pg.js")).registerPg,
  },
  {
    verbs: { config: "settings of the cluster, such as log levels" },
    load: async () => (await import("./config.js")).registerConfig,
  },
  {
    verbs: { osd: "run an OSD in the foreground, or manage OSDs" },
    load: async () => (await import("./osd.js")).registerOsd,
  },
  {
    verbs: { monitor: "run the monitor in the foreground" },
    load: async () => (await import("./monitor.js")).registerMonitor,
  },
  {
    verbs: { crush: "work with CRUSH maps" },
    load: async () => {
      const [{ registerCrush }, { native }] = await Promise.all([
        import("./crush.js"),
        import("../native/index.js"),
      ]);
      const { stdout, stderr } = process;
      return (program) => registerCrush(program, { native, stdout, stderr });
    },
  },
];

function version(): string {
  const file = new URL("../../package.json", import.meta.url);
  const { version: text } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
  return text;
}

function makeProgram(): Command {
  return new Command("cairn")
    .description("Cairn: distributed block storage for virtual machines.")
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print help; every command has its own")
    .usage("COMMAND [options]")
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .showSuggestionAfterError()
    .addHelpText(
      "after",
      `
Examples:
  cairn up                               start a cluster with 3 OSDs in ./.cairn
  cairn create rbd/disk1 --size 4G
  cairn import debian.qcow2 rbd/debian
  cairn attach rbd/debian --vhost-user /tmp/vm1.sock
  cairn status

Exit codes: 0 success, 1 failure, 2 wrong arguments.`,
    );
}

/** The verb: the first word that is no option; of `help VERB` the second. */
function verbOf(words: readonly string[]): string | undefined {
  const plain = words.filter((word) => !word.startsWith("-"));
  return plain[0] === "help" ? plain[1] : plain[0];
}

async function main(argv: readonly string[]): Promise<number> {
  const program = makeProgram();
  const verb = verbOf(argv);
  const family = families.find(({ verbs }) => verb !== undefined && Object.hasOwn(verbs, verb));
  try {
    if (family === undefined) {
      for (const { verbs } of families) {
        for (const [name, summary] of Object.entries(verbs)) {
          program.command(name).description(summary);
        }
      }
      if (argv.length === 0) program.help({ error: false });
    } else {
      (await family.load())(program);
    }
    await program.parseAsync(argv, { from: "user" });
    return Number(process.exitCode ?? exitCodes.success);
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return exitCodes.success;
    return reportError(thrown, argv, program);
  }
}

// The reader of our output has gone (`cairn pg ls | head`): nothing is left to say.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(exitCodes.success);
  throw error;
});

process.exitCode = await main(process.argv.slice(2));
