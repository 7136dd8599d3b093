// Opening an image for reading: without a lock, but as a watcher, so that others see that it is in
// use, and can ask what its device does. It follows the image: its size, its parents, its limits.
import type { DeviceHandle } from "../../native/binding.js";
import { ConfigWatch } from "./config-watch.js";
import { followDevice } from "./followed-device.js";
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
    const inspect = inspector.answer.bind(inspector);
    const { follower, end } = await followDevice(scope, info.id, handle, {
      ...{ snapId, onSnapshots, inspect },
    });
    const config = new ConfigWatch(scope, async () => {
      await follower.follow().catch(() => undefined);
    });
    const close = async () => {
      await config.close();
      await end();
      images.close(handle);
    };
    return { handle, info, close };
  } catch (thrown) {
    images.close(handle);
    throw thrown;
  }
}
