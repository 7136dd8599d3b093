// Maps for tests: a cluster as it is made, and one with OSDs and pools. Fixed values only.
import { type Epoch, noEpoch } from "../common/units.js";
import { fullWeight, noHash, type OsdInfo, type OsdMap, type PoolInfo, sealed } from "./osd-map.js";

/** The id of the cluster of all fixtures. */
export const testClusterId = "c1a1b2c3-0000-4000-8000-000000000001";

/** Epoch 1: no OSD, no pool. */
export function emptyMap(overrides: Partial<OsdMap> = {}): OsdMap {
  return sealed({
    epoch: 1 as Epoch,
    clusterId: testClusterId,
    previousHash: noHash,
    createdAt: 1_700_000_000_000,
    modifiedAt: 1_700_000_000_000,
    flags: [],
    crush: "# begin crush map\n# end crush map\n",
    maxOsd: 0,
    osds: [],
    pools: [],
    nextPoolId: 1,
    pgTemp: {},
    config: {},
    ...overrides,
  });
}

/** An OSD that is up and in. */
export function testOsd(id: number, overrides: Partial<OsdInfo> = {}): OsdInfo {
  return {
    id,
    uuid: `00000000-0000-4000-8000-${String(id).padStart(12, "0")}`,
    up: true,
    in: true,
    weight: fullWeight,
    address: { host: "127.0.0.1", port: 6800 + id },
    incarnation: String(1000 + id),
    upFrom: 1 as Epoch,
    upThru: noEpoch,
    downAt: noEpoch,
    sizeBytes: 20 * 2 ** 30,
    deviceClass: "ssd",
    host: `host${id}`,
    ...overrides,
  };
}

/** A replicated pool. */
export function testPool(id: number, overrides: Partial<PoolInfo> = {}): PoolInfo {
  return {
    id,
    name: `pool${id}`,
    pgNum: 8,
    size: 3,
    minSize: 2,
    crushRule: 0,
    createdEpoch: 1 as Epoch,
    application: "rbd",
    ...overrides,
  };
}

/** A map with that many OSDs, all up and in. */
export function testMap(osdCount: number, overrides: Partial<OsdMap> = {}): OsdMap {
  return emptyMap({
    maxOsd: osdCount,
    osds: Array.from({ length: osdCount }, (_, id) => testOsd(id)),
    ...overrides,
  });
}
