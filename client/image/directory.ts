// The directory of a pool's images: names, ids, and images that are being made or taken away. One
// object, so every change of several entries is one atomic operation. docs/format/image.md
//
// Invariants: a name leads to one id and back; an id is either named or pending, never both; every
// header and data object that exists belongs to an id that the directory has, named or pending, so
// nothing is ever lost from sight.
import { StorageError } from "../../common/errors.js";
import type { NativeClient, NativeStep } from "../../native/binding.js";
import {
  decodePending,
  directoryObject,
  encodePending,
  idPrefix,
  namePrefix,
  type PendingRecord,
  pendingPrefix,
  textValue,
  valueText,
} from "./header.js";

export type ObjectIo = Pick<NativeClient, "operate">;

/** A pending record as stored: changes compare with exactly these bytes. */
export interface PendingEntry extends PendingRecord {
  id: string;
  stored: Uint8Array;
}

const pageKeys = 500;
const nothing = new Uint8Array();

function hasCode(thrown: unknown, code: string): boolean {
  return (thrown as { code?: unknown } | null)?.code === code;
}

export class Directory {
  constructor(
    private readonly io: ObjectIo,
    private readonly pool: { id: number; name: string },
  ) {}

  /** The image's id; undefined when there is no such name. */
  async idOf(name: string): Promise<string | undefined> {
    const value = await this.get(namePrefix + name);
    return value === undefined ? undefined : valueText(value, `the id of ${name}`);
  }

  /** All names with their ids, by name. */
  async names(): Promise<[name: string, id: string][]> {
    const entries = await this.list(namePrefix);
    return entries.map(([key, value]) => [
      key.slice(namePrefix.length),
      valueText(value, `the value of ${key}`),
    ]);
  }

  async pending(): Promise<PendingEntry[]> {
    const entries = await this.list(pendingPrefix);
    return entries.map(([key, stored]) => ({
      ...decodePending(stored),
      id: key.slice(pendingPrefix.length),
      stored,
    }));
  }

  /**
   * Notes that an image of this name is being made.
   * @throws already_exists
   */
  async reserve(id: string, record: PendingRecord): Promise<PendingEntry> {
    const stored = encodePending(record);
    await this.change(record.name, [
      { code: "omapCompare", key: namePrefix + record.name, value: nothing },
      { code: "omapCompare", key: pendingPrefix + id, value: nothing },
      { code: "omapSet", key: pendingPrefix + id, value: stored },
    ]);
    return { ...record, id, stored };
  }

  /**
   * Writes a pending entry anew.
   * @throws precondition_failed when somebody else has changed or taken it
   */
  async renew(entry: PendingEntry, record: PendingRecord): Promise<PendingEntry> {
    const stored = encodePending(record);
    const key = pendingPrefix + entry.id;
    await this.operate([
      { code: "omapCompare", key, value: entry.stored },
      { code: "omapSet", key, value: stored },
    ]);
    return { ...record, id: entry.id, stored };
  }

  /**
   * A pending image gets its name: from here on it exists.
   * @throws already_exists: the name was taken meanwhile; canceled: somebody took it for dead and
   *   is clearing it away
   */
  async publish(entry: PendingEntry): Promise<void> {
    const { id, name, stored } = entry;
    await this.change(name, [
      { code: "omapCompare", key: namePrefix + name, value: nothing },
      { code: "omapCompare", key: pendingPrefix + id, value: stored },
      { code: "omapSet", key: namePrefix + name, value: textValue(id) },
      { code: "omapSet", key: idPrefix + id, value: textValue(name) },
      { code: "omapRemove", key: pendingPrefix + id },
    ]);
  }

  /**
   * Takes a name away: the image is pending, its removal can be resumed.
   * @throws precondition_failed when the name leads elsewhere by now
   */
  async unpublish(id: string, record: PendingRecord): Promise<PendingEntry> {
    const stored = encodePending(record);
    await this.operate([
      { code: "omapCompare", key: namePrefix + record.name, value: textValue(id) },
      { code: "omapRemove", key: namePrefix + record.name },
      { code: "omapRemove", key: idPrefix + id },
      { code: "omapSet", key: pendingPrefix + id, value: stored },
    ]);
    return { ...record, id, stored };
  }

  /** Nothing of the id is left: forgets it. Harmless when it is forgotten already. */
  async forget(id: string): Promise<void> {
    await this.operate([{ code: "omapRemove", key: pendingPrefix + id }]);
  }

  /** A change that compares the name with "absent": says which of its guards failed. */
  private async change(name: string, steps: NativeStep[]): Promise<void> {
    try {
      await this.operate(steps);
    } catch (thrown) {
      if (!hasCode(thrown, "precondition_failed")) throw thrown;
      if ((await this.idOf(name)) === undefined) {
        throw new StorageError("canceled", `${name} was cleared away as left over by somebody`);
      }
      const remedy = `Choose another name, or remove it first: cairn rm ${this.pool.name}/${name}`;
      throw new StorageError("already_exists", `image ${this.pool.name}/${name} exists`, {
        remedy,
      });
    }
  }

  private operate(steps: NativeStep[]) {
    return this.io.operate(this.pool.id, directoryObject, steps);
  }

  private async get(key: string): Promise<Uint8Array | undefined> {
    try {
      const { omap } = await this.operate([{ code: "omapGet", key }]);
      return omap[0]?.[1];
    } catch (thrown) {
      if (hasCode(thrown, "not_found")) return undefined;
      throw thrown;
    }
  }

  private async list(prefix: string): Promise<[key: string, value: Uint8Array][]> {
    const all: [string, Uint8Array][] = [];
    let after = nothing;
    for (;;) {
      const { omap } = await this.operate([
        { code: "omapList", key: prefix, value: after, length: pageKeys },
      ]);
      all.push(...omap);
      const last = omap.at(-1);
      if (last === undefined || omap.length < pageKeys) return all;
      after = Uint8Array.from(textValue(last[0]));
    }
  }
}
