// The image through the client library.
import { type ClusterClient, type Images, openLocked } from "../../client/index.js";
import type { Disk } from "./disk.js";

export async function openLibraryDisk(
  cluster: ClusterClient,
  images: Images,
  name: string,
): Promise<Disk> {
  const { handle, info, lock, close } = await openLocked(images, name);
  const { io } = cluster;
  return {
    sizeBytes: info.sizeBytes,
    read: (offset, lengthBytes) => io.readDevice(handle, offset, lengthBytes),
    write: (offset, bytes) => io.writeDevice(handle, offset, bytes),
    writeZeroes: (offset, lengthBytes, mayUnmap) =>
      io.writeZeroes(handle, offset, lengthBytes, mayUnmap),
    discard: (offset, lengthBytes) => io.discard(handle, offset, lengthBytes),
    flush: () => io.flush(handle),
    zeroRuns: () => Promise.resolve(undefined),
    lockLost: lock.ended,
    close,
  };
}
