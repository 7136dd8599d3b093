// A device of an image that somebody reads: a watch on the header shows others that it is in use,
// and brings it what changes there. Whoever changes the image's parents is answered when nothing is
// read through the old ones any more.
import type { DeviceHandle } from "../../native/binding.js";
import { DeviceFollower, type FollowerOptions } from "./device-follower.js";
import { ImageLock, type LockTarget } from "./image-lock.js";
import type { Scope } from "./scope.js";

export interface FollowedOptions extends FollowerOptions {
  inspect?: LockTarget["inspect"];
}

export interface FollowedDevice {
  follower: DeviceFollower;
  /** Ends the watch; the device stays open. */
  end(): Promise<void>;
}

/** @throws not_found, corrupt, unsupported_feature */
export async function followDevice(
  scope: Scope,
  id: string,
  handle: DeviceHandle,
  { inspect, ...options }: FollowedOptions = {},
): Promise<FollowedDevice> {
  const follower = new DeviceFollower(scope, id, handle, options);
  const watch = await ImageLock.watching(scope.lockPorts(), {
    pool: scope.pool.id,
    id,
    reload: async () => {
      await follower.follow();
      await follower.untilLeft();
    },
    ...(inspect === undefined ? {} : { inspect }),
  });
  try {
    // What has changed since it was opened, nobody has told us.
    await follower.follow();
  } catch (thrown) {
    await watch.close();
    throw thrown;
  }
  return { follower, end: () => watch.close() };
}
