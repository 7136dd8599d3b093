// The images of a pool: create, list, look up, resize, remove, open. The metadata is made of single
// atomic operations in an order that a crash between any two of them leaves either the old state,
// the new one, or a pending entry that is cleared away later. docs/format/image.md
//
// It moves no payload (the native core does) and keeps no cache. What changes an image that has a
// name does so under its exclusive lock, or is sent to whoever holds that.
import { StorageError, toStorageError } from "../../common/errors.js";
import type { Clock, Random } from "../../common/ports.js";
import type { ClientEvent, DeviceHandle, NativeClient, NativeFence } from "../../native/binding.js";
import type { OsdMap, PoolInfo } from "../../proto/osd-map.js";
import { Directory, type PendingEntry } from "./directory.js";
import {
  dataPrefix,
  decodeHeader,
  defaultOrder,
  headerObject,
  headerSteps,
  type ImageHeader,
  type PendingState,
  u64Value,
} from "./header.js";
import type { LockIo, LockPorts } from "./image-lock.js";
import { checkImageName, checkImageSize, checkShrink, poolCapacityBytes } from "./image-spec.js";
import { announceChange, refuseWatched, sendToHolder, underLock } from "./management-lock.js";

export type ImageIo = LockIo & Pick<NativeClient, "openImage" | "closeDevice" | "discard">;

/** What the image layer needs of a cluster client. */
export interface ImageCluster<Io extends ImageIo = ImageIo> {
  io: Io;
  clientId: bigint;
  /** "host1 pid 7": for people */
  description: string;
  /** Calls listener with each event of the native client. Returns its end. */
  onEvent(listener: (event: ClientEvent) => void): () => void;
  map(): OsdMap;
  pool(name: string): PoolInfo;
}

export interface ImagePorts {
  clock: Clock;
  random: Random;
}

export interface ImageInfo {
  pool: string;
  name: string;
  id: string;
  sizeBytes: number;
  objectBytes: number;
  objectCount: number;
  objectPrefix: string;
  /** milliseconds since 1970 */
  createdAt: number;
}

/** doneBytes of totalBytes of the image's range. */
export type Progress = (doneBytes: number, totalBytes: number) => void;

export interface OpenDevice {
  handle: DeviceHandle;
  info: ImageInfo;
}

export interface ResizeOptions {
  /** without it a smaller size is refused: what is behind it is discarded */
  allowShrink?: boolean;
  overcommit?: boolean;
  progress?: Progress;
}

/** A pending entry that nobody has renewed for so long is nobody's any more. */
export const pendingStaleMs = 120_000;
/** An importer renews its entry this often. */
export const pendingRenewMs = 20_000;
/** Range of one discard: 64 objects of the default size in flight. */
const discardStepBytes = 256 << 20;

const noProgress: Progress = () => undefined;

export class Images<Io extends ImageIo = ImageIo> {
  private readonly pool: PoolInfo;
  private readonly directory: Directory;

  /** @throws not_found when there is no such pool */
  constructor(
    private readonly cluster: ImageCluster<Io>,
    poolName: string,
    private readonly ports: ImagePorts,
  ) {
    this.pool = cluster.pool(poolName);
    this.directory = new Directory(cluster.io, this.pool);
  }

  /** @throws invalid_argument, out_of_range (see checkImageSize), already_exists */
  async create(
    name: string,
    sizeBytes: number,
    { overcommit = false }: { overcommit?: boolean } = {},
  ): Promise<ImageInfo> {
    this.checkNew(name, sizeBytes, overcommit);
    // Entries of creators that died hold no data: clearing them away takes two operations each.
    await this.clearStale(["creating"]);
    const entry = await this.begin("creating", name, sizeBytes);
    try {
      await this.directory.publish(entry);
    } catch (thrown) {
      await this.abandon(entry, thrown);
    }
    return this.info(name);
  }

  /** @throws not_found, corrupt, unsupported_feature */
  async info(name: string): Promise<ImageInfo> {
    const id = await this.idOf(name);
    return this.infoOf(name, await this.header(id));
  }

  /** All images, by name. */
  async list(): Promise<ImageInfo[]> {
    const names = await this.directory.names();
    const infos: ImageInfo[] = [];
    const parallel = 16;
    for (let at = 0; at < names.length; at += parallel) {
      const batch = names.slice(at, at + parallel);
      const found = await Promise.all(
        batch.map(async ([name, id]) => {
          const header = await this.headerIfAny(id);
          // Gone between the two reads: not listed.
          return header === undefined ? undefined : this.infoOf(name, header);
        }),
      );
      infos.push(...found.filter((info) => info !== undefined));
    }
    return infos;
  }

  /** Images that are being made or taken away, or were when their client died. */
  pending(): Promise<PendingEntry[]> {
    return this.directory.pending();
  }

  /**
   * Removes an image: first its name, then its data, then its header. An earlier removal of the
   * name that was cut short is finished; so is what clients that died have left in this pool.
   * @throws not_found; busy when somebody has it open
   */
  async remove(name: string, progress: Progress = noProgress): Promise<void> {
    checkImageName(name);
    const id = await this.directory.idOf(name);
    if (id === undefined) {
      const entries = await this.unfinishedRemovals(name);
      if (entries.length === 0) throw this.missing(name);
      for (const entry of entries) await this.clear(entry, progress);
    } else {
      const address = { pool: this.pool.id, id };
      await underLock(this.lockPorts(), address, async (fence) => {
        await refuseWatched(this.lockPorts(), address);
        await this.clear(await this.unpublish(id, name), progress, fence);
      });
    }
    await this.clearStale(["creating", "importing", "removing"]);
  }

  /**
   * Of an image that is open for writing, the holder of its lock does it.
   * @throws invalid_argument, out_of_range, not_found; busy when somebody else resizes it now
   */
  async resize(name: string, sizeBytes: number, options: ResizeOptions = {}): Promise<ImageInfo> {
    const id = await this.idOf(name);
    const address = { pool: this.pool.id, id };
    const { allowShrink = false, overcommit = false } = options;
    const request = { op: "resize" as const, sizeBytes, allowShrink, overcommit };
    if (!(await sendToHolder(this.lockPorts(), address, request))) {
      await underLock(this.lockPorts(), address, (fence) =>
        this.resizeUnderLock(id, sizeBytes, options, fence),
      );
    }
    await announceChange(this.lockPorts(), address);
    return this.info(name);
  }

  /** What the holder of the lock does for resize(). */
  async resizeUnderLock(
    id: string,
    sizeBytes: number,
    { allowShrink = false, overcommit = false, progress = noProgress }: ResizeOptions,
    fence: NativeFence | undefined,
  ): Promise<void> {
    // A shrink that was cut short is finished first: a later grow must show zeros.
    const header = await this.finishTrim(await this.header(id), progress, fence);
    const growing = sizeBytes > header.sizeBytes;
    checkImageSize(sizeBytes, overcommit || !growing ? undefined : this.capacityBytes());
    if (sizeBytes < header.sizeBytes) {
      checkShrink(sizeBytes, allowShrink);
      await this.changeSize(header, sizeBytes, header.sizeBytes);
      await this.finishTrim(await this.header(id), progress, fence);
    } else if (growing) {
      await this.changeSize(header, sizeBytes, undefined);
    }
  }

  /** What a lock of this pool's images needs of the client around it. */
  lockPorts(): LockPorts {
    const { io, clientId, description } = this.cluster;
    return {
      io,
      clientId,
      description,
      clock: this.ports.clock,
      onEvent: (listener) => this.cluster.onEvent(listener),
    };
  }

  /** id of the pool */
  get poolId(): number {
    return this.pool.id;
  }

  /** The size of the image as its header has it now. @throws corrupt, unsupported_feature */
  async sizeOf(id: string): Promise<number> {
    return (await this.header(id)).sizeBytes;
  }

  /**
   * Opens an image as a native device.
   * @param locked its requests wait for the exclusive lock: openLocked() takes that
   * @throws not_found, corrupt, unsupported_feature
   */
  async open(
    name: string,
    { readOnly = false, locked = false }: { readOnly?: boolean; locked?: boolean } = {},
  ): Promise<OpenDevice> {
    const header = await this.header(await this.idOf(name));
    return {
      handle: this.openDevice(header, header.sizeBytes, readOnly, locked),
      info: this.infoOf(name, header),
    };
  }

  close(handle: DeviceHandle): void {
    this.cluster.io.closeDevice(handle);
  }

  /** @throws invalid_argument, out_of_range */
  checkNew(name: string, sizeBytes: number, overcommit: boolean): void {
    checkImageName(name);
    checkImageSize(sizeBytes, overcommit ? undefined : this.capacityBytes());
  }

  /** What the pool can hold. */
  capacityBytes(): number {
    return poolCapacityBytes(this.cluster.map(), this.pool);
  }

  /**
   * The first half of making an image: a pending entry and a header.
   * @throws already_exists
   */
  async begin(state: PendingState, name: string, sizeBytes: number): Promise<PendingEntry> {
    const id = this.ports.random.uint64().toString(16).padStart(16, "0");
    const entry = await this.directory.reserve(id, this.record(state, name));
    const header: ImageHeader = {
      id,
      sizeBytes,
      order: defaultOrder,
      objectPrefix: dataPrefix(id),
      features: 0n,
      createdAt: this.ports.clock.wallMs(),
      trimEndBytes: undefined,
    };
    const steps = [{ code: "assertAbsent" as const }, ...headerSteps(header)];
    try {
      await this.cluster.io.operate(this.pool.id, headerObject(id), steps);
    } catch (thrown) {
      await this.abandon(entry, thrown);
    }
    return entry;
  }

  /** A device over a pending image. */
  async openPending(entry: PendingEntry): Promise<DeviceHandle> {
    const header = await this.header(entry.id);
    return this.openDevice(header, header.sizeBytes, false, false);
  }

  /** Says that somebody still works on a pending image. @throws canceled */
  async renew(entry: PendingEntry): Promise<PendingEntry> {
    try {
      return await this.directory.renew(entry, this.record(entry.state, entry.name));
    } catch (thrown) {
      if ((thrown as { code?: unknown }).code !== "precondition_failed") throw thrown;
      throw new StorageError("canceled", `${entry.name}: somebody is clearing it away`);
    }
  }

  /**
   * The second half: the image gets its name.
   * @param sizeBytes its size, when it was not known before
   * @throws already_exists, canceled
   */
  async publish(entry: PendingEntry, sizeBytes?: number): Promise<ImageInfo> {
    if (sizeBytes !== undefined) {
      const header = await this.header(entry.id);
      await this.changeSize(header, sizeBytes, undefined);
    }
    await this.directory.publish(entry);
    return this.info(entry.name);
  }

  /** Takes a pending image away: data, header, entry. Can be repeated after a crash anywhere. */
  async clear(
    entry: PendingEntry,
    progress: Progress = noProgress,
    fence?: NativeFence,
  ): Promise<void> {
    const header = await this.headerIfAny(entry.id);
    if (header !== undefined) {
      const endBytes = Math.max(header.sizeBytes, header.trimEndBytes ?? 0);
      await this.discard(header, [0, endBytes], progress, fence);
      await this.cluster.io.operate(this.pool.id, headerObject(entry.id), [{ code: "remove" }]);
    }
    await this.directory.forget(entry.id);
  }

  /** Clears away what clients that died have left in these states. */
  async clearStale(states: readonly PendingState[]): Promise<void> {
    const nowMs = this.ports.clock.wallMs();
    const stale = (await this.directory.pending()).filter(
      ({ state, refreshedAt }) => states.includes(state) && nowMs - refreshedAt > pendingStaleMs,
    );
    for (const entry of stale) {
      try {
        // As "removing": its maker, should it live after all, fails when it renews or publishes.
        const record = this.record("removing", entry.name);
        await this.clear(await this.directory.renew(entry, record));
      } catch (thrown) {
        // Somebody else was faster.
        if ((thrown as { code?: unknown }).code !== "precondition_failed") throw thrown;
      }
    }
  }

  /** After a failure while an image was being made: nothing is left of it; the error goes on. */
  private async abandon(entry: PendingEntry, thrown: unknown): Promise<never> {
    await this.clear(entry).catch(() => undefined);
    throw toStorageError(thrown);
  }

  private record(state: PendingState, name: string) {
    return { state, name, refreshedAt: this.ports.clock.wallMs() };
  }

  private async idOf(name: string): Promise<string> {
    checkImageName(name);
    const id = await this.directory.idOf(name);
    if (id === undefined) throw this.missing(name);
    return id;
  }

  private missing(name: string): StorageError {
    return new StorageError("not_found", `there is no image ${this.pool.name}/${name}`, {
      remedy: `\`cairn ls ${this.pool.name}\` lists the images.`,
    });
  }

  private async header(id: string): Promise<ImageHeader> {
    const header = await this.headerIfAny(id);
    if (header !== undefined) return header;
    throw new StorageError("corrupt", `${headerObject(id)} is missing, though the image is named`);
  }

  private async headerIfAny(id: string): Promise<ImageHeader | undefined> {
    const { exists, omap } = await this.cluster.io.operate(this.pool.id, headerObject(id), [
      { code: "omapList", key: "", value: new Uint8Array(), length: 64 },
    ]);
    return exists ? decodeHeader(id, omap) : undefined;
  }

  private infoOf(name: string, header: ImageHeader): ImageInfo {
    const objectBytes = 2 ** header.order;
    return {
      pool: this.pool.name,
      name,
      id: header.id,
      sizeBytes: header.sizeBytes,
      objectBytes,
      objectCount: Math.ceil(header.sizeBytes / objectBytes),
      objectPrefix: header.objectPrefix,
      createdAt: header.createdAt,
    };
  }

  private async unpublish(id: string, name: string): Promise<PendingEntry> {
    try {
      return await this.directory.unpublish(id, this.record("removing", name));
    } catch (thrown) {
      if ((thrown as { code?: unknown }).code !== "precondition_failed") throw thrown;
      throw this.missing(name);
    }
  }

  private async unfinishedRemovals(name: string): Promise<PendingEntry[]> {
    const pending = await this.directory.pending();
    return pending.filter((entry) => entry.state === "removing" && entry.name === name);
  }

  /** @param trimEndBytes what is behind the new size up to here is still to be discarded */
  private async changeSize(
    header: ImageHeader,
    sizeBytes: number,
    trimEndBytes: number | undefined,
  ): Promise<void> {
    const setTrim =
      trimEndBytes === undefined
        ? []
        : [{ code: "omapSet" as const, key: "trim_end", value: u64Value(trimEndBytes) }];
    try {
      await this.cluster.io.operate(this.pool.id, headerObject(header.id), [
        { code: "omapCompare", key: "size", value: u64Value(header.sizeBytes) },
        { code: "omapCompare", key: "trim_end", value: new Uint8Array() },
        { code: "omapSet", key: "size", value: u64Value(sizeBytes) },
        ...setTrim,
      ]);
    } catch (thrown) {
      if ((thrown as { code?: unknown }).code !== "precondition_failed") throw thrown;
      throw new StorageError("busy", "the image is being resized by somebody else", {
        remedy: "Look at its size with `cairn info`, then try again.",
      });
    }
  }

  /** Discards what a shrink has left behind the image's end. */
  private async finishTrim(
    header: ImageHeader,
    progress: Progress,
    fence: NativeFence | undefined,
  ): Promise<ImageHeader> {
    const { trimEndBytes, sizeBytes, id } = header;
    if (trimEndBytes === undefined) return header;
    await this.discard(header, [sizeBytes, trimEndBytes], progress, fence);
    const key = "trim_end";
    await this.cluster.io
      .operate(this.pool.id, headerObject(id), [
        { code: "omapCompare", key, value: u64Value(trimEndBytes) },
        { code: "omapRemove", key },
      ])
      .catch((thrown: unknown) => {
        // Somebody else has finished it too: the same ranges, discarded twice.
        if ((thrown as { code?: unknown }).code !== "precondition_failed") throw thrown;
      });
    return this.header(id);
  }

  /** Discards [begin, end) and what follows up to the end of end's object, in steps. */
  private async discard(
    header: ImageHeader,
    [begin, end]: [begin: number, end: number],
    progress: Progress,
    fence: NativeFence | undefined,
  ): Promise<void> {
    const objectBytes = 2 ** header.order;
    // Whole objects, so that the last one goes as well instead of staying with a partial block.
    const limit = Math.ceil(end / objectBytes) * objectBytes;
    const device = this.openDevice(header, limit, false, fence !== undefined);
    if (fence !== undefined) this.cluster.io.openGate(device, fence);
    try {
      for (let at = begin; at < limit; ) {
        const next = Math.min(limit, at - (at % discardStepBytes) + discardStepBytes);
        await this.cluster.io.discard(device, at, next - at);
        at = next;
        progress(Math.min(at, end) - begin, end - begin);
      }
    } finally {
      this.cluster.io.closeDevice(device);
    }
  }

  private openDevice(
    header: ImageHeader,
    sizeBytes: number,
    readOnly: boolean,
    locked: boolean,
  ): DeviceHandle {
    return this.cluster.io.openImage({
      pool: this.pool.id,
      objectPrefix: header.objectPrefix,
      sizeBytes,
      objectBytes: 2 ** header.order,
      readOnly,
      locked,
    });
  }
}
