// Opening an image for reading: without a lock, but as a watcher, so that others see that it is in
// use, and can ask what its device does. It follows the image's size.
import type { DeviceHandle } from "../../native/binding.js";
import { ImageLock } from "./image-lock.js";
import type { Images } from "./images.js";
import { DeviceInspector } from "./inspection.js";
import type { ImageInfo } from "./scope.js";

export interface OpenReader {
  handle: DeviceHandle;
  info: ImageInfo;
  close(): Promise<void>;
}

/** @param snap name of a snapshot. @throws the errors of Images.open */
export async function openReader(images: Images, name: string, snap?: string): Promise<OpenReader> {
  const options = { readOnly: true, ...(snap === undefined ? {} : { snap }) };
  const { handle, info } = await images.open(name, options);
  try {
    const { scope } = images;
    const inspector = new DeviceInspector(scope, handle);
    const watch = await ImageLock.watching(images.lockPorts(), {
      pool: images.poolId,
      id: info.id,
      reload: async () => {
        // A snapshot keeps the size that it has.
        if (snap === undefined) scope.io.setImageSize(handle, await images.sizeOf(info.id));
      },
      inspect: inspector.answer.bind(inspector),
    });
    const close = async () => {
      await watch.close();
      images.close(handle);
    };
    return { handle, info, close };
  } catch (thrown) {
    images.close(handle);
    throw thrown;
  }
}
