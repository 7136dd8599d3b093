// `cairn config set|get|ls`: settings that the monitor keeps in the cluster map.
import { StorageError } from "../common/errors.js";
import { withMonitor } from "./connect.js";
import type { ClusterOptions } from "./options.js";
import { printResult, table } from "./output.js";

export async function setAction(name: string, value: string, flags: ClusterOptions): Promise<void> {
  const { epoch } = await withMonitor(flags, (monitor) =>
    monitor.command("config set", { name, value }),
  );
  printResult(flags, { name, value, epoch }, () => `${name} = ${value} (epoch ${epoch})`);
}

async function settings(flags: ClusterOptions): Promise<Record<string, string>> {
  const { config } = await withMonitor(flags, (monitor) => monitor.command("config ls", {}));
  return config;
}

export async function getAction(name: string, flags: ClusterOptions): Promise<void> {
  const value = (await settings(flags))[name];
  if (value === undefined) {
    throw new StorageError("not_found", `${name} is not set`, {
      remedy: "`cairn config ls` shows what is set; everything else has its default.",
    });
  }
  printResult(flags, { name, value }, () => value);
}

export async function listAction(flags: ClusterOptions): Promise<void> {
  const config = await settings(flags);
  printResult(flags, config, () =>
    table([{ title: "NAME" }, { title: "VALUE" }], Object.entries(config)),
  );
}
