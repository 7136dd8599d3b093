// The images of a pool, or of a namespace of it: create, list, look up, rename, resize, remove,
// open; and their snapshots, clones, groups... each a part of its own.
//
// It moves no payload (the native core does) and keeps no cache. What changes an image that has a
// name does so under its exclusive lock, or is sent to whoever holds that.
import { StorageError, toStorageError } from "../../common/errors.js";
import type { DeviceHandle } from "../../native/binding.js";
import { ImageLocks } from "./advisory-locks.js";
import { Clones } from "./clones.js";
import { ImageConfig } from "./config-store.js";
import { Copies } from "./copy.js";
import type { PendingEntry } from "./directory.js";
import { makeChange } from "./exclusive.js";
import { Features } from "./feature-verbs.js";
import { hasFeature } from "./features.js";
import type { FillOptions } from "./filled-image.js";
import { Groups } from "./groups.js";
import type { ImageHeader } from "./header.js";
import { changeHeader } from "./header-change.js";
import type { LockPorts } from "./image-lock.js";
import { checkImageName, poolCapacityBytes } from "./image-spec.js";
import type { ImageKey } from "./keys.js";
import { openHead, openSnapshot, withHeader } from "./layout.js";
import type { LayoutOptions } from "./making.js";
import * as making from "./making.js";
import { ImageMetadata } from "./metadata.js";
import { Migrations } from "./migration.js";
import { refuseSource, requireUsable, targetRecord, watchSource } from "./migration-state.js";
import { compareStep, hasCode, setStep, u64Value } from "./omap-values.js";
import type { PendingState } from "./pending-record.js";
import { removeImage } from "./removal.js";
import {
  type ImageCluster,
  type ImageInfo,
  type ImageIo,
  type ImagePorts,
  noProgress,
  type Progress,
  Scope,
} from "./scope.js";
import { Snapshots, snapshotByName } from "./snapshots.js";
import { createThick } from "./thick.js";
import { Trash } from "./trash.js";

export interface OpenDevice {
  handle: DeviceHandle;
  info: ImageInfo;
  /** of the snapshot that it shows */
  snapId?: number;
}

/** progress, in bytes, and the rest of FillOptions: of one that is provisioned thickly. */
export interface CreateOptions extends LayoutOptions, FillOptions {
  overcommit?: boolean;
  /** all blocks are written with zeros, and take space, before the image is there */
  thickProvision?: boolean;
}

export interface ResizeOptions {
  /** without it a smaller size is refused: what is behind it is discarded */
  allowShrink?: boolean;
  overcommit?: boolean;
  progress?: Progress;
}

export interface OpenOptions {
  readOnly?: boolean;
  /** its requests wait for the exclusive lock: openLocked() takes that */
  locked?: boolean;
  /** name of a snapshot: read-only */
  snap?: string;
}

export class Images<Io extends ImageIo = ImageIo> {
  readonly scope: Scope<Io>;
  readonly snapshots: Snapshots;
  readonly clones: Clones;
  readonly features: Features;
  readonly metadata: ImageMetadata;
  readonly config: ImageConfig;
  readonly locks: ImageLocks;
  readonly trash: Trash;
  readonly groups: Groups;
  readonly copies: Copies;
  readonly migrations: Migrations;
  /** of devices that read the source of a migration: the ends of their watches on it */
  private readonly sourceWatches = new Map<DeviceHandle, () => Promise<void>>();

  /** @throws not_found when there is no such pool; a namespace is looked for when it is used */
  constructor(cluster: ImageCluster<Io>, poolName: string, ports: ImagePorts, namespace = "") {
    if (namespace !== "") checkImageName(namespace);
    this.scope = new Scope(cluster, cluster.pool(poolName), namespace, ports);
    this.snapshots = new Snapshots(this.scope);
    this.clones = new Clones(this.scope);
    this.features = new Features(this.scope);
    this.metadata = new ImageMetadata(this.scope);
    this.config = new ImageConfig(this.scope);
    this.locks = new ImageLocks(this.scope);
    this.trash = new Trash(this.scope);
    this.groups = new Groups(this.scope);
    this.copies = new Copies(this.scope);
    this.migrations = new Migrations(this.scope);
  }

  /**
   * @throws invalid_argument, out_of_range (see checkImageSize), already_exists; no_space, canceled
   *   when it is provisioned thickly
   */
  async create(name: string, sizeBytes: number, options: CreateOptions = {}): Promise<ImageInfo> {
    const { overcommit = false, thickProvision = false, ...more } = options;
    const { progress, signal, every, ...layout } = more;
    const image = { ...layout, sizeBytes };
    if (thickProvision && overcommit) throw thickBeyondPool();
    // What the pool has left is less than what it could hold: a thick image is refused by that.
    making.checkNew(this.scope, name, image, overcommit || thickProvision);
    if (thickProvision) {
      return createThick(this.scope, name, image, { progress, signal, every });
    }
    // Entries of creators that died hold no data: clearing them away takes a few operations each.
    await making.clearStale(this.scope, ["creating"]);
    const made = await making.begin(this.scope, "creating", name, image);
    return making.publishNew(this.scope, made);
  }

  /** @throws not_found, corrupt, unsupported_feature */
  async info(image: ImageKey): Promise<ImageInfo> {
    const { id, name } = await this.scope.named(image);
    return this.scope.infoOf(name, await this.scope.header(id));
  }

  /**
   * All images, by name.
   * @param onUnreadable called with those whose header is damaged, or of a newer version; without
   *   it they fail the list
   */
  async list(
    onUnreadable: (name: string, error: StorageError) => void = (_, error) => {
      throw error;
    },
  ): Promise<ImageInfo[]> {
    const names = await this.scope.directory.names();
    const infos: ImageInfo[] = [];
    const parallel = 16;
    for (let at = 0; at < names.length; at += parallel) {
      const batch = names.slice(at, at + parallel);
      const found = await Promise.all(
        batch.map(async ([name, id]) => {
          try {
            const header = await this.scope.headerIfAny(id);
            // Gone between the two reads: not listed.
            return header === undefined ? undefined : this.scope.infoOf(name, header);
          } catch (thrown) {
            const isOfImage = hasCode(thrown, "corrupt") || hasCode(thrown, "unsupported_feature");
            if (!isOfImage) throw thrown;
            onUnreadable(name, toStorageError(thrown));
            return undefined;
          }
        }),
      );
      infos.push(...found.filter((info) => info !== undefined));
    }
    return infos;
  }

  /** Images that are being made or taken away, or were when their client died. */
  pending(): Promise<PendingEntry[]> {
    return this.scope.directory.pending();
  }

  /**
   * Removes an image: first its name, then its data, then its header. An earlier removal of the
   * name that was cut short is finished; so is what clients that died have left in this pool.
   * @throws not_found; busy when somebody has it open, or it has snapshots, or belongs to a group
   */
  remove(name: string, progress: Progress = noProgress): Promise<void> {
    return removeImage(this.scope, name, progress);
  }

  /** Whoever has it open goes on with it. @throws not_found, already_exists, invalid_argument */
  async rename(name: string, newName: string): Promise<ImageInfo> {
    checkImageName(newName);
    const id = await this.scope.idOf(name);
    if (name !== newName) await this.scope.directory.rename(id, name, newName);
    return this.info(newName);
  }

  /**
   * Of an image that is open for writing, the holder of its lock does it.
   * @throws invalid_argument, out_of_range, not_found; busy when somebody else resizes it now
   */
  async resize(name: string, sizeBytes: number, options: ResizeOptions = {}): Promise<ImageInfo> {
    const id = await this.scope.idOf(name);
    const { allowShrink = false, overcommit = false, progress } = options;
    // A size that no image can have is not worth asking a holder for.
    checkSize(sizeBytes);
    const change = { kind: "resize" as const, sizeBytes, allowShrink, overcommit };
    await makeChange(this.scope, id, change, progress);
    return this.info(name);
  }

  /** What a lock of this pool's images needs of the client around it. */
  lockPorts(): LockPorts {
    return this.scope.lockPorts();
  }

  /** id of the pool */
  get poolId(): number {
    return this.scope.pool.id;
  }

  /**
   * Opens an image, or a snapshot of it, as a native device.
   * @throws not_found, corrupt, unsupported_feature; busy when a rollback is to be finished first
   */
  async open(name: string, options: OpenOptions = {}): Promise<OpenDevice> {
    const id = await this.scope.idOf(name);
    return withHeader(this.scope, id, (header) => this.openAs(name, header, options));
  }

  private async openAs(
    name: string,
    header: ImageHeader,
    { readOnly = false, locked = false, snap }: OpenOptions,
  ): Promise<OpenDevice> {
    await refuseSource(this.scope, header);
    if (targetRecord(header)?.state === "aborting") await requireUsable(this.scope, header);
    const info = this.scope.infoOf(name, header);
    if (snap !== undefined) {
      const snapshot = snapshotByName(header, snap, this.scope.prefix + name);
      const shown = { ...info, sizeBytes: snapshot.sizeBytes };
      const open = () => openSnapshot(this.scope, header, snapshot.id);
      return { ...(await this.openHeld(header, shown, open)), snapId: snapshot.id };
    }
    // One that is opened for its lock finishes the rollback when it takes that.
    if (header.rollback !== undefined && !locked) {
      const spec = this.scope.prefix + name;
      throw new StorageError("busy", `${spec} is being rolled back`, {
        remedy: `If nobody is at it any more: cairn snap rollback ${spec}@SNAP`,
      });
    }
    const underLock = locked && hasFeature(header.features, "exclusive-lock");
    if (!underLock) {
      return this.openHeld(header, info, () => openHead(this.scope, header, { readOnly }));
    }
    return { handle: await openHead(this.scope, header, { readOnly, locked: underLock }), info };
  }

  close(handle: DeviceHandle): void {
    this.scope.io.closeDevice(handle);
    const end = this.sourceWatches.get(handle);
    this.sourceWatches.delete(handle);
    void end?.().catch(() => undefined);
  }

  /** Under no lock nobody tells the device that its source goes: so it is held by a watch. */
  private async openHeld(
    header: ImageHeader,
    info: ImageInfo,
    open: () => Promise<DeviceHandle>,
  ): Promise<OpenDevice> {
    const end = await watchSource(this.scope, header);
    try {
      const handle = await open();
      if (end !== undefined) this.sourceWatches.set(handle, end);
      return { handle, info };
    } catch (thrown) {
      await end?.().catch(() => undefined);
      throw thrown;
    }
  }

  /** @throws invalid_argument, out_of_range */
  checkNew(name: string, sizeBytes: number, overcommit: boolean): void {
    making.checkNew(this.scope, name, { sizeBytes }, overcommit);
  }

  /** What the pool can hold. */
  capacityBytes(): number {
    return poolCapacityBytes(this.scope.cluster.map(), this.scope.pool);
  }

  /**
   * The first half of making an image: a pending entry and a header.
   * @throws already_exists
   */
  begin(
    state: PendingState,
    name: string,
    sizeBytes: number,
    layout: LayoutOptions = {},
  ): Promise<making.MadeImage> {
    return making.begin(this.scope, state, name, { ...layout, sizeBytes });
  }

  /** A device over a pending image. */
  async openPending(entry: PendingEntry): Promise<DeviceHandle> {
    return openHead(this.scope, await this.scope.header(entry.id));
  }

  /** Says that somebody still works on a pending image. @throws canceled */
  renew(entry: PendingEntry): Promise<PendingEntry> {
    return making.renew(this.scope, entry);
  }

  /**
   * The second half: the image gets its name.
   * @param sizeBytes its size, when it was not known before
   * @throws already_exists, canceled
   */
  async publish(entry: PendingEntry, sizeBytes?: number): Promise<ImageInfo> {
    if (sizeBytes !== undefined) {
      await changeHeader(this.scope, entry.id, undefined, ({ header }) => [
        compareStep("size", u64Value(header.sizeBytes)),
        setStep("size", u64Value(sizeBytes)),
      ]);
    }
    await this.scope.directory.publish(entry);
    return this.info(entry.name);
  }

  /** Takes a pending image away: data, header, entry. Can be repeated after a crash anywhere. */
  clear(entry: PendingEntry, progress: Progress = noProgress): Promise<void> {
    return making.clear(this.scope, entry, progress);
  }

  /** Clears away what clients that died have left in these states. */
  clearStale(states: readonly PendingState[]): Promise<void> {
    return making.clearStale(this.scope, states);
  }
}

const thickBeyondPool = () =>
  new StorageError("invalid_argument", "a thick image can't be larger than its pool can hold", {
    remedy: "Leave out either --thick-provision or --thin-overcommit.",
  });

function checkSize(sizeBytes: number): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0) return;
  throw new StorageError("invalid_argument", `an image of ${sizeBytes} bytes cannot be`, {
    remedy: "Give a size above 0, such as --size 4G.",
  });
}
