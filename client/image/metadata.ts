// Metadata of images: keys and texts of the user's own, in the header. Those that begin with conf_
// are the image's configuration (config-store.ts).
import { StorageError } from "../../common/errors.js";
import type { NativeStep } from "../../native/binding.js";
import { listKeys } from "./directory-object.js";
import { headerObject } from "./header.js";
import { announceChange } from "./management-lock.js";
import { removeStep, setStep, textValue, valueText } from "./omap-values.js";
import type { Scope } from "./scope.js";

export const metadataPrefix = "meta_";
export const configPrefix = "conf_";
const maxKeyBytes = 256;
const maxValueBytes = 4096;

export class ImageMetadata {
  constructor(private readonly scope: Scope) {}

  /** By key. @throws not_found */
  async list(image: string): Promise<[key: string, value: string][]> {
    return listMetadata(this.scope, await this.scope.idOf(image), "");
  }

  /** @throws not_found */
  async get(image: string, key: string): Promise<string> {
    const id = await this.scope.idOf(image);
    const found = (await listMetadata(this.scope, id, key)).find(([other]) => other === key);
    if (found !== undefined) return found[1];
    throw noKey(this.scope.prefix + image, key);
  }

  /** @throws invalid_argument, not_found */
  async set(image: string, key: string, value: string): Promise<void> {
    check(key, value);
    refuseConfig(key);
    await writeMetadata(this.scope, await this.scope.idOf(image), key, value);
  }

  /** @throws not_found */
  async remove(image: string, key: string): Promise<void> {
    refuseConfig(key);
    await this.get(image, key);
    await writeMetadata(this.scope, await this.scope.idOf(image), key, undefined);
  }
}

function check(key: string, value: string): void {
  const keyBytes = textValue(key).length;
  // Control characters would break the tables that they are shown in.
  const isFine = keyBytes > 0 && keyBytes <= maxKeyBytes && !/\p{Cc}/u.test(key);
  if (!isFine) {
    throw new StorageError("invalid_argument", `${JSON.stringify(key)} is no metadata key`, {
      remedy: `A key has 1 to ${maxKeyBytes} bytes without control characters.`,
    });
  }
  const valueBytes = textValue(value).length;
  if (valueBytes > 0 && valueBytes <= maxValueBytes) return;
  throw new StorageError("invalid_argument", `a value of ${valueBytes} bytes cannot be`, {
    remedy: `A value has 1 to ${maxValueBytes} bytes.`,
  });
}

function refuseConfig(key: string): void {
  if (!key.startsWith(configPrefix)) return;
  throw new StorageError("invalid_argument", `${key} is configuration, not metadata`, {
    remedy: "Use `cairn config image set|rm`, which checks its value.",
  });
}

const noKey = (spec: string, key: string) =>
  new StorageError("not_found", `${spec} has no metadata "${key}"`, {
    remedy: `\`cairn image-meta ls ${spec}\` lists the keys.`,
  });

/** Those whose key begins with a prefix, by key. */
export async function listMetadata(
  scope: Scope,
  id: string,
  prefix: string,
): Promise<[key: string, value: string][]> {
  const at: [number, string] = [scope.pool.id, headerObject(id)];
  const { omap } = await listKeys(scope.io, at, metadataPrefix + prefix);
  return omap.map(([key, value]) => [key.slice(metadataPrefix.length), valueText(value, key)]);
}

/** The steps that write the metadata of another image into a new header. */
export function metadataSteps(entries: readonly [key: string, value: string][]): NativeStep[] {
  return entries.map(([key, value]) => setStep(metadataPrefix + key, textValue(value)));
}

/** @param value undefined: the key goes */
export async function writeMetadata(
  scope: Scope,
  id: string,
  key: string,
  value: string | undefined,
): Promise<void> {
  const name = metadataPrefix + key;
  await scope.io.operate(scope.pool.id, headerObject(id), [
    { code: "assertExists" },
    value === undefined ? removeStep(name) : setStep(name, textValue(value)),
  ]);
  await announceChange(scope.lockPorts(), { pool: scope.pool.id, id });
}
