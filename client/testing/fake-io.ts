// A pool of objects in memory that takes the operations of a NativeClient, for tests of the image
// layer: with a client that dies before or after any operation.
import { StorageError } from "../../common/errors.js";
import type { DeviceHandle, ImageLayout, NativeOpReply, NativeStep } from "../../native/binding.js";
import type { ImageIo } from "../image/images.js";
import type { ImportIo } from "../image/import-image.js";

/** The objects, which outlive a client. */
export class FakePool {
  /** name -> key-values */
  readonly objects = new Map<string, Map<string, Uint8Array>>();

  /** Names of data objects. */
  dataObjects(): string[] {
    return [...this.objects.keys()].filter((name) => name.startsWith("rbd_data."));
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

/** Says of the operation with that number whether the client dies before it, after it, or lives. */
export type Fate = (operation: number) => "before" | "after" | undefined;

export class FakeIo implements ImageIo, ImportIo {
  operations = 0;
  dead = false;
  private readonly devices = new Map<DeviceHandle, ImageLayout>();
  private nextHandle = 1;
  /** called while an import runs */
  duringImport: () => void = () => undefined;
  private canceled = false;

  constructor(
    readonly pool: FakePool,
    private readonly fate: Fate = () => undefined,
  ) {}

  async operate(_pool: number, object: string, steps: NativeStep[]): Promise<NativeOpReply> {
    return this.live(() => this.pool.apply(object, steps));
  }

  openImage(layout: ImageLayout): DeviceHandle {
    this.devices.set(this.nextHandle, layout);
    return this.nextHandle++;
  }

  closeDevice(device: DeviceHandle): void {
    this.devices.delete(device);
  }

  /** Whole objects go, as in the native image; parts of objects do nothing here. */
  async discard(device: DeviceHandle, offset: number, lengthBytes: number): Promise<void> {
    const { sizeBytes, objectBytes } = this.layout(device);
    if (offset + lengthBytes > sizeBytes) {
      throw new StorageError("out_of_range", "beyond the end of the image");
    }
    this.live(() => {
      for (let at = offset; at < offset + lengthBytes; at += objectBytes) {
        if (at % objectBytes === 0) this.pool.objects.delete(this.objectName(device, at));
      }
    });
  }

  /** Writes every object of a range. */
  fill(device: DeviceHandle, offset: number, lengthBytes: number): void {
    const { objectBytes } = this.layout(device);
    const first = offset - (offset % objectBytes);
    for (let at = first; at < offset + lengthBytes; at += objectBytes) {
      this.pool.objects.set(this.objectName(device, at), new Map());
    }
  }

  importBegin(device: DeviceHandle): number {
    return device;
  }

  async importExtents(job: number, extents: { guestOffset: number; lengthBytes: number }[]) {
    this.duringImport();
    await Promise.resolve();
    if (this.canceled) throw new StorageError("canceled", "the copy was canceled");
    for (const { guestOffset, lengthBytes } of extents) {
      this.live(() => this.fill(job, guestOffset, lengthBytes));
    }
    return { doneBytes: 0 };
  }

  async importEnd(_job: number) {
    if (this.canceled) throw new StorageError("canceled", "the copy was canceled");
    return { doneBytes: 0 };
  }

  async importRaw(device: DeviceHandle, _fd: number, sizeBytes: number) {
    await this.importExtents(device, [{ guestOffset: 0, lengthBytes: sizeBytes }]);
    return { doneBytes: sizeBytes };
  }

  /** A stream of as many bytes as its descriptor's number. */
  async importStream(device: DeviceHandle, fd: number) {
    return this.importRaw(device, fd, fd);
  }

  cancelJob(): void {
    this.canceled = true;
  }

  cancelCopies(): void {
    this.canceled = true;
  }

  private layout(device: DeviceHandle): ImageLayout {
    const layout = this.devices.get(device);
    if (layout === undefined) throw new StorageError("not_found", "the device is closed");
    return layout;
  }

  private objectName(device: DeviceHandle, offset: number): string {
    const { objectPrefix, objectBytes } = this.layout(device);
    const number = Math.floor(offset / objectBytes);
    return `${objectPrefix}.${number.toString(16).padStart(16, "0")}`;
  }

  private live<T>(run: () => T): T {
    const fate = this.dead ? "before" : this.fate(this.operations++);
    if (fate === "before") this.die();
    const result = run();
    if (fate === "after") this.die();
    return result;
  }

  private die(): never {
    this.dead = true;
    throw new StorageError("disconnected", "this client is dead");
  }
}
