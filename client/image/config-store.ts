// The configuration of images: what is set for one image is in its metadata, what is set for all
// images of a pool in the pool's object rbd_config, what is set for those of all pools in the map.
import { StorageError } from "../../common/errors.js";
import {
  globalOptionValue,
  type ImageOption,
  imageOptionNames,
} from "../../proto/image-options.js";
import { listKeys } from "./directory-object.js";
import { type ConfigValues, imageOptions, parseOption, parseOptionValue } from "./image-config.js";
import { announce } from "./management-lock.js";
import { configPrefix, listMetadata, writeMetadata } from "./metadata.js";
import { removeStep, setStep, textValue, valueText } from "./omap-values.js";
import type { Scope } from "./scope.js";

export const poolConfigObject = "rbd_config";

export interface ConfigRow {
  option: ImageOption;
  value: string;
  source: "default" | "global" | "pool" | "image";
  description: string;
}

function valuesOf(entries: readonly (readonly [key: string, value: string])[]): ConfigValues {
  const values: ConfigValues = {};
  for (const [key, value] of entries) {
    const option = imageOptionNames.find((name) => configPrefix + name === key);
    // What a newer version has set means nothing here.
    if (option !== undefined) values[option] = value;
  }
  return values;
}

async function readPool({ io, pool }: Scope): Promise<ConfigValues> {
  const { omap } = await listKeys(io, [pool.id, poolConfigObject], configPrefix);
  return valuesOf(omap.map(([key, value]) => [key, valueText(value, key)]));
}

async function readOwn(scope: Scope, id: string): Promise<ConfigValues> {
  return valuesOf(await listMetadata(scope, id, configPrefix));
}

/** By the map. */
export function globalValues({ cluster }: Scope): ConfigValues {
  const map = cluster.map();
  const values: ConfigValues = {};
  for (const option of imageOptionNames) {
    const value = globalOptionValue(map, option, cluster.hostName);
    if (value !== undefined) values[option] = value;
  }
  return values;
}

/** What holds for an image: its own values, then those of its pool, then those of all pools. */
export async function readConfig(scope: Scope, id: string): Promise<ConfigValues> {
  const [pool, own] = await Promise.all([readPool(scope), readOwn(scope, id)]);
  return { ...globalValues(scope), ...pool, ...own };
}

function rows(global: ConfigValues, pool: ConfigValues, image: ConfigValues): ConfigRow[] {
  return imageOptionNames.map((option) => {
    const { description, fallback } = imageOptions[option];
    const [own, pooled] = [image[option], pool[option]];
    if (own !== undefined) return { option, value: own, source: "image", description };
    if (pooled !== undefined) return { option, value: pooled, source: "pool", description };
    const common = global[option];
    if (common !== undefined) return { option, value: common, source: "global", description };
    return { option, value: fallback, source: "default", description };
  });
}

const unset = (option: string, where: string) =>
  new StorageError("not_found", `${option} is not set for ${where}`, {
    remedy: "`cairn config image ls` and `cairn config pool ls` show what is.",
  });

export class ImageConfig {
  constructor(private readonly scope: Scope) {}

  /** All options, with where their values come from. @throws not_found */
  async list(image: string): Promise<ConfigRow[]> {
    const id = await this.scope.idOf(image);
    return rows(
      globalValues(this.scope),
      await readPool(this.scope),
      await readOwn(this.scope, id),
    );
  }

  /** @throws invalid_argument; not_found when it is not set for the image itself */
  async get(image: string, name: string): Promise<string> {
    const option = parseOption(name);
    const value = (await readOwn(this.scope, await this.scope.idOf(image)))[option];
    if (value === undefined) throw unset(option, this.scope.prefix + image);
    return value;
  }

  /** Takes effect at once, also where the image is in use. @throws invalid_argument, not_found */
  async set(image: string, name: string, text: string): Promise<void> {
    const option = parseOption(name);
    const value = parseOptionValue(option, text);
    const id = await this.scope.idOf(image);
    await writeMetadata(this.scope, id, configPrefix + option, value);
  }

  /** @throws invalid_argument; not_found when it is not set */
  async remove(image: string, name: string): Promise<void> {
    await this.get(image, name);
    const id = await this.scope.idOf(image);
    await writeMetadata(this.scope, id, configPrefix + parseOption(name), undefined);
  }

  async listPool(): Promise<ConfigRow[]> {
    return rows(globalValues(this.scope), await readPool(this.scope), {});
  }

  /** @throws invalid_argument; not_found when it is not set */
  async getPool(name: string): Promise<string> {
    const option = parseOption(name);
    const value = (await readPool(this.scope))[option];
    if (value === undefined) throw unset(option, `the pool ${this.scope.pool.name}`);
    return value;
  }

  /** Takes effect at once, also where images are in use. @throws invalid_argument */
  async setPool(name: string, text: string): Promise<void> {
    const option = parseOption(name);
    const value = textValue(parseOptionValue(option, text));
    await this.writePool([setStep(configPrefix + option, value)]);
  }

  /** @throws invalid_argument; not_found when it is not set */
  async removePool(name: string): Promise<void> {
    await this.getPool(name);
    await this.writePool([removeStep(configPrefix + parseOption(name))]);
  }

  private async writePool(steps: ReturnType<typeof setStep>[]): Promise<void> {
    const { io, pool } = this.scope;
    await io.operate(pool.id, poolConfigObject, steps);
    await announce(io, { pool: pool.id, object: poolConfigObject });
  }
}
