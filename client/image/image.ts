// One image, or a snapshot of one, opened for reading and writing by a program: the object that the
// library's users work with.
import { StorageError } from "../../common/errors.js";
import type { DeviceHandle, ImageUsage, NativeClient } from "../../native/binding.js";
import { type DiffExtent, type DiffOptions, diffExtents } from "./diff.js";
import { watchHeader } from "./header-watch.js";
import { Images, type ResizeOptions } from "./images.js";
import { type LockedImage, openLocked } from "./open-locked.js";
import type { ImageCluster, ImageInfo, ImageIo, ImagePorts, Progress } from "./scope.js";
import type { SnapshotInfo } from "./snapshots.js";
import { type FullSpec, parseSpec } from "./spec.js";

type DataIo = Pick<NativeClient, "readDevice" | "writeDevice" | "writeZeroes" | "flush">;

export interface OpenImageOptions {
  /** no lock is taken; snapshots are read-only anyway */
  readOnly?: boolean;
  /** once the lock is taken, it is not handed over to another client that asks */
  exclusive?: boolean;
}

interface Parts {
  spec: FullSpec;
  images: Images;
  io: ImageIo & DataIo;
  handle: DeviceHandle;
  locked: LockedImage | undefined;
}

export class Image {
  private closed = false;

  private constructor(private readonly parts: Parts) {}

  /**
   * Opens [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT]. For writing, the image's exclusive lock is taken: by
   * the first request that needs it.
   * @throws not_found, invalid_argument, unsupported_feature
   */
  static async open(
    cluster: ImageCluster<ImageIo & DataIo>,
    ports: ImagePorts,
    text: string,
    { readOnly = false, exclusive = false }: OpenImageOptions = {},
  ): Promise<Image> {
    const spec = parseSpec(text, { snap: "allowed" });
    const images = new Images(cluster, spec.pool, ports, spec.namespace);
    const shared = { spec, images, io: cluster.io };
    if (readOnly || spec.snap !== undefined) {
      const snap = spec.snap === undefined ? {} : { snap: spec.snap };
      const { handle } = await images.open(spec.image, { readOnly: true, ...snap });
      return new Image({ ...shared, handle, locked: undefined });
    }
    const locked = await openLocked(images, spec.image, { exclusive });
    try {
      await locked.takeLock();
    } catch (thrown) {
      await locked.close();
      throw thrown;
    }
    return new Image({ ...shared, handle: locked.handle, locked });
  }

  /** The image as its header has it now. */
  info(): Promise<ImageInfo> {
    return this.parts.images.info(this.parts.spec.image);
  }

  /** @throws out_of_range past the end */
  read(offset: number, lengthBytes: number): Promise<Uint8Array> {
    return this.io.readDevice(this.handle, offset, lengthBytes);
  }

  /** Durable when it resolves. The bytes are copied before it returns. @throws out_of_range */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.refuseReadOnly();
    await this.io.writeDevice(this.handle, offset, bytes);
  }

  /** Reads as zeros afterwards; the space is given back where that can be. */
  async discard(offset: number, lengthBytes: number): Promise<void> {
    this.refuseReadOnly();
    await this.io.discard(this.handle, offset, lengthBytes);
  }

  /** Reads as zeros afterwards, and the space stays reserved. */
  async writeZeroes(offset: number, lengthBytes: number): Promise<void> {
    this.refuseReadOnly();
    await this.io.writeZeroes(this.handle, offset, lengthBytes, false);
  }

  /** What was written before is before all that is written afterwards. */
  async flush(): Promise<void> {
    await this.io.flush(this.handle);
  }

  /** @throws invalid_argument, out_of_range */
  resize(sizeBytes: number, options: ResizeOptions = {}): Promise<ImageInfo> {
    return this.parts.images.resize(this.parts.spec.image, sizeBytes, options);
  }

  snapshots(): Promise<SnapshotInfo[]> {
    return this.parts.images.snapshots.list(this.parts.spec.image);
  }

  /** Of all that was written before, and of nothing after. @throws already_exists */
  createSnapshot(name: string): Promise<SnapshotInfo> {
    return this.parts.images.snapshots.create(this.parts.spec.image, name);
  }

  removeSnapshot(name: string): Promise<void> {
    return this.parts.images.snapshots.remove(this.parts.spec.image, name);
  }

  rollback(name: string, progress?: Progress): Promise<void> {
    return this.parts.images.snapshots.rollback(this.parts.spec.image, name, progress);
  }

  /** A clone of one of its snapshots in the same pool and namespace. */
  clone(snapshot: string, name: string): Promise<ImageInfo> {
    const { images, spec } = this.parts;
    return images.clones.create(spec.image, snapshot, { scope: images.scope, name });
  }

  /**
   * What differs between one of its snapshots, or nothing at all, and what is opened here.
   * @throws not_found
   */
  async *diff(
    fromSnapshot?: string,
    options: DiffOptions = {},
  ): AsyncGenerator<DiffExtent, void, undefined> {
    const { images, spec } = this.parts;
    const from =
      fromSnapshot === undefined ? 0 : (await images.snapshots.find(spec.image, fromSnapshot)).id;
    yield* diffExtents(this.io, this.handle, from, options);
  }

  /** How much of it is data, or has become so since a snapshot. */
  async usage(fromSnapshot?: string): Promise<ImageUsage> {
    const { images, spec } = this.parts;
    const from =
      fromSnapshot === undefined ? 0 : (await images.snapshots.find(spec.image, fromSnapshot)).id;
    return this.io.measureImage(this.handle, from);
  }

  /** Calls `changed` whenever its size, snapshots, parent... have changed. Returns the end. */
  async watch(changed: (info: ImageInfo) => void): Promise<() => Promise<void>> {
    const { id } = await this.info();
    // Between two changes it may be renamed or removed: then there is nothing to tell.
    const tell = () => this.info().then(changed, () => undefined);
    return watchHeader(this.parts.images.scope, id, tell);
  }

  /** Lets the lock go. Requests that are still under way end first. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    const { locked, images, handle } = this.parts;
    if (locked !== undefined) await locked.close();
    else images.close(handle);
  }

  private get io() {
    return this.parts.io;
  }

  private get handle(): DeviceHandle {
    if (this.closed) throw new StorageError("invalid_argument", "the image has been closed");
    return this.parts.handle;
  }

  private refuseReadOnly(): void {
    if (this.parts.locked !== undefined) return;
    throw new StorageError("read_only", "the image was opened read-only");
  }
}
