// Where the PGs of a pool are that has been split: with their parents until pgpNum is raised.
import { describe, expect, it } from "vitest";
import { type Epoch, type PgId, pgId } from "../common/units.js";
import { crushHash2 } from "./crush-hash.js";
import { testMap, testOsd, testPool } from "./fixtures.js";
import { decodeMessageFromMonitor, encodeMessage } from "./messages.js";
import { applyIncremental, makeIncremental, type OsdMap, type PoolInfo } from "./osd-map.js";
import { type CrushMapper, type PgPlacement, poolPlacements } from "./placement.js";

const osdCount = 6;

/** As CRUSH does, it places a seed by its number alone, whatever the number of PGs. */
class SeedCrush implements CrushMapper {
  readonly asked: number[] = [];
  mapPgs(...[, , pool, pgNum, size]: Parameters<CrushMapper["mapPgs"]>): Int32Array {
    this.asked.push(pgNum);
    const rows = Array.from({ length: pgNum }, (_, seed) => {
      const first = crushHash2(seed, pool) % osdCount;
      return Array.from({ length: size }, (__, at) => (first + at) % osdCount);
    });
    return Int32Array.from(rows.flat());
  }
}

const osds = Array.from({ length: osdCount }, (_, id) =>
  // Half of the OSDs lead fewer PGs than their share: so a PG's own seed would choose its primary.
  testOsd(id, { up: id !== 4, ...(id % 2 === 0 && { primaryAffinity: 0x8000 }) }),
);

function place(
  pool: Partial<PoolInfo>,
  map: Partial<OsdMap> = {},
  crush: CrushMapper = new SeedCrush(),
): PgPlacement[] {
  const pools = [testPool(1, pool)];
  const full = testMap(osdCount, { osds, pools, ...map });
  return pools.flatMap((one) => poolPlacements(full, one, new Uint8Array(), crush));
}

const where = ({ up, acting, primary }: PgPlacement) => ({ up, acting, primary });

describe("the PGs of a pool that is split", () => {
  it("are where their parents are, with the same primary, until pgpNum is raised", () => {
    const before = place({ pgNum: 16 }).map(where);
    const crush = new SeedCrush();
    const split = place({ pgNum: 128, pgpNum: 16 }, {}, crush);
    expect(crush.asked).toEqual([16]);
    expect(split.map(({ pgid }) => pgid)).toEqual(
      Array.from({ length: 128 }, (_, seed) => pgId(1, seed)),
    );
    expect(split.map(where)).toEqual(Array.from({ length: 8 }, () => before).flat());
  });

  it("spread when it is: the first ones stay, others are where a new pool's would be", () => {
    const before = place({ pgNum: 16 }).map(where);
    const spread = place({ pgNum: 128, pgpNum: 128 }).map(where);
    expect(spread).toEqual(place({ pgNum: 128 }).map(where));
    expect(spread.slice(0, 16)).toEqual(before);
    expect(spread.slice(16, 32)).not.toEqual(before);
  });

  it("may be spread in part", () => {
    const half = place({ pgNum: 64, pgpNum: 32 }).map(where);
    const all = place({ pgNum: 32 }).map(where);
    expect(half).toEqual([...all, ...all]);
  });

  it("have a pg_temp of their own", () => {
    const pgTemp = { [pgId(1, 9)]: [5, 3] } as Record<PgId, number[]>;
    const split = place({ pgNum: 16, pgpNum: 8 }, { pgTemp });
    expect(split[9]).toMatchObject({ up: split[1]?.up, acting: [5, 3], primary: 5 });
    expect(split[1]?.acting).toEqual(split[1]?.up);
  });

  it.each([
    [16, 12],
    [16, 32],
  ])("of %i PGs are not placed as %i", (pgNum, pgpNum) => {
    const message = `pool pool1: pgp_num ${pgpNum} is no power of two up to pg_num ${pgNum}`;
    expect(() => place({ pgNum, pgpNum })).toThrow(
      expect.objectContaining({ code: "corrupt", message: expect.stringContaining(message) }),
    );
  });

  it("are told to all in the map", () => {
    const map = testMap(3, { pools: [testPool(1)], nextPoolId: 2 });
    const split = testPool(1, { pgNum: 16, pgpNum: 8, splitEpoch: 2 as Epoch });
    const { incremental, map: next } = makeIncremental(map, { pools: [split] }, 1);
    const sent = { kind: "maps", full: next, incrementals: [incremental] } as const;
    const received = decodeMessageFromMonitor(encodeMessage(sent)) as typeof sent;
    expect(received.full.pools).toEqual([split]);
    expect(received.incrementals.reduce(applyIncremental, map)).toEqual(next);
    const withoutPgp = makeIncremental(map, { pools: [testPool(1, { pgNum: 16 })] }, 1);
    expect(withoutPgp.map.hash).not.toBe(next.hash);
  });
});
