// The parts around the machines: paged reads, messages ahead of the map, peers.
import { describe, expect, it } from "vitest";
import { defined } from "../../common/assert.js";
import { silentLog } from "../../common/log.js";
import { epoch, pgId } from "../../common/units.js";
import { emptyMap, testOsd } from "../../proto/fixtures.js";
import { logPageEntries, objectPageNames, type PeeringMessage } from "../../proto/peering.js";
import { PlacementTracker } from "../map/placement-tracker.js";
import type { ReadRequest } from "../peering/state.js";
import { FakeCore } from "../testing/fake-core.js";
import { FakeStore, makeEntry } from "../testing/fake-store.js";
import { HeldMessages } from "./held-messages.js";
import { peersOf } from "./peers.js";
import { PgService } from "./pg-service.js";
import { readFor } from "./read-requests.js";

const pgid = pgId(1, 0);
const header = { pgid, interval: 3, epoch: epoch(3) };

function coreWith(objects: number, entryBytes = 1) {
  const store = new FakeStore();
  const copy = store.copy(pgid);
  for (let i = 1; i <= objects; i++) {
    const name = `o${String(i).padStart(6, "0")}`;
    copy.objects.set(name, [3, i]);
    copy.missing.set(name, [name, [3, i], false]);
    const entry = makeEntry({ epoch: 3, number: i, object: name, removes: false });
    copy.log.push({ ...entry, bytes: new Uint8Array(entryBytes) });
  }
  const unused = () => {
    throw new Error("not used here");
  };
  return new FakeCore(store, { later: unused, emit: unused, deliver: unused, copyOf: unused });
}

describe("reads", () => {
  it.each([
    ["getMissing", "missing"],
    ["listObjects", "objects"],
  ] as const)("%s gives everything, page by page", async (kind, answer) => {
    const core = coreWith(objectPageNames + 500);
    const seen: unknown[] = [];
    let after: string | null = null;
    for (let pages = 1; ; pages++) {
      const body = await readFor({ ...header, kind, after } as ReadRequest, core);
      if (body.kind !== "missing" && body.kind !== "objects") throw new Error(body.kind);
      expect(body.kind).toBe(answer);
      seen.push(...body.objects);
      after = body.objects.at(-1)?.[0] ?? null;
      if (body.more) continue;
      expect(pages).toBe(2);
      break;
    }
    expect(new Set(seen.map(String)).size).toBe(objectPageNames + 500);
  });

  it("getLog ends a page by entries, and by bytes", async () => {
    const request = { ...header, kind: "getLog", after: 100 } as const;
    const byEntries = await readFor(request, coreWith(logPageEntries + 200));
    expect(byEntries).toMatchObject({ kind: "log", after: 100, more: true });
    expect(byEntries).toHaveProperty("entries.length", logPageEntries);
    const byBytes = await readFor(request, coreWith(400, 60_000));
    expect(byBytes).toMatchObject({ more: true });
    expect(byBytes).toHaveProperty("entries.length", Math.floor((4 << 20) / 60_000));
    const end = await readFor({ ...request, after: 150 }, coreWith(200));
    expect(end).toMatchObject({ more: false });
  });
});

it("messages ahead of the map wait for it, in order; the oldest go when there are too many", () => {
  const held = new HeldMessages(2);
  const message = (at: number) =>
    ({ kind: "getInfo", pgid, interval: at, epoch: epoch(at) }) as PeeringMessage;
  for (const at of [5, 6, 4]) held.add({ from: at, message: message(at) });
  expect(held.release(4).map(({ from }) => from)).toEqual([4]);
  expect(held.release(9).map(({ from }) => from)).toEqual([6]);
  expect(held.release(9)).toEqual([]);
});

describe("peers", () => {
  const mapWith = (count: number) =>
    emptyMap({
      maxOsd: count,
      osds: Array.from({ length: count }, (_, id) => testOsd(id, { up: id !== 2 })),
    });

  it("are all that are up in a small cluster, but not ourselves", () => {
    expect(peersOf(mapWith(4), 0, [], new Set()).map(({ osd }) => osd)).toEqual([1, 3]);
  });

  it("are those that share a PG, or were contacted, in a large one", () => {
    const interval = { first: 1, up: [0, 5], acting: [0, 6, 2], size: 3, minSize: 2 };
    const history = { since: 1, intervals: [] };
    const record = { interval, history, key: "", unknownFrom: 0 };
    const peers = peersOf(mapWith(60), 0, [record], new Set([50]));
    expect(peers.map(({ osd }) => osd)).toEqual([5, 6, 50]);
    expect(peers[0]).toMatchObject({ address: { port: 6805 }, incarnation: 1005n });
  });
});

it("a child that has its parent's record is stored as its parent is", () => {
  const stored: string[] = [];
  const core = coreWith(0);
  const tracker = new PlacementTracker(1, {
    compile: () => new Uint8Array(),
    mapper: { mapPgs: () => new Int32Array() },
  });
  const service = new PgService(
    {
      self: 1,
      core: Object.assign(core, {
        setMeta: (key: string) => {
          stored.push(key);
          return Promise.resolve();
        },
      }),
      log: silentLog,
      nowMs: () => 0,
      requestUpThru: () => undefined,
      requestPgTemp: () => undefined,
      onStateChanged: () => undefined,
      onContact: () => undefined,
    },
    tracker,
  );
  tracker.adopt(pgid, 1);
  const record = defined(tracker.records.get(pgid), "the parent's record");
  service.keepRecords();
  tracker.records.set(pgId(1, 1), record);
  service.keepRecords();
  service.keepRecords();
  expect(stored).toEqual(["pg/1.0", "pg/1.1"]);
});
