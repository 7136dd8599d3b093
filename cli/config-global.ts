// `cairn config global ...`: options of images of all pools. The monitor keeps them in the cluster
// map.
import { parseOption, parseOptionValue } from "../client/image/image-config.js";
import { StorageError } from "../common/errors.js";
import { globalOptionKey, globalOptionOf } from "../proto/image-options.js";
import { withMonitor } from "./connect.js";
import type { ClusterOptions } from "./options.js";
import { printResult, table } from "./output.js";

type Option = ReturnType<typeof parseOption>;

async function valuesOf(entity: string, flags: ClusterOptions): Promise<Map<Option, string>> {
  const { config } = await withMonitor(flags, (monitor) => monitor.command("config ls", {}));
  const values = new Map<Option, string>();
  for (const [key, value] of Object.entries(config)) {
    const found = globalOptionOf(key);
    if (found?.entity === entity) values.set(found.option, value);
  }
  return values;
}

async function setValueOf(entity: string, option: Option, flags: ClusterOptions): Promise<string> {
  const value = (await valuesOf(entity, flags)).get(option);
  if (value !== undefined) return value;
  throw new StorageError("not_found", `${option} is not set for ${entity}`, {
    remedy: `\`cairn config global ls ${entity}\` shows what is.`,
  });
}

export async function listAction(entity: string, flags: ClusterOptions): Promise<void> {
  const rows = [...(await valuesOf(entity, flags))].sort();
  printResult(flags, Object.fromEntries(rows), () =>
    table([{ title: "NAME" }, { title: "VALUE" }], rows),
  );
}

export async function getAction(
  entity: string,
  name: string,
  flags: ClusterOptions,
): Promise<void> {
  const value = await setValueOf(entity, parseOption(name), flags);
  printResult(flags, { entity, key: name, value }, () => value);
}

export async function setAction(
  entity: string,
  name: string,
  text: string,
  flags: ClusterOptions,
): Promise<void> {
  const option = parseOption(name);
  const value = parseOptionValue(option, text);
  const { epoch } = await withMonitor(flags, (monitor) =>
    monitor.command("config set", { name: globalOptionKey(entity, option), value }),
  );
  printResult(flags, { entity, key: name, value, epoch }, () => `${entity}: ${name} = ${value}`);
}

export async function removeAction(
  entity: string,
  name: string,
  flags: ClusterOptions,
): Promise<void> {
  const option = parseOption(name);
  await setValueOf(entity, option, flags);
  const { epoch } = await withMonitor(flags, (monitor) =>
    monitor.command("config set", { name: globalOptionKey(entity, option), value: "" }),
  );
  const text = `${entity}: ${name} is not set any more`;
  printResult(flags, { entity, key: name, removed: true, epoch }, () => text);
}
