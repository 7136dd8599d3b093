// One image, or a snapshot of one, opened for reading and writing by a program: the object that the
// library's users work with.
import { StorageError } from "../../common/errors.js";
import type { DeviceHandle, ImageUsage, NativeClient } from "../../native/binding.js";
import { type DiffExtent, type DiffOptions, diffExtents } from "./diff.js";
import { watchHeader } from "./header-watch.js";
import { Images, type ResizeOptions } from "./images.js";
import { type LockedImage, openLocked } from "./open-locked.js";
import { openReader } from "./open-reader.js";
import type { ImageCluster, ImageInfo, ImageIo, ImagePorts, Progress, Scope } from "./scope.js";
import type { SnapshotInfo } from "./snapshots.js";
import { parseSpec } from "./spec.js";

type DataIo = Pick<NativeClient, "readDevice" | "writeDevice" | "writeZeroes" | "flush">;

export interface OpenImageOptions {
  /** no lock is taken; snapshots are read-only anyway */
  readOnly?: boolean;
  /** once the lock is taken, it is not handed over to another client that asks */
  exclusive?: boolean;
}

interface Parts {
  images: Images;
  io: ImageIo & DataIo;
  handle: DeviceHandle;
  /** undefined: it is read-only */
  locked: LockedImage | undefined;
  info: ImageInfo;
  close(): Promise<void>;
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
    const shared = { images, io: cluster.io };
    if (readOnly || spec.snap !== undefined) {
      const reader = await openReader(images, spec.image, { snap: spec.snap });
      return new Image({ ...shared, ...reader, locked: undefined });
    }
    const locked = await openLocked(images, spec.image, { exclusive });
    try {
      await locked.takeLock();
    } catch (thrown) {
      await locked.close();
      throw thrown;
    }
    const { handle, info, close } = locked;
    return new Image({ ...shared, handle, info, close, locked });
  }

  /** The image as its header has it now. */
  async info(): Promise<ImageInfo> {
    const { images, name } = await this.named();
    return images.info(name);
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

  /** Reads as zeros afterwards, as with a discard; parts of blocks too. */
  async writeZeroes(offset: number, lengthBytes: number): Promise<void> {
    this.refuseReadOnly();
    await this.io.writeZeroes(this.handle, offset, lengthBytes, false);
  }

  /** What was written before is before all that is written afterwards. */
  async flush(): Promise<void> {
    await this.io.flush(this.handle);
  }

  /** @throws invalid_argument, out_of_range */
  async resize(sizeBytes: number, options: ResizeOptions = {}): Promise<ImageInfo> {
    const { images, name } = await this.named();
    return images.resize(name, sizeBytes, options);
  }

  async snapshots(): Promise<SnapshotInfo[]> {
    const { images, name } = await this.named();
    return images.snapshots.list(name);
  }

  /** Of all that was written before, and of nothing after. @throws already_exists */
  async createSnapshot(snapshot: string): Promise<SnapshotInfo> {
    const { images, name } = await this.named();
    return images.snapshots.create(name, snapshot);
  }

  async removeSnapshot(snapshot: string): Promise<void> {
    const { images, name } = await this.named();
    await images.snapshots.remove(name, snapshot);
  }

  async rollback(snapshot: string, progress?: Progress): Promise<void> {
    const { images, name } = await this.named();
    await images.snapshots.rollback(name, snapshot, progress);
  }

  /** A clone of one of its snapshots in the same pool and namespace. */
  async clone(snapshot: string, cloneName: string): Promise<ImageInfo> {
    const { images, name } = await this.named();
    return images.clones.create(name, snapshot, { scope: images.scope, name: cloneName });
  }

  /**
   * What differs between one of its snapshots, or nothing at all, and what is opened here.
   * @throws not_found
   */
  async *diff(
    fromSnapshot?: string,
    options: DiffOptions = {},
  ): AsyncGenerator<DiffExtent, void, undefined> {
    const from = await this.snapshotId(fromSnapshot);
    yield* diffExtents(this.io, this.handle, from, options);
  }

  /** How much of it is data, or has become so since a snapshot. */
  async usage(fromSnapshot?: string): Promise<ImageUsage> {
    const from = await this.snapshotId(fromSnapshot);
    return this.io.measureImage(this.handle, from);
  }

  /** Calls `changed` whenever its size, snapshots, parent... have changed. Returns the end. */
  async watch(changed: (info: ImageInfo) => void): Promise<() => Promise<void>> {
    const { scope, id } = this.place;
    // Between two changes it may be renamed or removed: then there is nothing to tell.
    const tell = () => this.info().then(changed, () => undefined);
    return watchHeader(scope, id, tell);
  }

  /** Lets the lock go. Requests that are still under way end first. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.parts.close();
  }

  /** Where the image is: elsewhere than it was opened once it has been migrated. */
  private get place(): { scope: Scope; id: string } {
    const { locked, images, info } = this.parts;
    return locked?.place ?? { scope: images.scope, id: info.id };
  }

  /** By the name that it has now. @throws not_found when it has none */
  private async named(): Promise<{ images: Images; name: string }> {
    const { scope, id } = this.place;
    const name = await scope.directory.nameOf(id);
    if (name === undefined) {
      throw new StorageError(
        "not_found",
        `the image that was ${this.parts.info.name} has no name`,
        {
          remedy:
            "It is in the trash, or was removed: `cairn trash ls` lists what can be restored.",
        },
      );
    }
    const { images } = this.parts;
    if (scope === images.scope) return { images, name };
    return {
      images: new Images(scope.cluster, scope.pool.name, scope.ports, scope.namespace),
      name,
    };
  }

  /** 0: of no snapshot. @throws not_found */
  private async snapshotId(snapshot: string | undefined): Promise<number> {
    if (snapshot === undefined) return 0;
    const { images, name } = await this.named();
    return (await images.snapshots.find(name, snapshot)).id;
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
