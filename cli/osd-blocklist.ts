// `cairn osd blocklist add|rm|ls`: clients of which the OSDs carry nothing out any more.
import { type Command, InvalidArgumentError } from "commander";
import { withMonitor } from "./connect.js";
import { type ClusterOptions, durationValue, withCluster, withExamples } from "./options.js";
import { printResult, tableText } from "./output.js";

const defaultExpireMs = 3_600_000;

export function registerBlocklist(osd: Command): void {
  const blocklist = osd
    .command("blocklist")
    .description("Clients whose operations every OSD refuses, each for a time.");

  const add = blocklist
    .command("add")
    .description("Refuse everything of a client. It has to be started anew to go on.")
    .argument("<client>", "its id, as `cairn lock ls` shows it", clientValue)
    .option("--expire <duration>", "for how long", durationValue, defaultExpireMs);
  withCluster(add).action(async (client: string, flags: ClusterOptions & { expire: number }) => {
    const { epoch, untilMs } = await withMonitor(flags, (monitor) =>
      monitor.command("osd blocklist add", { client, expireMs: flags.expire }),
    );
    const until = new Date(untilMs).toISOString();
    printResult(flags.format, { client, untilMs, epoch }, () => `client ${client}: until ${until}`);
  });
  withExamples(add, "cairn osd blocklist add 17234567890 --expire 1h");

  const remove = blocklist
    .command("rm")
    .description("Take a client off the list before its time.")
    .argument("<client>", "its id", clientValue);
  withCluster(remove).action(async (client: string, flags: ClusterOptions) => {
    const { epoch } = await withMonitor(flags, (monitor) =>
      monitor.command("osd blocklist rm", { client }),
    );
    printResult(flags.format, { client, epoch }, () => `client ${client} is not listed any more`);
  });
  withExamples(remove, "cairn osd blocklist rm 17234567890");

  const list = blocklist.command("ls").description("Show the list.");
  withCluster(list).action(async (flags: ClusterOptions) => {
    const { entries } = await withMonitor(flags, (monitor) =>
      monitor.command("osd blocklist ls", {}),
    );
    printResult(flags.format, entries, () =>
      entries.length === 0
        ? ""
        : tableText(
            [{ title: "CLIENT" }, { title: "UNTIL" }],
            entries.map(({ client, untilMs }) => [client, new Date(untilMs).toISOString()]),
          ),
    );
  });
  withExamples(list, "cairn osd blocklist ls --format json");
}

export function clientValue(text: string): string {
  if (/^[0-9]{1,20}$/.test(text) && BigInt(text) < 2n ** 64n) return text;
  throw new InvalidArgumentError("It should be a client's id: a number.");
}
