// The devices of a client in memory: which object is where, what a parent shows through, and that
// nothing is written under a token that is not in force.
import { StorageError } from "../../common/errors.js";
import type {
  DeviceHandle,
  ImageLayout,
  NativeFence,
  NativeParent,
  NativeSnapContext,
  QosLimits,
  SourceLayout,
} from "../../native/binding.js";
import type { Content } from "./fake-data.js";
import type { FakePool } from "./fake-pool.js";

export interface FakeDevice extends Omit<ImageLayout, "parent" | "snapContext"> {
  parent: { device: FakeDevice; overlapBytes: number } | undefined;
  snapContext: NativeSnapContext | undefined;
  fence: NativeFence | undefined;
  limits: QosLimits;
  /** of image files */
  source?: SourceLayout;
}

export class FakeDevices {
  private readonly open = new Map<DeviceHandle, FakeDevice>();
  private nextHandle = 1;

  constructor(private readonly pool: FakePool) {}

  add({ parent, snapContext, ...layout }: ImageLayout): DeviceHandle {
    const device: FakeDevice = {
      ...layout,
      parent: this.parentOf(parent),
      snapContext,
      fence: undefined,
      limits: {},
    };
    this.open.set(this.nextHandle, device);
    return this.nextHandle++;
  }

  addSource(source: SourceLayout): DeviceHandle {
    const { sizeBytes } = source;
    const layout = { pool: 0, objectPrefix: "", sizeBytes, objectBytes: 512, readOnly: true };
    const handle = this.add(layout);
    this.get(handle).source = source;
    return handle;
  }

  /** It is another image, without parent, from here on; whoever has it goes on with it. */
  retarget(handle: DeviceHandle, { pool, objectPrefix, sizeBytes, objectBytes }: ImageLayout) {
    const device = this.get(handle);
    const other = { pool, objectPrefix, sizeBytes, objectBytes, snapContext: undefined };
    Object.assign(device, other, { parent: undefined });
  }

  get(handle: DeviceHandle): FakeDevice {
    const device = this.open.get(handle);
    if (device === undefined) throw new StorageError("not_found", "the device is closed");
    return device;
  }

  remove(handle: DeviceHandle): void {
    this.open.delete(handle);
  }

  get count(): number {
    return this.open.size;
  }

  parentOf(parent: NativeParent | null | undefined): FakeDevice["parent"] {
    if (parent === null || parent === undefined) return undefined;
    return { device: this.get(parent.device), overlapBytes: parent.overlapBytes };
  }

  objectName({ pool, objectPrefix, objectBytes }: FakeDevice, offset: number): string {
    const number = Math.floor(offset / objectBytes);
    return this.pool.key(pool, `${objectPrefix}.${number.toString(16).padStart(16, "0")}`);
  }

  /** What the image itself has at an offset, its parents left out. */
  own(device: FakeDevice, offset: number): Content {
    if (device.source !== undefined) {
      const covers = device.source.extents.some(
        ({ guestOffset, lengthBytes }) =>
          guestOffset <= offset && offset < guestOffset + lengthBytes,
      );
      return covers ? "file" : undefined;
    }
    return this.pool.data.read(this.objectName(device, offset), device.snap);
  }

  /** What a guest would read at an offset. */
  content(device: FakeDevice, offset: number): Content {
    const own = this.own(device, offset);
    if (own !== undefined || offset >= device.sizeBytes) return own === "zero" ? undefined : own;
    const { parent } = device;
    if (parent === undefined || offset >= parent.overlapBytes) return undefined;
    return this.content(parent.device, offset);
  }

  write(device: FakeDevice, offset: number, content: Content): void {
    this.requireWritable(device);
    this.pool.data.write(this.objectName(device, offset), content, device.snapContext);
  }

  /** Where it is absent, in the head (undefined) and in snapshots. */
  fill(
    device: FakeDevice,
    offset: number,
    content: string,
    layers: readonly (number | undefined)[],
  ): void {
    this.requireWritable(device);
    this.pool.data.fill(this.objectName(device, offset), content, layers, device.snapContext);
  }

  private requireWritable({ readOnly, snap, fence, locked = false }: FakeDevice): void {
    if (readOnly || snap !== undefined) throw new StorageError("read_only", "a read-only device");
    if (locked && fence === undefined) throw new StorageError("busy", "the gate is closed");
    if (fence !== undefined) this.pool.requireToken(fence);
  }

  /** A whole object: absent, or explicit zeros where the parent would show. */
  discard(device: FakeDevice, offset: number): void {
    const overlap = device.parent?.overlapBytes ?? 0;
    this.write(device, offset, offset < overlap ? "zero" : undefined);
  }

  /** Offsets of all objects that the image has itself, in any snapshot. */
  offsets({ pool, objectPrefix, objectBytes }: FakeDevice): number[] {
    const prefix = this.pool.key(pool, `${objectPrefix}.`);
    return this.pool.data
      .names(prefix)
      .map((name) => Number.parseInt(name.slice(prefix.length), 16) * objectBytes);
  }
}
