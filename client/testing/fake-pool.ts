// A cluster's objects in memory, of all pools, with the operations that a primary carries out.
import { StorageError } from "../../common/errors.js";
import type {
  NativeDiffHeader,
  NativeFence,
  NativeOpReply,
  NativeStep,
} from "../../native/binding.js";
import { type Content, FakeData } from "./fake-data.js";
import { FakeWatchers } from "./fake-watchers.js";

/** What a diff holds of whole objects. */
export interface FakeDiff {
  header: NativeDiffHeader;
  objects: [offset: number, content: Content][];
}

/** The objects, which outlive a client. */
export class FakePool {
  /** name -> key-values */
  readonly objects = new Map<string, Map<string, Uint8Array>>();
  readonly watchers = new FakeWatchers();
  readonly data = new FakeData(this.objects);
  /** fence key -> highest token seen */
  readonly tokens = new Map<string, number>();
  /** files of diffs, by descriptor */
  readonly diffs = new Map<number, FakeDiff>();
  /** the newest snapshot id that was handed out */
  snapSeq = 0;

  /** The name of an object here, among those of all pools; those of pool 1 are as they are. */
  key(pool: number, object: string): string {
    return pool === 1 ? object : `${pool}:${object}`;
  }

  /** Names of data objects that have a head. */
  dataObjects(): string[] {
    return [...this.objects]
      .filter(([name, values]) => /(^|:)rbd_data\./.test(name) && values.has("head"))
      .map(([name]) => name);
  }

  /** Raises the token, as the first request under it does. @throws fenced */
  requireToken({ key, token }: NativeFence): void {
    const highest = this.tokens.get(key) ?? 0;
    if (token < highest) throw new StorageError("fenced", `token ${token} is below ${highest}`);
    this.raiseToken({ key, token });
  }

  raiseToken({ key, token }: NativeFence): void {
    this.tokens.set(key, Math.max(token, this.tokens.get(key) ?? 0));
  }

  apply(object: string, steps: readonly NativeStep[]): NativeOpReply {
    const omap: [string, Uint8Array][] = [];
    const before = this.objects.get(object);
    const next = { values: new Map(before), exists: before !== undefined };
    for (const step of steps) {
      const { key = "", value = new Uint8Array() } = step;
      const guard = guards[step.code];
      if (guard !== undefined) guard(before, key, value);
      else if (step.code === "omapList") omap.push(...listed(before, key, value, step.length ?? 0));
      else if (step.code === "omapGet") omap.push([key, found(before, key)]);
      else change(next, step.code, key, value);
    }
    if (next.exists) this.objects.set(object, next.values);
    else this.objects.delete(object);
    return { exists: before !== undefined, omap };
  }
}

type Values = ReadonlyMap<string, Uint8Array>;

const guards: Partial<
  Record<string, (values: Values | undefined, key: string, value: Uint8Array) => void>
> = {
  assertExists: (values) => {
    if (values === undefined) throw new StorageError("not_found", "the object does not exist");
  },
  assertAbsent: (values) => {
    if (values !== undefined) throw new StorageError("already_exists", "the object exists");
  },
  omapCompare: (values, key, value) => {
    if (Buffer.compare(values?.get(key) ?? new Uint8Array(), value) !== 0) {
      throw new StorageError("precondition_failed", "the value has been changed");
    }
  },
};

function listed(values: Values | undefined, prefix: string, after: Uint8Array, limit: number) {
  const behind = Buffer.from(after).toString();
  const entries = [...(values ?? [])].filter(([key]) => key.startsWith(prefix) && key > behind);
  return entries.sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, limit);
}

function found(values: Values | undefined, key: string): Uint8Array {
  const value = values?.get(key);
  if (value === undefined) throw new StorageError("not_found", "no such key");
  return value;
}

function change(
  next: { values: Map<string, Uint8Array>; exists: boolean },
  code: NativeStep["code"],
  key: string,
  value: Uint8Array,
): void {
  next.exists = code !== "remove";
  if (code === "omapSet") next.values.set(key, Uint8Array.from(value));
  if (code === "omapRemove") next.values.delete(key);
}
