// The image layer over a FakePool, with a clock and random numbers of the test's own.
import { epoch } from "../../common/units.js";
import { noHash, type OsdMap, type PoolInfo, sealed } from "../../proto/osd-map.js";
import { Images } from "../image/images.js";
import { FakeIo, FakePool, type Fate } from "./fake-io.js";

const gibibyte = 2 ** 30;

const pool: PoolInfo = {
  id: 1,
  name: "rbd",
  pgNum: 8,
  size: 3,
  minSize: 2,
  crushRule: 0,
  createdEpoch: epoch(1),
  application: "rbd",
};

/** A map with three OSDs of 10 GiB and the pool rbd: 10 GiB of capacity. */
export function testMap(): OsdMap {
  const osds = [0, 1, 2].map((id) => ({
    id,
    uuid: "00000000-0000-4000-8000-000000000000",
    up: true,
    in: true,
    weight: 0x10000,
    address: { host: "127.0.0.1", port: 6800 + id },
    incarnation: String(id + 1),
    upFrom: epoch(1),
    upThru: epoch(1),
    downAt: epoch(0),
    sizeBytes: 10 * gibibyte,
    deviceClass: "ssd",
    host: "vm",
  }));
  return sealed({
    epoch: epoch(1),
    clusterId: "00000000-0000-4000-8000-000000000001",
    previousHash: noHash,
    createdAt: 0,
    modifiedAt: 0,
    flags: [],
    crush: "",
    maxOsd: 3,
    osds,
    pools: [pool],
    nextPoolId: 2,
    pgTemp: {},
    config: {},
  });
}

export class FakeCluster {
  readonly pool = new FakePool();
  wallMs = 1_000_000;
  private nextId = 1n;

  /** A new client of the pool. */
  client(fate?: Fate): { io: FakeIo; images: Images<FakeIo> } {
    const io = new FakeIo(this.pool, fate);
    const images = new Images({ io, map: testMap, pool: () => pool }, "rbd", {
      clock: {
        nowMs: () => this.wallMs,
        wallMs: () => this.wallMs,
        setTimer: () => () => undefined,
      },
      random: { uint64: () => this.nextId++, below: () => 0, uuid: () => "" },
    });
    return { io, images };
  }
}
