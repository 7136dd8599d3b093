// OsdMap -> NativeMap: the acting set of every PG, which the objecter looks up and never computes.
//
// Placement by CRUSH depends on the CRUSH map, the weights and the pool alone, so a pool's raw
// mapping is kept as long as these stay: an OSD that goes down or up costs no CRUSH run.
import { compileCrushMap } from "../../crush/compiled.js";
import { parseCrushMap } from "../../crush/parse.js";
import type { NativeMap } from "../../native/index.js";
import type { OsdMap, PoolInfo } from "../../proto/osd-map.js";
import { type CrushMapper, poolPlacements } from "../../proto/placement.js";

interface RawMapping {
  /** what it was computed from */
  key: string;
  raw: Int32Array;
}

/** Makes a compiled CRUSH map of its text; replaceable in tests. */
export type CompileCrush = (text: string) => Uint8Array;

export class NativeMapBuilder {
  private crushText: string | undefined;
  private compiled = new Uint8Array();
  private crushGeneration = 0;
  private readonly rawByPool = new Map<number, RawMapping>();

  constructor(
    private readonly crush: CrushMapper,
    private readonly compile: CompileCrush = (text) => compileCrushMap(parseCrushMap(text)),
  ) {}

  /** @throws corrupt when the map's CRUSH text is no CRUSH map */
  build(map: OsdMap): NativeMap {
    if (this.crushText !== map.crush) {
      this.compiled = Uint8Array.from(this.compile(map.crush));
      this.crushText = map.crush;
      this.crushGeneration += 1;
    }
    const known = new Set(map.pools.map(({ id }) => id));
    for (const id of this.rawByPool.keys()) if (!known.has(id)) this.rawByPool.delete(id);
    const pools = map.pools.map((pool) => {
      const { id, pgNum, size } = pool;
      return { id, pgNum, size, acting: this.actingSets(map, pool) };
    });
    const osds = map.osds
      .filter((osd) => osd.up)
      .map((osd) => ({
        osd: osd.id,
        address: osd.address,
        incarnation: BigInt(osd.incarnation),
      }));
    return { epoch: map.epoch, paused: map.flags.includes("pause"), pools, osds };
  }

  /** pgNum rows of size OSD ids, -1 where a row has fewer. */
  private actingSets(map: OsdMap, pool: PoolInfo): Int32Array {
    const acting = new Int32Array(pool.pgNum * pool.size).fill(-1);
    const cached: CrushMapper = { mapPgs: (...args) => this.raw(pool, ...args) };
    for (const [seed, placement] of poolPlacements(map, pool, this.compiled, cached).entries()) {
      acting.set(placement.acting.slice(0, pool.size), seed * pool.size);
    }
    return acting;
  }

  private raw(pool: PoolInfo, ...args: Parameters<CrushMapper["mapPgs"]>): Int32Array {
    const { id, crushRule, size } = pool;
    const [, , , placedPgs, , weights] = args;
    const key = `${this.crushGeneration} ${crushRule} ${placedPgs} ${size} ${weights.join()}`;
    const before = this.rawByPool.get(id);
    if (before?.key === key) return before.raw;
    const raw = this.crush.mapPgs(...args);
    this.rawByPool.set(id, { key, raw });
    return raw;
  }
}
