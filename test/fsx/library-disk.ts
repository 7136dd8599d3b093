// The image through the client library.
import type { ClusterClient, Images, OpenDevice } from "../../client/index.js";
import type { Disk } from "./disk.js";

export async function openLibraryDisk(
  cluster: ClusterClient,
  images: Images,
  name: string,
): Promise<Disk> {
  const device: OpenDevice = await images.open(name);
  const { io } = cluster;
  const { handle } = device;
  return {
    sizeBytes: device.info.sizeBytes,
    read: (offset, lengthBytes) => io.readDevice(handle, offset, lengthBytes),
    write: (offset, bytes) => io.writeDevice(handle, offset, bytes),
    writeZeroes: (offset, lengthBytes, mayUnmap) =>
      io.writeZeroes(handle, offset, lengthBytes, mayUnmap),
    discard: (offset, lengthBytes) => io.discard(handle, offset, lengthBytes),
    flush: () => io.flush(handle),
    zeroRuns: () => Promise.resolve(undefined),
    close: async () => images.close(handle),
  };
}
