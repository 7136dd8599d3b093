// Makes a new cluster: its id, and epoch 1 of its map, without OSDs and pools. OSDs join by
// booting, pools by command.
import { StorageError } from "../common/errors.js";
import type { Clock, Random } from "../common/ports.js";
import { epoch } from "../common/units.js";
import { noHash, type OsdMap, sealed, UuidSchema } from "../proto/osd-map.js";
import type { CrushPort } from "./crush-port.js";
import { failureDomains } from "./services/config-service.js";
import { LevelMapStore } from "./store/level-map-store.js";

export interface MkfsOptions {
  /** the new monitor's folder */
  dataDir: string;
  /** default: a random one */
  clusterId?: string | undefined;
  /** over what the copies of a PG are spread; default "host" */
  failureDomain?: string | undefined;
}

export interface MkfsPorts {
  crush: CrushPort;
  clock: Clock;
  random: Random;
}

/**
 * @returns epoch 1
 * @throws already_exists when the folder holds a cluster; invalid_argument; nothing is left behind
 */
export async function makeCluster(options: MkfsOptions, ports: MkfsPorts): Promise<OsdMap> {
  const map = firstMap(options, ports);
  await LevelMapStore.create(options.dataDir, map);
  return map;
}

/** Epoch 1 of a new cluster. @throws invalid_argument */
export function firstMap(options: MkfsOptions, { crush, clock, random }: MkfsPorts): OsdMap {
  const { clusterId = random.uuid(), failureDomain = "host" } = options;
  if (!new RegExp(UuidSchema.pattern ?? "").test(clusterId)) {
    throw new StorageError("invalid_argument", `"${clusterId}" is not a cluster id (a UUID)`);
  }
  if (!(failureDomains as readonly string[]).includes(failureDomain)) {
    throw new StorageError(
      "invalid_argument",
      `the failure domain is one of ${failureDomains.join(", ")}, not "${failureDomain}"`,
    );
  }
  const createdAt = clock.wallMs();
  return sealed({
    epoch: epoch(1),
    clusterId,
    previousHash: noHash,
    createdAt,
    modifiedAt: createdAt,
    flags: [],
    crush: crush.build([], failureDomain),
    maxOsd: 0,
    osds: [],
    pools: [],
    nextPoolId: 1,
    pgTemp: {},
    config: { "crush.failure_domain": failureDomain },
  });
}
