// Opening an image for use under its exclusive lock: the lock is taken when a front end begins to
// use the device, and let go when the last one has ended or another client asks for it. An image
// without the feature exclusive-lock is opened for as many writers as want it.
//
// When the image is migrated, the device becomes its target, under that one's lock: front ends see
// a pause.
import { type StorageError, toStorageError } from "../../common/errors.js";
import type { DeviceHandle } from "../../native/binding.js";
import { ConfigWatch } from "./config-watch.js";
import { hasFeature } from "./features.js";
import type { ImageHeader } from "./header.js";
import { ImageLock } from "./image-lock.js";
import type { Images } from "./images.js";
import { DeviceInspector } from "./inspection.js";
import { layoutOf } from "./layout.js";
import { LiveImage } from "./live-image.js";
import type { ImageRef } from "./references.js";
import type { ImageInfo, Scope } from "./scope.js";
import type { SnapshotInfo } from "./snapshots.js";

export interface LockedImage {
  handle: DeviceHandle;
  info: ImageInfo;
  /** of the image that the device is now */
  readonly lock: ImageLock;
  /** where that image is */
  readonly place: { scope: Scope; id: string };
  /** Resolves with the reason when the lock is lost or refused: the image can't be used on. */
  readonly ended: Promise<StorageError>;
  /** Takes the lock for a user that is no front end; nothing where the image needs none. */
  takeLock(): Promise<void>;
  /** Lets the lock go and closes the device; what uses it has been stopped. */
  close(): Promise<void>;
}

export interface OpenLockedOptions {
  /** once the lock is taken, it is not handed over */
  exclusive?: boolean;
  /** how long others wait for us when we fall silent */
  watchTimeoutMs?: number | undefined;
  /** those that users see, at first and whenever the header was read again */
  onSnapshots?: (snapshots: SnapshotInfo[]) => void;
}

/** @throws the errors of Images.open */
export async function openLocked(
  images: Images,
  name: string,
  options: OpenLockedOptions = {},
): Promise<LockedImage> {
  const { handle, info } = await images.open(name, { locked: true });
  try {
    const header = await images.scope.header(info.id);
    const used = new UsedImage(handle, info, options);
    await used.begin(images.scope, header);
    return used;
  } catch (thrown) {
    images.close(handle);
    throw thrown;
  }
}

/** What the device is at the moment. */
interface Current {
  scope: Scope;
  id: string;
  needsLock: boolean;
  live: LiveImage;
  lock: ImageLock;
  config: ConfigWatch;
}

class UsedImage implements LockedImage {
  readonly ended: Promise<StorageError>;
  private current: Current | undefined;
  private end: (why: StorageError) => void = () => undefined;
  private moving: Promise<void> = Promise.resolve();

  constructor(
    readonly handle: DeviceHandle,
    readonly info: ImageInfo,
    private readonly options: OpenLockedOptions,
  ) {
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  async begin(scope: Scope, header: ImageHeader): Promise<void> {
    this.become(await this.watching(scope, header, Promise.resolve()));
    // What the image's configuration says holds from the first request on.
    await this.now.live.reload(undefined);
  }

  get lock(): ImageLock {
    return this.now.lock;
  }

  get place(): { scope: Scope; id: string } {
    return this.now;
  }

  async takeLock(): Promise<void> {
    if (this.now.needsLock) await this.now.lock.acquire();
  }

  /** A value of its own: callers take it apart from the image. */
  readonly close = async (): Promise<void> => {
    await this.moving.catch(() => undefined);
    // Without the lock nothing is carried through any more.
    await Promise.race([this.now.live.finish(), this.now.lock.ended]);
    // It may have been what moves the image to another place.
    await this.moving.catch(() => undefined);
    await this.now.config.close();
    await this.now.lock.close();
    this.now.scope.io.closeDevice(this.handle);
  };

  private get now(): Current {
    if (this.current !== undefined) return this.current;
    throw new Error("the image is used before it is open");
  }

  private become(next: Current): void {
    this.current = next;
    void next.lock.ended.then((why) => {
      if (this.current === next) this.end(why);
    });
  }

  /** @param ready when the device is this image: before, nothing goes to it */
  private async watching(
    scope: Scope,
    header: ImageHeader,
    ready: Promise<void>,
  ): Promise<Current> {
    const { handle } = this;
    const { exclusive = false, watchTimeoutMs, onSnapshots } = this.options;
    const { id } = header;
    const move = (target: ImageRef) => this.move(id, target);
    const live = new LiveImage(scope, id, handle, move, onSnapshots);
    const inspector = new DeviceInspector(scope, handle);
    const needsLock = hasFeature(header.features, "exclusive-lock");
    const target = {
      pool: scope.pool.id,
      dataPool: scope.dataPoolOf(header).id,
      id,
      device: needsLock ? handle : undefined,
      reload: async (token: number | undefined) => {
        await ready;
        await live.reload(token);
      },
      carryOut: live.carryOut.bind(live),
      inspect: inspector.answer.bind(inspector),
    };
    const lock = await ImageLock.watching(scope.lockPorts(), target, { exclusive }, watchTimeoutMs);
    live.attach(lock);
    const config = new ConfigWatch(scope, async () => {
      await ready;
      await live.reload(undefined).catch(() => undefined);
    });
    return { scope, id, needsLock, live, lock, config };
  }

  /** However often it is asked for. */
  private move(from: string, target: ImageRef): Promise<void> {
    if (this.now.id !== from) return this.moving;
    const old = this.now;
    this.moving = this.moving.then(async () => {
      if (this.now === old) await this.moveOn(old, target);
    });
    return this.moving;
  }

  private async moveOn(old: Current, target: ImageRef): Promise<void> {
    const { handle } = this;
    const { io } = old.scope;
    try {
      const scope = old.scope.elsewhere(target.pool, target.namespace);
      const header = await scope.header(target.imageId);
      let release: () => void = () => undefined;
      const ready = new Promise<void>((resolve) => {
        release = resolve;
      });
      const next = await this.watching(scope, header, ready);
      const inUse = old.lock.leaveDevice();
      this.become(next);
      await io.drainGate(handle);
      await io.retarget(handle, layoutOf(scope, header));
      release();
      // Who stopped to use it meanwhile waits for the old lock no longer.
      if (inUse) await next.lock.acquire();
      else io.released(handle);
    } catch (thrown) {
      const why = toStorageError(thrown);
      io.failGate(handle, `the image can't be used where it was migrated to: ${why.message}`, true);
      this.end(why);
      throw why;
    }
    void old.config.close();
    // The change that has brought us here may still hold the old lock.
    void old.lock.close().catch(() => undefined);
  }
}
