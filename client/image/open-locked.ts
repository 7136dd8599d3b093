// Opening an image for use under its exclusive lock: the lock is taken when a front end begins to
// use the device, and let go when the last one has ended or another client asks for it.
import type { DeviceHandle } from "../../native/binding.js";
import { ImageLock } from "./image-lock.js";
import type { ImageInfo, Images } from "./images.js";
import type { LockRequest } from "./lock-record.js";

export interface LockedImage {
  handle: DeviceHandle;
  info: ImageInfo;
  lock: ImageLock;
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
  const ports = images.lockPorts();
  const { id } = info;
  const target = {
    pool: images.poolId,
    id,
    device: handle,
    reload: async () => ports.io.setImageSize(handle, await images.sizeOf(id)),
    carryOut: async (request: LockRequest, token: number) => {
      if (request.op !== "resize") return;
      const { sizeBytes, allowShrink, overcommit } = request;
      const before = await images.sizeOf(id);
      // Before it shrinks, so that nothing is written behind the end while that is discarded.
      if (allowShrink && sizeBytes < before) ports.io.setImageSize(handle, sizeBytes);
      try {
        const options = { allowShrink, overcommit };
        await images.resizeUnderLock(id, sizeBytes, options, { key: id, token });
      } finally {
        ports.io.setImageSize(handle, await images.sizeOf(id));
      }
    },
  };
  try {
    const lock = await ImageLock.watching(ports, target, { exclusive }, watchTimeoutMs);
    const close = async () => {
      await lock.close();
      images.close(handle);
    };
    return { handle, info, lock, close };
  } catch (thrown) {
    images.close(handle);
    throw thrown;
  }
}
