// `cairn image-meta ...`, `config image ...`, `config pool ...`, `feature ...`: what can be set for
// an image, and for all images of a pool.

import type { ImageFeature } from "../client/image/features.js";
import type { ConfigRow } from "../client/index.js";
import { nameOf, withImages } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { type Output, printResult, table } from "./output.js";
import type { ImageAddress } from "./spec.js";

export async function metaListAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const list = await withImages(flags, spec, (images) => images.metadata.list(spec.image));
  printResult(flags, Object.fromEntries(list), () =>
    table([{ title: "KEY" }, { title: "VALUE" }], list),
  );
}

export async function metaGetAction(
  spec: ImageAddress,
  key: string,
  flags: ClusterOptions,
): Promise<void> {
  const value = await withImages(flags, spec, (images) => images.metadata.get(spec.image, key));
  printResult(flags, { key, value }, () => value);
}

export async function metaSetAction(
  spec: ImageAddress,
  key: string,
  value: string,
  flags: ClusterOptions,
): Promise<void> {
  await withImages(flags, spec, (images) => images.metadata.set(spec.image, key, value));
  printResult(flags, { key, value }, () => `${nameOf(spec)}: ${key} = ${value}`);
}

export async function metaRemoveAction(
  spec: ImageAddress,
  key: string,
  flags: ClusterOptions,
): Promise<void> {
  await withImages(flags, spec, (images) => images.metadata.remove(spec.image, key));
  printResult(flags, { key, removed: true }, () => `${nameOf(spec)}: ${key} removed`);
}

function configTable(rows: readonly ConfigRow[]): Output {
  return table(
    [{ title: "NAME" }, { title: "VALUE" }, { title: "SOURCE" }, { title: "MEANING" }],
    rows.map(({ option, value, source, description }) => [option, value, source, description]),
  );
}

export async function configListAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const rows = await withImages(flags, spec, (images) => images.config.list(spec.image));
  printResult(flags, rows, () => configTable(rows));
}

export async function configGetAction(
  spec: ImageAddress,
  key: string,
  flags: ClusterOptions,
): Promise<void> {
  const value = await withImages(flags, spec, (images) => images.config.get(spec.image, key));
  printResult(flags, { key, value }, () => value);
}

export async function configSetAction(
  spec: ImageAddress,
  key: string,
  value: string,
  flags: ClusterOptions,
): Promise<void> {
  await withImages(flags, spec, (images) => images.config.set(spec.image, key, value));
  printResult(flags, { key, value }, () => `${nameOf(spec)}: ${key} = ${value}`);
}

export async function configRemoveAction(
  spec: ImageAddress,
  key: string,
  flags: ClusterOptions,
): Promise<void> {
  await withImages(flags, spec, (images) => images.config.remove(spec.image, key));
  printResult(flags, { key, removed: true }, () => `${nameOf(spec)}: ${key} is as its pool has it`);
}

const placeOf = (pool: string) => ({ pool, namespace: "" });

export async function poolConfigListAction(pool: string, flags: ClusterOptions): Promise<void> {
  const rows = await withImages(flags, placeOf(pool), (images) => images.config.listPool());
  printResult(flags, rows, () => configTable(rows));
}

export async function poolConfigGetAction(
  pool: string,
  key: string,
  flags: ClusterOptions,
): Promise<void> {
  const value = await withImages(flags, placeOf(pool), (images) => images.config.getPool(key));
  printResult(flags, { key, value }, () => value);
}

export async function poolConfigSetAction(
  pool: string,
  key: string,
  value: string,
  flags: ClusterOptions,
): Promise<void> {
  await withImages(flags, placeOf(pool), (images) => images.config.setPool(key, value));
  printResult(flags, { key, value }, () => `images of ${pool}: ${key} = ${value}`);
}

export async function poolConfigRemoveAction(
  pool: string,
  key: string,
  flags: ClusterOptions,
): Promise<void> {
  await withImages(flags, placeOf(pool), (images) => images.config.removePool(key));
  printResult(flags, { key, removed: true }, () => `images of ${pool}: ${key} has its default`);
}

/** `cairn feature enable` or `disable`. */
export const featureAction =
  (change: "enable" | "disable") =>
  async (spec: ImageAddress, names: ImageFeature[][], flags: ClusterOptions): Promise<void> => {
    const features = await withImages(flags, spec, (images) =>
      images.features[change](spec.image, names.flat()),
    );
    printResult(flags, { ...spec, features }, () => `${nameOf(spec)} has ${features.join(", ")}`);
  };
