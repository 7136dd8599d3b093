// Opening an image for reading: without a lock, but as a watcher, so that others see that it is in
// use, and can ask what its device does. It follows the image: its size, its parents, its limits.
import type { DeviceHandle } from "../../native/binding.js";
import { ConfigWatch } from "./config-watch.js";
import { DeviceFollower } from "./device-follower.js";
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
  onSnapshots?: ((snapshots: SnapshotInfo[]) => void) | undefined;
}

/** @throws the errors of Images.open */
export async function openReader(
  images: Images,
  name: string,
  { snap, onSnapshots }: ReaderOptions = {},
): Promise<OpenReader> {
  const options = { readOnly: true, ...(snap === undefined ? {} : { snap }) };
  const { handle, info, snapId } = await images.open(name, options);
  try {
    const { scope } = images;
    const inspector = new DeviceInspector(scope, handle);
    const follower = new DeviceFollower(scope, info.id, handle, { snapId, onSnapshots });
    const watch = await ImageLock.watching(images.lockPorts(), {
      pool: images.poolId,
      id: info.id,
      reload: async () => {
        await follower.follow();
        await follower.untilLeft();
      },
      inspect: inspector.answer.bind(inspector),
    });
    const config = new ConfigWatch(scope, async () => {
      await follower.follow().catch(() => undefined);
    });
    const close = async () => {
      await config.close();
      await watch.close();
      images.close(handle);
    };
    try {
      // What has changed since it was opened, nobody has told us.
      await follower.follow();
    } catch (thrown) {
      await close();
      throw thrown;
    }
    return { handle, info, close };
  } catch (thrown) {
    images.close(handle);
    throw thrown;
  }
}
