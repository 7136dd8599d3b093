// `cairn osd blocklist add|rm|ls`: clients of which the OSDs carry nothing out any more.
import { withMonitor } from "./connect.js";
import type { ClusterOptions } from "./options.js";
import { printResult, table } from "./output.js";

export async function addAction(
  client: string,
  flags: ClusterOptions & { expire: number },
): Promise<void> {
  const { epoch, untilMs } = await withMonitor(flags, (monitor) =>
    monitor.command("osd blocklist add", { client, expireMs: flags.expire }),
  );
  const until = new Date(untilMs).toISOString();
  printResult(flags, { client, untilMs, epoch }, () => `client ${client}: until ${until}`);
}

export async function removeAction(client: string, flags: ClusterOptions): Promise<void> {
  const { epoch } = await withMonitor(flags, (monitor) =>
    monitor.command("osd blocklist rm", { client }),
  );
  printResult(flags, { client, epoch }, () => `client ${client} is not listed any more`);
}

export async function listAction(flags: ClusterOptions): Promise<void> {
  const { entries } = await withMonitor(flags, (monitor) =>
    monitor.command("osd blocklist ls", {}),
  );
  printResult(flags, entries, () =>
    table(
      [{ title: "CLIENT" }, { title: "UNTIL" }],
      entries.map(({ client, untilMs }) => [client, new Date(untilMs).toISOString()]),
    ),
  );
}
