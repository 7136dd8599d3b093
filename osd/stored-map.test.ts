// What an OSD takes up from its store when the store cannot read a part of it.
import { describe, expect, it } from "vitest";
import { StorageError } from "../common/errors.js";
import { silentLog } from "../common/log.js";
import { type PgId, pgId } from "../common/units.js";
import type { NativePgStatus } from "../native/index.js";
import { emptyMap, testPool } from "../proto/fixtures.js";
import { encodePgRecord, type PgRecord } from "./map/pg-record.js";
import { PlacementTracker, recordKey } from "./map/placement-tracker.js";
import { restoreTracker, storeMap } from "./stored-map.js";

const [readable, damaged] = [pgId(1, 0), pgId(1, 1)];
const interval = { first: 7, up: [2], acting: [2], size: 1, minSize: 1 };
const record: PgRecord = {
  history: { since: 3, intervals: [] },
  interval,
  key: "2|2",
  unknownFrom: 0,
};
const statuses = [0, 1].map((seed) => ({ pool: 1, seed, pgNum: 2 }) as NativePgStatus);

function tracker(): PlacementTracker {
  return new PlacementTracker(2, {
    compile: () => new Uint8Array(),
    mapper: { mapPgs: (_crush, _rule, _pool, pgNum, size) => new Int32Array(pgNum * size).fill(2) },
  });
}

/** A store with a map and two PG records; reading bad's value finds damage. */
async function coreWithDamage(bad: string) {
  const values = new Map<string, string>();
  const setMeta = async (key: string, value: string) => void values.set(key, value);
  await storeMap({ setMeta }, emptyMap());
  for (const pgid of [readable, damaged]) values.set(recordKey(pgid), encodePgRecord(record));
  return {
    getMeta: async (key: string) => {
      if (key === bad) throw new StorageError("corrupt", "bad checksum of the block");
      return values.get(key) ?? null;
    },
    setPgNum: () => undefined,
  };
}

describe("a store that cannot read", () => {
  it("a PG record leaves that PG with an unknown past, and the others as they are", async () => {
    const restored = tracker();
    const core = await coreWithDamage(recordKey(damaged));
    const map = await restoreTracker(core, statuses, restored, silentLog);
    expect(map?.epoch).toBe(1);
    expect(restored.records.get(readable)).toEqual(record);
    expect(restored.records.get(damaged)?.interval.first).toBe(0);
  });

  it("the map leaves every PG with an unknown past", async () => {
    const restored = tracker();
    const core = await coreWithDamage("osdmap");
    expect(await restoreTracker(core, statuses, restored, silentLog)).toBeUndefined();
    expect(restored.records.get(readable)?.interval.first).toBe(0);
    expect(restored.records.get(damaged)?.interval.first).toBe(0);
  });
});

describe("a copy that was not divided before its OSD stopped", () => {
  /** A store whose map says four PGs; copies of 1.0 and 1.1 are there, divided for `pgNum`. */
  async function restart(pgNum: number, records: Record<string, PgRecord>) {
    const values = new Map<string, string>();
    const told: [seed: number, pgNum: number][] = [];
    const setMeta = async (key: string, value: string) => void values.set(key, value);
    await storeMap({ setMeta }, emptyMap({ pools: [testPool(1, { pgNum: 4 })] }));
    for (const [pgid, one] of Object.entries(records)) {
      values.set(recordKey(pgid as PgId), encodePgRecord(one));
    }
    const core = {
      getMeta: async (key: string) => values.get(key) ?? null,
      setPgNum: (_pool: number, seed: number, to: number) => void told.push([seed, to]),
    };
    const copies = [0, 1].map((seed) => ({ pool: 1, seed, pgNum }) as NativePgStatus);
    const restored = tracker();
    await restoreTracker(core, copies, restored, silentLog);
    return { told, records: restored.records };
  }

  it("has its children again, by their own records or with its past", async () => {
    const own: PgRecord = { ...record, interval: { ...interval, first: 9 } };
    const { told, records } = await restart(2, { "1.0": record, "1.1": record, "1.2": own });
    expect(told).toEqual([
      [0, 4],
      [1, 4],
    ]);
    expect(records.get(pgId(1, 2))).toEqual(own);
    expect(records.get(pgId(1, 3))).toEqual(record);
  });

  it("by a program that divided none is divided already", async () => {
    const { told, records } = await restart(0, { "1.0": record, "1.1": record });
    expect(told).toEqual([
      [0, 4],
      [1, 4],
    ]);
    expect([...records.keys()]).toEqual([pgId(1, 0), pgId(1, 1)]);
  });
});
