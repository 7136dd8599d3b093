// A NativeClient over a FakePool, for tests of the image layer: it dies before or after any
// operation that its fate says.
import { StorageError } from "../../common/errors.js";
import type {
  ClientEvent,
  DeviceHandle,
  DeviceStats,
  FlattenScope,
  ImageLayout,
  JobProgress,
  NativeDiffExport,
  NativeDiffPart,
  NativeFence,
  NativeOpReply,
  NativeParent,
  NativeSnapContext,
  NativeStep,
  NativeTrace,
  QosLimits,
  SourceLayout,
  WatchOptions,
} from "../../native/binding.js";
import type { DiffIo } from "../image/diff-job.js";
import type { ImportIo } from "../image/import-image.js";
import type { ImageIo } from "../image/scope.js";
import type { Content } from "./fake-data.js";
import { FakeDevices } from "./fake-devices.js";
import type { FakeDiff, FakePool } from "./fake-pool.js";
import type { WatchingClient } from "./fake-watchers.js";

/** Says of the operation with that number whether the client dies before it, after it, or lives. */
export type Fate = (operation: number) => "before" | "after" | undefined;

/** ranges: begins and ends; undefined: everything. */
function isWithin(ranges: Float64Array | undefined, at: number): boolean {
  return ranges === undefined || ranges.findIndex((place) => place > at) % 2 === 1;
}

export class FakeIo implements ImageIo, ImportIo, DiffIo, WatchingClient {
  operations = 0;
  dead = false;
  /** neither answers nor renews, but lives */
  frozen = false;
  readonly listeners = new Set<(event: ClientEvent) => void>();
  /** what happened to the gates of devices: "1 open 7", "1 drain", "1 fail" */
  readonly gates: string[] = [];
  private readonly devices: FakeDevices;
  /** called while an import runs */
  duringImport: () => void = () => undefined;
  /** called before each object that is provisioned */
  duringFill: () => void = () => undefined;
  /** called before each object of a flatten */
  duringFlatten: () => void = () => undefined;
  /** bytes of the extents of each import */
  private readonly imported = new Map<number, number>();
  private canceled = false;
  jobsCanceled = false;

  constructor(
    readonly pool: FakePool,
    private readonly fate: Fate = () => undefined,
    readonly clientId = 1n,
  ) {
    this.devices = new FakeDevices(pool);
  }

  get silent(): boolean {
    return this.dead || this.frozen;
  }

  deliver(event: ClientEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  async operate(pool: number, name: string, steps: NativeStep[]): Promise<NativeOpReply> {
    const object = this.pool.key(pool, name);
    const first = steps[0];
    if (first?.code === "listWatchers") return this.live(() => this.pool.watchers.list(object));
    if (first?.code === "notify") {
      return this.live(() => this.pool.watchers.notify(object, first.value ?? new Uint8Array()));
    }
    return this.live(() => this.pool.apply(object, steps));
  }

  async watch(pool: number, name: string, options: WatchOptions): Promise<number> {
    const object = this.pool.key(pool, name);
    return this.live(() => {
      this.pool.apply(object, [{ code: "assertExists" }]);
      return this.pool.watchers.add(this, object, options);
    });
  }

  async unwatch(watch: number): Promise<void> {
    this.live(() => this.pool.watchers.remove(watch));
  }

  answerNotify(answer: number, reply: Uint8Array): void {
    if (!this.dead) this.pool.watchers.answer(answer, reply);
  }

  async sweepFence(_pool: number, fence: NativeFence) {
    return this.live(() => {
      this.pool.raiseToken(fence);
      return { raised: 8, silent: 0 };
    });
  }

  openGate(device: DeviceHandle, fence: NativeFence): void {
    this.gates.push(`${device} open ${fence.token}`);
    this.devices.get(device).fence = fence;
  }

  async drainGate(device: DeviceHandle): Promise<void> {
    this.gates.push(`${device} drain`);
    this.devices.get(device).fence = undefined;
  }

  failGate(device: DeviceHandle, _reason: string, fenced: boolean): void {
    this.gates.push(`${device} ${fenced ? "fenced" : "canceled"}`);
  }

  released(device: DeviceHandle): void {
    this.gates.push(`${device} released`);
  }

  setImageSize(device: DeviceHandle, sizeBytes: number): void {
    this.devices.get(device).sizeBytes = sizeBytes;
  }

  setSnapContext(device: DeviceHandle, context: NativeSnapContext): void {
    this.devices.get(device).snapContext = context;
  }

  deviceContext(device: DeviceHandle): NativeSnapContext | undefined {
    return this.devices.get(device).snapContext;
  }

  async setParent(device: DeviceHandle, parent: NativeParent | null): Promise<void> {
    this.devices.get(device).parent = this.devices.parentOf(parent);
  }

  async setQos(device: DeviceHandle, limits: QosLimits): Promise<void> {
    this.devices.get(device).limits = limits;
  }

  /** What the device has done: a test says it. */
  readonly statistics = new Map<DeviceHandle, DeviceStats>();

  async deviceStats(device: DeviceHandle): Promise<DeviceStats> {
    return this.statistics.get(device) ?? { counters: {}, histograms: {} };
  }

  /** Ends when the test says so, with what it says. */
  readonly traces: {
    options: { durationMs: number; every: number };
    end: (trace: NativeTrace) => void;
  }[] = [];

  traceDevice(
    _device: DeviceHandle,
    options: { durationMs: number; every: number },
  ): Promise<NativeTrace> {
    return new Promise((end) => this.traces.push({ options, end }));
  }

  /** What extents cover reads as "file". */
  openSource(source: SourceLayout): DeviceHandle {
    return this.devices.addSource(source);
  }

  sourceFetched(): void {}

  async retarget(device: DeviceHandle, layout: ImageLayout): Promise<void> {
    const { fence } = this.devices.get(device);
    if (fence !== undefined) throw new StorageError("busy", "the gate is open");
    this.devices.retarget(device, layout);
  }

  /** The size that the device has here. */
  deviceSize(device: DeviceHandle): number {
    return this.devices.get(device).sizeBytes;
  }

  deviceLimits(device: DeviceHandle): QosLimits {
    return this.devices.get(device).limits;
  }

  get openDevices(): number {
    return this.devices.count;
  }

  openImage(layout: ImageLayout): DeviceHandle {
    return this.devices.add(layout);
  }

  closeDevice(device: DeviceHandle): void {
    this.devices.remove(device);
  }

  /** Whole objects go, as in the native image; parts of objects do nothing here. */
  async discard(handle: DeviceHandle, offset: number, lengthBytes: number): Promise<void> {
    const device = this.devices.get(handle);
    if (offset + lengthBytes > device.sizeBytes) {
      throw new StorageError("out_of_range", "beyond the end of the image");
    }
    this.live(() => {
      for (let at = offset; at < offset + lengthBytes; at += device.objectBytes) {
        if (at % device.objectBytes === 0) this.devices.discard(device, at);
      }
    });
  }

  /** Writes every object of a range, as a front end does. */
  fill(handle: DeviceHandle, offset: number, lengthBytes: number, content = "x"): void {
    const device = this.devices.get(handle);
    const first = offset - (offset % device.objectBytes);
    for (let at = first; at < offset + lengthBytes; at += device.objectBytes) {
      this.devices.write(device, at, content);
    }
  }

  /** What a front end reads there: the text that fill() wrote, undefined: zeros. */
  contentAt(handle: DeviceHandle, offset: number): Content {
    return this.devices.content(this.devices.get(handle), offset);
  }

  async diffImage(
    handle: DeviceHandle,
    fromSnap: number,
    onExtents: (triples: Float64Array) => void | Promise<void>,
  ): Promise<void> {
    const device = this.devices.get(handle);
    const { objectBytes } = device;
    for (const at of this.devices.offsets(device)) {
      const to = this.devices.own(device, at);
      const from = fromSnap === 0 ? undefined : this.devices.own({ ...device, snap: fromSnap }, at);
      const state = to === undefined ? 0 : to === "zero" ? 1 : 2;
      if (this.jobsCanceled) throw new StorageError("canceled", "the diff was canceled");
      if (from !== to) await onExtents(Float64Array.of(at, objectBytes, state));
    }
  }

  async measureImage(handle: DeviceHandle, fromSnap: number) {
    let objects = 0;
    await this.diffImage(handle, fromSnap, () => {
      objects += 1;
    });
    return { objects, usedBytes: objects * this.devices.get(handle).objectBytes };
  }

  /** Object by object: it may die between any two. */
  async rollbackImage(handle: DeviceHandle, snap: number): Promise<void> {
    const device = this.devices.get(handle);
    for (const at of this.devices.offsets(device)) {
      const content = this.devices.own({ ...device, snap }, at);
      if (content === this.devices.own(device, at)) continue;
      this.live(() => this.devices.write(device, at, content));
    }
  }

  async flattenImage(handle: DeviceHandle, _progress?: unknown, scope?: FlattenScope) {
    const device = this.devices.get(handle);
    const { parent, objectBytes } = device;
    const layers = scope === undefined ? [undefined] : scope.snaps;
    const all = scope?.head === true ? [...layers, undefined] : layers;
    const end = scope?.toBytes ?? parent?.overlapBytes ?? 0;
    for (let at = scope?.fromBytes ?? 0; at < end; at += objectBytes) {
      if (!isWithin(scope?.ranges, at)) continue;
      const lacks = all.some(
        (snap) =>
          this.devices.own(snap === undefined ? device : { ...device, snap }, at) === undefined,
      );
      if (parent === undefined || !lacks) continue;
      const content = this.devices.content(parent.device, at);
      if (content === undefined) continue;
      this.duringFlatten();
      if (this.jobsCanceled) throw new StorageError("canceled", "the job was canceled");
      this.live(() => this.devices.fill(device, at, content, all));
    }
  }

  /** Object by object: it may die between any two. */
  async provisionImage(handle: DeviceHandle, onProgress?: JobProgress): Promise<void> {
    const device = this.devices.get(handle);
    const { objectBytes, sizeBytes } = device;
    for (let at = 0; at < sizeBytes; at += objectBytes) {
      this.duringFill();
      await Promise.resolve();
      if (this.jobsCanceled) throw new StorageError("canceled", "the job was canceled");
      this.live(() => this.devices.fill(device, at, "0", [undefined]));
      onProgress?.(Math.min(at + objectBytes, sizeBytes), sizeBytes);
    }
  }

  /** Objects of "0". Object by object: it may die between any two. */
  async sparsifyImage(
    handle: DeviceHandle,
    { shownBytes }: { shownBytes: number },
  ): Promise<number> {
    const device = this.devices.get(handle);
    let freedBytes = 0;
    for (const at of this.devices.offsets(device)) {
      if (this.devices.own(device, at) !== "0") continue;
      this.live(() => this.devices.write(device, at, at < shownBytes ? "zero" : undefined));
      freedBytes += device.objectBytes;
    }
    return freedBytes;
  }

  /** Object by object: it may die between any two. */
  async removeObjects(
    handle: DeviceHandle,
    firstObject: number,
    onProgress: (done: number, total: number) => void = () => undefined,
  ): Promise<void> {
    const device = this.devices.get(handle);
    const offsets = this.devices.offsets(device);
    for (const [index, at] of offsets.entries()) {
      const wanted = at >= firstObject * device.objectBytes;
      if (wanted && this.devices.own(device, at) !== undefined) {
        this.live(() => this.devices.write(device, at, undefined));
      }
      onProgress(index + 1, offsets.length);
    }
  }

  async allocateSnapshot(): Promise<number> {
    return this.live(() => ++this.pool.snapSeq);
  }

  async removeSnapshots(ids: number[]): Promise<void> {
    this.live(() => this.pool.data.trim(ids));
  }

  /** The file is there when all of it is. */
  async exportDiff(handle: DeviceHandle, fd: number, options: NativeDiffExport) {
    const device = this.devices.get(handle);
    const { fromSnap, image: _, wholeObject: __, ...header } = options;
    const objects: FakeDiff["objects"] = [];
    await this.diffImage(handle, fromSnap, ([at = 0]) => {
      objects.push([at, this.devices.own(device, at)]);
    });
    this.live(() => this.pool.diffs.set(fd, { header, objects }));
    return { doneBytes: 0 };
  }

  async openDiff(fd: number): Promise<number> {
    return fd;
  }

  async nextDiff(diff: number): Promise<NativeDiffPart | null> {
    const file = this.pool.diffs.get(diff);
    if (file === undefined) throw new StorageError("corrupt", "the stream has no diff");
    return { kind: "diff", ...file.header };
  }

  /** Object by object: it may die between any two. */
  async importDiff(handle: DeviceHandle, diff: number) {
    const device = this.devices.get(handle);
    for (const [at, content] of this.pool.diffs.get(diff)?.objects ?? []) {
      this.duringImport();
      await Promise.resolve();
      this.live(() => this.devices.write(device, at, content));
    }
    return { doneBytes: 0 };
  }

  closeDiff(): void {}

  importBegin(device: DeviceHandle): number {
    return device;
  }

  /** Says of a batch that it is done when the next one is taken. */
  async importExtents(job: number, extents: { guestOffset: number; lengthBytes: number }[]) {
    this.duringImport();
    await Promise.resolve();
    if (this.canceled) throw new StorageError("canceled", "the copy was canceled");
    const doneBytes = this.imported.get(job) ?? 0;
    let bytes = doneBytes;
    for (const { guestOffset, lengthBytes } of extents) {
      this.live(() => this.fill(job, guestOffset, lengthBytes));
      bytes += lengthBytes;
    }
    this.imported.set(job, bytes);
    return { doneBytes };
  }

  async importEnd(job: number) {
    if (this.canceled) throw new StorageError("canceled", "the copy was canceled");
    return { doneBytes: this.imported.get(job) ?? 0 };
  }

  async importRaw(device: DeviceHandle, _fd: number, sizeBytes: number) {
    await this.importExtents(device, [{ guestOffset: 0, lengthBytes: sizeBytes }]);
    return { doneBytes: sizeBytes };
  }

  /** A stream of as many bytes as its descriptor's number. */
  async importStream(device: DeviceHandle, fd: number) {
    return this.importRaw(device, fd, fd);
  }

  cancelJobs(): void {
    this.jobsCanceled = true;
  }

  cancelJob(): void {
    this.canceled = true;
  }

  cancelCopies(): void {
    this.canceled = true;
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
    this.pool.watchers.forget(this);
    throw new StorageError("disconnected", "this client is dead");
  }
}
