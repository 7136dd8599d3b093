// The groups of a pool or namespace in its directory: names, ids, and groups that are being made or
// taken away.
import { StorageError } from "../../common/errors.js";
import { DirectoryObject } from "./directory-object.js";
import { compareStep, hasCode, removeStep, setStep, textValue, valueText } from "./omap-values.js";
import { decodePending, encodePending } from "./pending-record.js";
import type { Scope } from "./scope.js";

const groupPrefix = "group_";
const groupIdPrefix = "groupid_";
const groupPendingPrefix = "grouppending_";

export class GroupDirectory {
  private readonly object: DirectoryObject;

  constructor(private readonly scope: Scope) {
    this.object = new DirectoryObject(scope.io, { pool: scope.pool, namespace: scope.namespace });
  }

  async names(): Promise<[name: string, id: string][]> {
    const entries = await this.object.list(groupPrefix);
    return entries.map(([key, value]) => [key.slice(groupPrefix.length), valueText(value, key)]);
  }

  /** @throws not_found */
  async idOf(name: string): Promise<string> {
    const id = await this.object.text(groupPrefix + name);
    if (id !== undefined) return id;
    throw new StorageError("not_found", `there is no group ${this.object.prefix}${name}`, {
      remedy: "`cairn group ls` lists the groups.",
    });
  }

  /** Being made or removed, with since when. */
  async pending(): Promise<{ id: string; state: string; refreshedAt: number }[]> {
    const entries = await this.object.list(groupPendingPrefix);
    return entries.map(([key, value]) => {
      const { state, refreshedAt } = decodePending(value);
      return { id: key.slice(groupPendingPrefix.length), state, refreshedAt };
    });
  }

  /** @throws already_exists */
  async reserve(id: string, name: string): Promise<void> {
    const record = { state: "creating" as const, name, refreshedAt: this.scope.nowMs() };
    await this.object.add(
      [
        compareStep(groupPrefix + name, undefined),
        setStep(groupPendingPrefix + id, encodePending(record)),
      ],
      async () => this.taken(name),
    );
  }

  /** @throws already_exists */
  async publish(id: string, name: string): Promise<void> {
    const steps = [
      compareStep(groupPrefix + name, undefined),
      ...this.nameSteps(id, name),
      removeStep(groupPendingPrefix + id),
    ];
    await this.object.add(steps, async () => this.taken(name));
  }

  /** @throws already_exists, not_found */
  async rename(id: string, from: string, to: string): Promise<void> {
    const steps = [
      compareStep(groupPrefix + to, undefined),
      compareStep(groupPrefix + from, textValue(id)),
      removeStep(groupPrefix + from),
      ...this.nameSteps(id, to),
    ];
    await this.object.add(steps, async () => {
      await this.idOf(from);
      return this.taken(to);
    });
  }

  /** Its removal has begun, and can be carried on. @throws not_found */
  async unpublish(id: string, name: string): Promise<void> {
    const record = { state: "removing" as const, name, refreshedAt: this.scope.nowMs() };
    try {
      await this.object.operate([
        compareStep(groupPrefix + name, textValue(id)),
        removeStep(groupPrefix + name),
        removeStep(groupIdPrefix + id),
        setStep(groupPendingPrefix + id, encodePending(record)),
      ]);
    } catch (thrown) {
      if (!hasCode(thrown, "precondition_failed")) throw thrown;
      throw new StorageError("not_found", `group ${name} has been renamed or removed`);
    }
  }

  async forget(id: string): Promise<void> {
    await this.object.operate([removeStep(groupPendingPrefix + id)]);
  }

  private nameSteps(id: string, name: string) {
    return [
      setStep(groupPrefix + name, textValue(id)),
      setStep(groupIdPrefix + id, textValue(name)),
    ];
  }

  private taken(name: string): StorageError {
    return new StorageError("already_exists", `group ${this.object.prefix}${name} exists`);
  }
}
