// Opening an image for reading: without a lock, but as a watcher, so that others see that it is in
// use, and can ask what its device does. It follows the image's size and limits.
import type { DeviceHandle } from "../../native/binding.js";
import { DeviceLimits } from "./device-limits.js";
import { ImageLock } from "./image-lock.js";
import type { Images } from "./images.js";
import { DeviceInspector } from "./inspection.js";
import type { ImageInfo } from "./scope.js";
import type { SnapshotInfo } from "./snapshots.js";

export interface OpenReader {
  handle: DeviceHandle;
  info: ImageInfo;
  close(): Promise<void>;
}

export interface ReaderOptions {
  /** name of a snapshot */
  snap?: string | undefined;
  /** Tells of the image's snapshots after each change. */
  onSnapshots?: (snapshots: SnapshotInfo[]) => void;
}

/** @throws the errors of Images.open */
export async function openReader(
  images: Images,
  name: string,
  { snap, onSnapshots }: ReaderOptions = {},
): Promise<OpenReader> {
  const options = { readOnly: true, ...(snap === undefined ? {} : { snap }) };
  const { handle, info } = await images.open(name, options);
  try {
    const { scope } = images;
    const limits = new DeviceLimits(handle);
    const inspector = new DeviceInspector(scope, handle);
    const watch = await ImageLock.watching(images.lockPorts(), {
      pool: images.poolId,
      id: info.id,
      reload: async () => {
        const { sizeBytes, snapshots } = await images.stateOf(info.id);
        // What a snapshot shows never changes.
        if (snap === undefined) scope.io.setImageSize(handle, sizeBytes);
        onSnapshots?.(snapshots);
        await limits.follow(scope, info.id);
      },
      inspect: inspector.answer.bind(inspector),
    });
    const close = async () => {
      await watch.close();
      images.close(handle);
    };
    // What the image's configuration says holds from the first request on.
    await limits.follow(scope, info.id).catch(async (thrown: unknown) => {
      await watch.close();
      throw thrown;
    });
    return { handle, info, close };
  } catch (thrown) {
    images.close(handle);
    throw thrown;
  }
}
