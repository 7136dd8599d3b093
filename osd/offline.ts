// Looks into the store of an OSD that does not run: what it knows of the cluster map, for a monitor
// that has to be made anew.
import { StorageError } from "../common/errors.js";
import { systemRandom } from "../common/ports.js";
import { native } from "../native/index.js";
import { clusterBytes } from "../proto/control-channel.js";
import type { OsdMap } from "../proto/osd-map.js";
import { readFolderIdentity, storePath } from "./identity.js";
import { nativeError } from "./native-error.js";
import { readStoredMap } from "./stored-map.js";

export interface OfflineOsd {
  osd: number;
  storeId: string;
  clusterId: string;
  map: OsdMap;
  /** pools of which it holds PGs */
  pools: number[];
}

/**
 * @param store block device or file of the store; default: in the folder
 * @throws not_found, corrupt (also: no usable map in it), busy when the OSD runs
 */
export async function readOfflineOsd(dataDir: string, store?: string): Promise<OfflineOsd> {
  const identity = await readFolderIdentity(dataDir);
  const path = storePath({ dataDir, store });
  const core = new native.Osd({
    path,
    clusterId: clusterBytes(identity.clusterId),
    osd: identity.osd,
    incarnation: systemRandom.uint64(),
    onEvents: () => undefined,
  });
  try {
    const statuses = await core.open();
    const map = await readStoredMap(core);
    if (map === undefined) {
      throw new StorageError("not_found", `osd.${identity.osd} in ${dataDir} has no cluster map`, {
        remedy: "It has never been up. Leave it out.",
      });
    }
    const pools = [...new Set(statuses.map(({ pool }) => pool))];
    const { osd, storeId, clusterId } = identity;
    return { osd, storeId, clusterId, map, pools };
  } catch (thrown) {
    if (thrown instanceof StorageError) throw thrown;
    throw nativeError(thrown, `read the store ${path}`);
  } finally {
    await core.close().catch(() => undefined);
  }
}
