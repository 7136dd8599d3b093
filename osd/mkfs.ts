// Makes the store of a new OSD. Either everything is made, or nothing is left behind.
import { rm, stat } from "node:fs/promises";
import type { OsdConfig } from "../common/config.js";
import { StorageError } from "../common/errors.js";
import { systemRandom } from "../common/ports.js";
import { formatSize } from "../common/units.js";
import { native } from "../native/index.js";
import { clusterBytes } from "../proto/control-channel.js";
import { type Identity, removeIdentity, storePath, writeIdentity } from "./identity.js";
import { nativeError } from "./native-error.js";

export interface MkfsOsdOptions extends Pick<OsdConfig, "id" | "dataDir" | "store"> {
  clusterId: string;
  /** size of the store's file (sparse); for a block device: absent, its whole size is taken */
  sizeBytes?: number | undefined;
  /** of the write-ahead log */
  walBytes?: number | undefined;
}

const defaultWalBytes = 128 << 20;
const minStoreBytes = 1 << 30;
/** EFBIG: it has no code of its own. */
const fileTooLarge = /: File too large$/;

/**
 * Formats the store and writes the identity file.
 * @throws already_exists, invalid_argument, no_space, permission_denied
 */
export async function mkfsOsd(options: MkfsOsdOptions): Promise<Identity> {
  const { id, dataDir, clusterId, sizeBytes = 0 } = options;
  const path = storePath(options);
  const existing = await stat(path).catch(() => undefined);
  const isDevice = existing?.isBlockDevice() === true;
  if (existing !== undefined && !isDevice) {
    throw new StorageError("already_exists", `${path} exists already`, {
      remedy: "Name another data folder; a store is never overwritten.",
    });
  }
  if (isDevice && sizeBytes !== 0) {
    throw new StorageError("invalid_argument", `${path} is a device: its whole size is taken`);
  }
  if (!isDevice && (!Number.isSafeInteger(sizeBytes) || sizeBytes < minStoreBytes)) {
    const [given, least] = [formatSize(sizeBytes), formatSize(minStoreBytes)];
    throw new StorageError("invalid_argument", `a store of ${given} is too small`, {
      remedy: `Give it ${least} or more.`,
    });
  }
  const identity: Identity = { osd: id, clusterId, storeId: systemRandom.uuid() };
  await writeIdentity(dataDir, identity);
  try {
    await native.formatStore({
      path,
      clusterId: clusterBytes(clusterId),
      osd: id,
      storeId: clusterBytes(identity.storeId),
      sizeBytes,
      walBytes: options.walBytes ?? defaultWalBytes,
    });
  } catch (thrown) {
    await removeIdentity(dataDir);
    if (!isDevice) await rm(path, { force: true });
    const error = nativeError(thrown, `make the store ${path}`);
    if (!fileTooLarge.test(error.message)) throw error;
    throw new StorageError("too_large", error.message, {
      remedy: `Its file system takes no file of ${formatSize(sizeBytes)}: make it smaller.`,
      cause: thrown,
    });
  }
  return identity;
}
