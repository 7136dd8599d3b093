// `cairn config set|get|ls`: settings that the monitor keeps in the cluster map.
import type { Command } from "commander";
import { StorageError } from "../common/errors.js";
import { settingNames } from "../proto/settings.js";
import { withMonitor } from "./connect.js";
import { type ClusterOptions, withCluster, withExamples } from "./options.js";
import { printResult, tableText } from "./output.js";

export function registerConfig(program: Command): void {
  const config = program
    .command("config")
    .description("Settings of the cluster; they take effect while the daemons run.");

  const set = config
    .command("set")
    .description("Set a setting.")
    .argument("<name>", `${settingNames.join(", ")}, or osd.ID.log_level`)
    .argument("<value>", 'its value; "" takes the setting away');
  withCluster(set).action(setAction);
  withExamples(
    set,
    "cairn config set osd.log_level debug",
    "cairn config set osd.2.log_level trace",
  );

  const get = config.command("get").description("Show a setting.").argument("<name>", "its name");
  withCluster(get).action(getAction);
  withExamples(get, "cairn config get osd.log_level");

  const list = config.command("ls").description("List the settings that are set.");
  withCluster(list).action(listAction);
  withExamples(list, "cairn config ls --format json");
}

async function setAction(name: string, value: string, flags: ClusterOptions): Promise<void> {
  const { epoch } = await withMonitor(flags, (monitor) =>
    monitor.command("config set", { name, value }),
  );
  printResult(flags.format, { name, value, epoch }, () => `${name} = ${value} (epoch ${epoch})`);
}

async function settings(flags: ClusterOptions): Promise<Record<string, string>> {
  const { config } = await withMonitor(flags, (monitor) => monitor.command("config ls", {}));
  return config;
}

async function getAction(name: string, flags: ClusterOptions): Promise<void> {
  const value = (await settings(flags))[name];
  if (value === undefined) {
    throw new StorageError("not_found", `${name} is not set`, {
      remedy: "`cairn config ls` shows what is set; everything else has its default.",
    });
  }
  printResult(flags.format, { name, value }, () => value);
}

async function listAction(flags: ClusterOptions): Promise<void> {
  const config = await settings(flags);
  printResult(flags.format, config, () =>
    tableText([{ title: "NAME" }, { title: "VALUE" }], Object.entries(config)),
  );
}
