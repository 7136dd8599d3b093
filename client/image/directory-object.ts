// The object that is the directory of a pool or of a namespace: reading it, and changing several of
// its entries at once. What the entries mean is in directory.ts (images) and group-directory.ts.
import { StorageError } from "../../common/errors.js";
import type { NativeClient, NativeStep } from "../../native/binding.js";
import { compareStep, hasCode, noValue, textValue, valueText } from "./omap-values.js";

export type ObjectIo = Pick<NativeClient, "operate">;

export interface DirectoryPlace {
  pool: { id: number; name: string };
  /** "": the pool's own images */
  namespace: string;
}

/** Key in the directory of a namespace, with the state of that as text. */
export const namespaceKey = "namespace";
export type NamespaceState = "ready" | "removing";

const pageKeys = 500;

/** Name of the directory object. */
export function directoryObject(namespace: string): string {
  return namespace === "" ? "rbd_directory" : `${namespace}/rbd_directory`;
}

/** Lists all key-values of an object that begin with a prefix, in pages. */
export async function listKeys(
  io: ObjectIo,
  [pool, object]: [pool: number, object: string],
  prefix: string,
): Promise<{ exists: boolean; omap: [key: string, value: Uint8Array][] }> {
  const all: [string, Uint8Array][] = [];
  let after = noValue;
  for (;;) {
    const { omap, exists } = await io.operate(pool, object, [
      { code: "omapList", key: prefix, value: after, length: pageKeys },
    ]);
    all.push(...omap);
    const last = omap.at(-1);
    if (last === undefined || omap.length < pageKeys) return { exists, omap: all };
    after = Uint8Array.from(textValue(last[0]));
  }
}

export class DirectoryObject {
  readonly object: string;

  constructor(
    private readonly io: ObjectIo,
    readonly place: DirectoryPlace,
  ) {
    this.object = directoryObject(place.namespace);
  }

  /** "rbd/" or "rbd/ns/", for messages */
  get prefix(): string {
    const { pool, namespace } = this.place;
    return namespace === "" ? `${pool.name}/` : `${pool.name}/${namespace}/`;
  }

  /** @throws not_found when there is no such namespace */
  async get(key: string): Promise<Uint8Array | undefined> {
    // A key sorts before all those that it is a prefix of.
    const step = { code: "omapList" as const, key, value: noValue, length: 1 };
    const { omap, exists } = await this.operate([step]);
    if (!exists) this.refuseMissing();
    return omap.find(([other]) => other === key)?.[1];
  }

  /** Whether any of these keys is there, as of one moment. */
  async hasAny(keys: readonly string[]): Promise<boolean> {
    const steps = keys.map((key) => ({
      ...{ code: "omapList" as const, key, value: noValue, length: 1 },
    }));
    const { omap } = await this.operate(steps);
    return omap.some(([key]) => keys.includes(key));
  }

  async text(key: string): Promise<string | undefined> {
    const value = await this.get(key);
    return value === undefined ? undefined : valueText(value, `the value of ${key}`);
  }

  /** @throws not_found when there is no such namespace */
  async list(prefix: string): Promise<[key: string, value: Uint8Array][]> {
    const at: [number, string] = [this.place.pool.id, this.object];
    const { exists, omap } = await listKeys(this.io, at, prefix);
    if (!exists) this.refuseMissing();
    return omap;
  }

  /**
   * A change that adds something. In a namespace: only while that is not being removed.
   * @param refused called when one of its guards fails, to say what is wrong
   */
  async add(steps: NativeStep[], refused: () => Promise<StorageError>): Promise<void> {
    const guard = this.place.namespace === "" ? [] : [compareStep(namespaceKey, readyValue)];
    try {
      await this.operate([...guard, ...steps]);
    } catch (thrown) {
      if (!hasCode(thrown, "precondition_failed")) throw thrown;
      await this.refuseUnready();
      throw await refused();
    }
  }

  operate(steps: NativeStep[]) {
    return this.io.operate(this.place.pool.id, this.object, steps);
  }

  private async refuseUnready(): Promise<void> {
    const { namespace, pool } = this.place;
    if (namespace === "" || (await this.text(namespaceKey)) === "ready") return;
    throw new StorageError("busy", `the namespace ${pool.name}/${namespace} is being removed`, {
      remedy: `To keep it: cairn namespace create ${pool.name}/${namespace}`,
    });
  }

  private refuseMissing(): void {
    const { namespace, pool } = this.place;
    if (namespace === "") return;
    throw new StorageError("not_found", `there is no namespace ${pool.name}/${namespace}`, {
      remedy: `\`cairn namespace ls ${pool.name}\` lists them.`,
    });
  }
}

const readyValue = textValue("ready" satisfies NamespaceState);
