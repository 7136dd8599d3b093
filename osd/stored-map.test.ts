// What an OSD takes up from its store when the store cannot read a part of it.
import { describe, expect, it } from "vitest";
import { StorageError } from "../common/errors.js";
import { silentLog } from "../common/log.js";
import { pgId } from "../common/units.js";
import type { NativePgStatus } from "../native/index.js";
import { emptyMap } from "../proto/fixtures.js";
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
const statuses = [0, 1].map((seed) => ({ pool: 1, seed }) as NativePgStatus);

function tracker(): PlacementTracker {
  return new PlacementTracker(2, {
    compile: () => new Uint8Array(),
    mapper: { mapPgs: () => new Int32Array() },
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
