// The images of a real cluster, opened over each path: the exports are served by this process, with
// the same code as `cairn attach`. What is done to an image that is open is asked for by another
// client.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type ClusterClient, Images, openLocked } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import type { DeviceHandle } from "../../native/binding.js";
import { type RunningExport, serialOf, serve } from "../../vhost-blk/index.js";
import type { Disk, ExportedDisk, View } from "./disk.js";
import type { ImagePort } from "./exercise.js";
import type { Place } from "./family-model.js";
import { openLibraryDisk } from "./library-disk.js";
import { stealLock } from "./lock-thief.js";
import { connectNbdDisk } from "./nbd-disk.js";
import type { PathName } from "./operations.js";
import { connectVhostUserDisk } from "./vhost-user-disk.js";

const pool = "rbd";
const nameOf = (image: number) => `fsx-${image}`;
const snapNameOf = (snapshot: number) => `snap-${snapshot}`;

interface Exporting {
  program: string;
  cluster: ClusterClient;
  path: "nbd" | "vhost-user";
  socket: string;
}

/** A device served over a path, and a front end that uses it. */
async function exportDevice(
  { program, cluster, path, socket }: Exporting,
  handle: DeviceHandle,
  { name, id }: { name: string; id: string },
): Promise<{ disk: ExportedDisk; running: RunningExport }> {
  const target =
    path === "nbd"
      ? ({ kind: "nbd", unix: socket } as const)
      : ({ kind: "vhost-user", socket, queues: 1 } as const);
  const running = await serve(cluster.io, handle, target, { name, serial: serialOf(pool, id) });
  const disk =
    path === "nbd"
      ? await connectNbdDisk(socket, name)
      : await connectVhostUserDisk(program, socket);
  return { disk, running };
}

/** Makes image 0, of `sizeBytes`. */
export async function makeImagePort(
  root: string,
  folder: string,
  { cluster, other }: { cluster: ClusterClient; other: ClusterClient },
  sizeBytes: number,
): Promise<ImagePort> {
  const ports = { clock: systemClock, random: systemRandom };
  const images = new Images(cluster, pool, ports);
  const verbs = new Images(other, pool, ports);
  await images.create(nameOf(0), sizeBytes);
  const program = join(root, "build/native/vhost_disk");
  if (!existsSync(program)) throw new Error(`${program} is not built: run npm test once`);
  let exports = 0;
  const exporting = (path: "nbd" | "vhost-user"): Exporting => {
    const socket = join(folder, `${path}-${exports++}.sock`);
    return { program, cluster, path, socket };
  };

  async function exported(image: number, path: "nbd" | "vhost-user"): Promise<Disk> {
    const name = nameOf(image);
    const { handle, info, lock, close } = await openLocked(images, name);
    const served = await exportDevice(exporting(path), handle, { name, id: info.id });
    return {
      ...served.disk,
      lockLost: lock.ended,
      close: async () => {
        await served.disk.close();
        lock.giveUp();
        await served.running.stop();
        await close();
      },
    };
  }

  async function view({ image, snapshot }: Place, path: PathName): Promise<View> {
    const name = nameOf(image);
    const snap = snapshot === undefined ? {} : { snap: snapNameOf(snapshot) };
    const { handle, info } = await images.open(name, { readOnly: true, ...snap });
    if (path === "library") {
      return {
        sizeBytes: info.sizeBytes,
        read: (offset, lengthBytes) => cluster.io.readDevice(handle, offset, lengthBytes),
        close: async () => images.close(handle),
      };
    }
    const { disk, running } = await exportDevice(exporting(path), handle, { name, id: info.id });
    return {
      ...disk,
      close: async () => {
        await disk.close();
        await running.stop();
        images.close(handle);
      },
    };
  }

  return {
    view,
    open: (image, path) =>
      path === "library" ? openLibraryDisk(cluster, images, nameOf(image)) : exported(image, path),
    stealLock: (image) => stealLock(other, pool, nameOf(image)),
    resize: async (image, size) => {
      await images.resize(nameOf(image), size, { allowShrink: true });
    },
    createSnapshot: async ({ image, snapshot }) => {
      await verbs.snapshots.create(nameOf(image), snapNameOf(snapshot));
    },
    removeSnapshot: ({ image, snapshot }) =>
      verbs.snapshots.remove(nameOf(image), snapNameOf(snapshot)),
    rollback: ({ image, snapshot }) =>
      verbs.snapshots.rollback(nameOf(image), snapNameOf(snapshot)),
    clone: async ({ image, snapshot }, clone) => {
      const to = { scope: verbs.scope, name: nameOf(clone) };
      await verbs.clones.create(nameOf(image), snapNameOf(snapshot), to);
    },
    flatten: async (image) => {
      const parent = await verbs.clones.parent(nameOf(image));
      if (parent !== undefined) await verbs.clones.flatten(nameOf(image));
    },
    removeImage: async (image) => {
      await verbs.snapshots.purge(nameOf(image));
      await verbs.remove(nameOf(image));
    },
  };
}
