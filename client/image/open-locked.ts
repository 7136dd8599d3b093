// Opening an image for use under its exclusive lock: the lock is taken when a front end begins to
// use the device, and let go when the last one has ended or another client asks for it. An image
// without the feature exclusive-lock is opened for as many writers as want it.
import type { DeviceHandle } from "../../native/binding.js";
import { hasFeature } from "./features.js";
import { ImageLock } from "./image-lock.js";
import type { Images } from "./images.js";
import { LiveImage } from "./live-image.js";
import type { ImageInfo } from "./scope.js";

export interface LockedImage {
  handle: DeviceHandle;
  info: ImageInfo;
  lock: ImageLock;
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
}

/** @throws the errors of Images.open */
export async function openLocked(
  images: Images,
  name: string,
  { exclusive = false, watchTimeoutMs }: OpenLockedOptions = {},
): Promise<LockedImage> {
  const { handle, info } = await images.open(name, { locked: true });
  const { scope } = images;
  try {
    const header = await scope.header(info.id);
    const live = new LiveImage(scope, info.id, handle);
    const needsLock = hasFeature(header.features, "exclusive-lock");
    const target = {
      pool: images.poolId,
      dataPool: scope.dataPoolOf(header).id,
      id: info.id,
      device: needsLock ? handle : undefined,
      reload: (token: number | undefined) => live.reload(token),
      carryOut: live.carryOut.bind(live),
    };
    const lock = await ImageLock.watching(scope.lockPorts(), target, { exclusive }, watchTimeoutMs);
    live.attach(lock);
    // What the image's configuration says holds from the first request on.
    await live.reload(undefined);
    const close = async () => {
      await lock.close();
      images.close(handle);
    };
    const takeLock = async () => {
      if (needsLock) await lock.acquire();
    };
    return { handle, info, lock, takeLock, close };
  } catch (thrown) {
    images.close(handle);
    throw thrown;
  }
}
