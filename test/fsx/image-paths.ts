// The image of a real cluster, opened over each path: the exports are served by this process, with
// the same code as `cairn attach`.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type ClusterClient, Images, openLocked } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { type RunningExport, serialOf, serve } from "../../vhost-blk/index.js";
import type { Disk } from "./disk.js";
import type { ImagePort } from "./exercise.js";
import { openLibraryDisk } from "./library-disk.js";
import { stealLock } from "./lock-thief.js";
import { connectNbdDisk } from "./nbd-disk.js";
import type { PathName } from "./operations.js";
import { connectVhostUserDisk } from "./vhost-user-disk.js";

const name = "fsx";
const pool = "rbd";

/** Makes the image of `sizeBytes`. */
export async function makeImagePort(
  root: string,
  folder: string,
  { cluster, thief }: { cluster: ClusterClient; thief: ClusterClient },
  sizeBytes: number,
): Promise<ImagePort> {
  const images = new Images(cluster, pool, { clock: systemClock, random: systemRandom });
  await images.create(name, sizeBytes);
  const program = join(root, "build/native/vhost_disk");
  if (!existsSync(program)) throw new Error(`${program} is not built: run npm test once`);

  async function exported(path: "nbd" | "vhost-user"): Promise<Disk> {
    const image = await openLocked(images, name);
    const { handle, info, lock } = image;
    const socket = join(folder, `${path}.sock`);
    const target =
      path === "nbd"
        ? ({ kind: "nbd", unix: socket } as const)
        : ({ kind: "vhost-user", socket, queues: 1 } as const);
    const options = { name, serial: serialOf(pool, info.id) };
    const running: RunningExport = await serve(cluster.io, handle, target, options);
    const disk =
      path === "nbd"
        ? await connectNbdDisk(socket, name)
        : await connectVhostUserDisk(program, socket);
    return {
      ...disk,
      lockLost: lock.ended,
      close: async () => {
        await disk.close();
        lock.giveUp();
        await running.stop();
        await image.close();
      },
    };
  }

  return {
    open: (path: PathName) =>
      path === "library" ? openLibraryDisk(cluster, images, name) : exported(path),
    stealLock: () => stealLock(thief, pool, name),
    resize: async (size) => {
      await images.resize(name, size, { allowShrink: true });
    },
  };
}
