// The directory of the images of a pool or namespace: names, ids, images that are being made or
// taken away, the trash. One object, so every change of several entries is one atomic operation.
// docs/format/image.md
//
// Invariants: a name leads to one id and back; an id is named, pending or in the trash, exactly one
// of them; every header and data object that exists belongs to an id that a directory has, so
// nothing is ever lost from sight.
import { StorageError } from "../../common/errors.js";
import { DirectoryObject, type DirectoryPlace, type ObjectIo } from "./directory-object.js";
import { compareStep, removeStep, setStep, textValue, valueText } from "./omap-values.js";
import { decodePending, encodePending, type PendingRecord } from "./pending-record.js";
import { decodeTrash, encodeTrash, type TrashRecord } from "./trash-record.js";

export const namePrefix = "name_";
export const idPrefix = "id_";
export const pendingPrefix = "pending_";
export const trashPrefix = "trash_";

/** A pending record as stored: changes compare with exactly these bytes. */
export interface PendingEntry extends PendingRecord {
  id: string;
  stored: Uint8Array;
}

export interface TrashEntry extends TrashRecord {
  id: string;
  stored: Uint8Array;
}

export class Directory {
  private readonly object: DirectoryObject;

  constructor(io: ObjectIo, place: DirectoryPlace) {
    this.object = new DirectoryObject(io, place);
  }

  /** The image's id; undefined when there is no such name. */
  idOf(name: string): Promise<string | undefined> {
    return this.object.text(namePrefix + name);
  }

  /** The image's name; undefined when it has none (any more). */
  nameOf(id: string): Promise<string | undefined> {
    return this.object.text(idPrefix + id);
  }

  /** Whether there is such an image: named, in the trash, being made or being removed. */
  hasId(id: string): Promise<boolean> {
    return this.object.hasAny([idPrefix + id, trashPrefix + id, pendingPrefix + id]);
  }

  /** All names with their ids, by name. */
  async names(): Promise<[name: string, id: string][]> {
    const entries = await this.object.list(namePrefix);
    return entries.map(([key, value]) => [
      key.slice(namePrefix.length),
      valueText(value, `the value of ${key}`),
    ]);
  }

  async pending(): Promise<PendingEntry[]> {
    const entries = await this.object.list(pendingPrefix);
    return entries.map(([key, stored]) => ({
      ...decodePending(stored),
      id: key.slice(pendingPrefix.length),
      stored,
    }));
  }

  async trash(): Promise<TrashEntry[]> {
    const entries = await this.object.list(trashPrefix);
    return entries.map(([key, stored]) => ({
      ...decodeTrash(stored),
      id: key.slice(trashPrefix.length),
      stored,
    }));
  }

  async trashEntry(id: string): Promise<TrashEntry | undefined> {
    const stored = await this.object.get(trashPrefix + id);
    return stored === undefined ? undefined : { ...decodeTrash(stored), id, stored };
  }

  /**
   * Notes that an image of this name is being made.
   * @throws already_exists
   */
  async reserve(id: string, record: PendingRecord): Promise<PendingEntry> {
    const stored = encodePending(record);
    await this.object.add(
      [
        compareStep(namePrefix + record.name, undefined),
        compareStep(pendingPrefix + id, undefined),
        setStep(pendingPrefix + id, stored),
      ],
      () => this.nameRefused(record.name),
    );
    return { ...record, id, stored };
  }

  /**
   * Writes a pending entry anew.
   * @throws precondition_failed when somebody else has changed or taken it
   */
  async renew(entry: PendingEntry, record: PendingRecord): Promise<PendingEntry> {
    const stored = encodePending(record);
    const key = pendingPrefix + entry.id;
    await this.object.operate([compareStep(key, entry.stored), setStep(key, stored)]);
    return { ...record, id: entry.id, stored };
  }

  /**
   * A pending image gets its name: from here on it exists.
   * @throws already_exists: the name was taken meanwhile; canceled: somebody took it for dead and
   *   is clearing it away
   */
  async publish({ id, name, stored }: PendingEntry): Promise<void> {
    await this.object.add(
      [
        compareStep(namePrefix + name, undefined),
        compareStep(pendingPrefix + id, stored),
        ...this.nameSteps(id, name),
        removeStep(pendingPrefix + id),
      ],
      () => this.nameRefused(name),
    );
  }

  /**
   * Takes a name away: the image is pending, its removal can be resumed.
   * @throws precondition_failed when the name leads elsewhere by now
   */
  async unpublish(id: string, record: PendingRecord): Promise<PendingEntry> {
    const stored = encodePending(record);
    await this.object.operate([
      ...this.unnameSteps(id, record.name),
      setStep(pendingPrefix + id, stored),
    ]);
    return { ...record, id, stored };
  }

  /** @throws already_exists; not_found when the old name leads elsewhere by now */
  async rename(id: string, from: string, to: string): Promise<void> {
    const steps = [
      compareStep(namePrefix + to, undefined),
      ...this.unnameSteps(id, from),
      ...this.nameSteps(id, to),
    ];
    await this.object.add(steps, async () =>
      (await this.idOf(from)) === id
        ? this.nameRefused(to)
        : new StorageError("not_found", `${this.object.prefix}${from} has been renamed or removed`),
    );
  }

  /** @throws precondition_failed when the name leads elsewhere by now */
  async toTrash(id: string, record: TrashRecord): Promise<void> {
    await this.object.operate([
      ...this.unnameSteps(id, record.name),
      setStep(trashPrefix + id, encodeTrash(record)),
    ]);
  }

  /** @throws already_exists; not_found when it is not in the trash any more */
  async restore({ id, stored }: TrashEntry, name: string): Promise<void> {
    const key = trashPrefix + id;
    const steps = [
      compareStep(key, stored),
      compareStep(namePrefix + name, undefined),
      ...this.nameSteps(id, name),
      removeStep(key),
    ];
    await this.object.add(steps, async () =>
      (await this.trashEntry(id)) === undefined
        ? new StorageError("not_found", `${id} is not in the trash any more`)
        : this.nameRefused(name),
    );
  }

  /** From the trash to being removed. @throws precondition_failed when it is not there any more */
  async removeTrash(entry: TrashEntry, record: PendingRecord): Promise<PendingEntry> {
    const [key, stored] = [trashPrefix + entry.id, encodePending(record)];
    await this.object.operate([
      compareStep(key, entry.stored),
      removeStep(key),
      setStep(pendingPrefix + entry.id, stored),
    ]);
    return { ...record, id: entry.id, stored };
  }

  /** Nothing of the id is left: forgets it. Harmless when it is forgotten already. */
  async forget(id: string): Promise<void> {
    await this.object.operate([removeStep(pendingPrefix + id)]);
  }

  /** "rbd/" or "rbd/ns/", for messages */
  get prefix(): string {
    return this.object.prefix;
  }

  private nameSteps(id: string, name: string) {
    return [setStep(namePrefix + name, textValue(id)), setStep(idPrefix + id, textValue(name))];
  }

  private unnameSteps(id: string, name: string) {
    return [
      compareStep(namePrefix + name, textValue(id)),
      removeStep(namePrefix + name),
      removeStep(idPrefix + id),
    ];
  }

  /** Why an image could not get a name: it is taken, or the image is being cleared away. */
  private async nameRefused(name: string): Promise<StorageError> {
    const taken = this.object.prefix + name;
    if ((await this.idOf(name)) === undefined) {
      return new StorageError("canceled", `${name} was cleared away as left over by somebody`);
    }
    return new StorageError("already_exists", `image ${taken} exists`, {
      remedy: `Choose another name, or remove it first: cairn rm ${taken}`,
    });
  }
}
