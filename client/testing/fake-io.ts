// A pool of objects in memory that takes the operations of a NativeClient, for tests of the image
// layer: with a client that dies before or after any operation.
import { StorageError } from "../../common/errors.js";
import type {
  ClientEvent,
  DeviceHandle,
  ImageLayout,
  NativeFence,
  NativeOpReply,
  NativeStep,
  WatchOptions,
} from "../../native/binding.js";
import type { ImageIo } from "../image/images.js";
import type { ImportIo } from "../image/import-image.js";
import { FakeWatchers, type WatchingClient } from "./fake-watchers.js";

/** The objects, which outlive a client. */
export class FakePool {
  /** name -> key-values */
  readonly objects = new Map<string, Map<string, Uint8Array>>();
  readonly watchers = new FakeWatchers();
  /** fence key -> highest token seen */
  readonly tokens = new Map<string, number>();

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

export class FakeIo implements ImageIo, ImportIo, WatchingClient {
  operations = 0;
  dead = false;
  /** neither answers nor renews, but lives */
  frozen = false;
  readonly listeners = new Set<(event: ClientEvent) => void>();
  /** what happened to the gates of devices: "1 open 7", "1 drain", "1 fail" */
  readonly gates: string[] = [];
  private readonly devices = new Map<DeviceHandle, ImageLayout>();
  private nextHandle = 1;
  /** called while an import runs */
  duringImport: () => void = () => undefined;
  private canceled = false;

  constructor(
    readonly pool: FakePool,
    private readonly fate: Fate = () => undefined,
    readonly clientId = 1n,
  ) {}

  get silent(): boolean {
    return this.dead || this.frozen;
  }

  deliver(event: ClientEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  async operate(_pool: number, object: string, steps: NativeStep[]): Promise<NativeOpReply> {
    const first = steps[0];
    if (first?.code === "listWatchers") return this.live(() => this.pool.watchers.list(object));
    if (first?.code === "notify") {
      return this.live(() => this.pool.watchers.notify(object, first.value ?? new Uint8Array()));
    }
    return this.live(() => this.pool.apply(object, steps));
  }

  async watch(_pool: number, object: string, options: WatchOptions): Promise<number> {
    return this.live(() => {
      this.pool.apply(object, [{ code: "assertExists" }]);
      return this.pool.watchers.add(this, object, options);
    });
  }

  async unwatch(watch: number): Promise<void> {
    this.live(() => this.pool.watchers.remove(watch));
  }

  answerNotify(answer: number, reply: Uint8Array): void {
    this.pool.watchers.answer(answer, reply);
  }

  async sweepFence(_pool: number, { key, token }: NativeFence) {
    return this.live(() => {
      this.pool.tokens.set(key, token);
      return { raised: 8, silent: 0 };
    });
  }

  openGate(device: DeviceHandle, { token }: NativeFence): void {
    this.gates.push(`${device} open ${token}`);
  }

  async drainGate(device: DeviceHandle): Promise<void> {
    this.gates.push(`${device} drain`);
  }

  failGate(device: DeviceHandle, _reason: string, fenced: boolean): void {
    this.gates.push(`${device} ${fenced ? "fenced" : "canceled"}`);
  }

  released(device: DeviceHandle): void {
    this.gates.push(`${device} released`);
  }

  setImageSize(device: DeviceHandle, sizeBytes: number): void {
    this.devices.set(device, { ...this.layout(device), sizeBytes });
  }

  /** The size that the device has here. */
  deviceSize(device: DeviceHandle): number {
    return this.layout(device).sizeBytes;
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
