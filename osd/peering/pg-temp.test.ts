// Who leads while the up primary has to be filled first.
import { describe, expect, it } from "vitest";
import { logEntriesKept } from "../testing/fake-store.js";
import { testInfo } from "../testing/fixtures.js";
import { TestCluster, testPg } from "../testing/test-cluster.js";
import { betterActing, maxMissingOfPrimary, nextTemp } from "./pg-temp.js";
import { initialPgState, nothingGathered, type PgState } from "./state.js";

const whole = testInfo({ lastUpdate: [5, 50], logTail: 20, lastEpochStarted: 5 });
const empty = testInfo({});

/** osd.0 is primary of [0, 1, 2]; osd.1 has the authoritative log, osd.9 is a stray. */
function stateWith(own: typeof whole, others: [number, typeof whole][], size = 3): PgState {
  const infos = new Map([[0, own], ...others]);
  const up = [0, 1, 2].slice(0, size);
  return {
    ...initialPgState(testPg, 0),
    interval: { first: 10, up, acting: up, size, minSize: 1 },
    map: { epoch: 11, osds: new Map([...infos.keys()].map((id) => [id, { up: true, upThru: 0 }])) },
    gathered: { ...nothingGathered, infos, authority: others[0]?.[0] ?? 0 },
  };
}

describe("a better acting set", () => {
  it("has a whole copy in front and the up set behind it", () => {
    expect(betterActing(stateWith(empty, [[1, whole]]))).toEqual([1, 0, 2]);
    expect(betterActing(stateWith(empty, [[9, whole]]))).toEqual([9, 0, 1]);
    const short = testInfo({ lastUpdate: [4, 10], lastEpochStarted: 4 });
    expect(betterActing(stateWith(short, [[1, whole]]))).toEqual([1, 0, 2]);
    const lacking = testInfo({ ...whole, missingCount: maxMissingOfPrimary + 1 });
    expect(betterActing(stateWith(lacking, [[1, whole]]))).toEqual([1, 0, 2]);
  });

  it("is not looked for when the primary catches up by log, or nobody is whole", () => {
    const near = testInfo({ ...whole, lastUpdate: [5, 40] });
    expect(betterActing(stateWith(near, [[1, whole]]))).toBeUndefined();
    expect(betterActing(stateWith(whole, [[1, whole]]))).toBeUndefined();
    expect(betterActing(stateWith(empty, [[1, empty]]))).toBeUndefined();
    const lacking = testInfo({ ...whole, missingCount: 1 });
    expect(betterActing(stateWith(empty, [[1, lacking]]))).toBeUndefined();
    expect(betterActing(stateWith(empty, [[9, whole]], 1))).toBeUndefined();
  });
});

describe("the end of pg_temp", () => {
  it("comes when the up primary lacks nothing", () => {
    const state = stateWith(whole, [[1, whole]]);
    const temporary = { ...state, interval: { ...state.interval, acting: [1, 0, 2] } };
    expect(nextTemp(temporary)).toEqual([{ kind: "requestPgTemp", acting: [] }]);
    expect(nextTemp({ ...temporary, missingCount: 1 })).toEqual([]);
    expect(nextTemp(state)).toEqual([]);
    const small = { ...temporary.interval, up: [0, 1] };
    expect(nextTemp({ ...temporary, interval: small })).toEqual([]);
    expect(nextTemp({ ...temporary, interval: { ...small, up: [] } })).toEqual([]);
  });

  it.each([
    { up: [3, 1, 2], acting: [2, 1], size: 3, wanted: [2, 3, 1] },
    { up: [3, 0], acting: [2, 0], size: 2, wanted: [2, 3] },
    { up: [3, 1, 2], acting: [4, 1, 2], size: 3, wanted: [4, 3, 1] },
    { up: [3], acting: [2, 1], size: 3, wanted: [2, 3, 1] },
  ])("is preceded by a set with the up primary: $up, not $acting", (row) => {
    const { wanted, ...interval } = row;
    const self = interval.acting[0] ?? -1;
    const state: PgState = {
      ...initialPgState(testPg, self),
      interval: { first: 10, minSize: 1, ...interval },
      missingCount: 7,
    };
    expect(nextTemp(state)).toEqual([{ kind: "requestPgTemp", acting: wanted }]);
    const changed = { ...state, interval: { ...state.interval, acting: wanted } };
    expect(nextTemp(changed)).toEqual([]);
  });
});

describe("a new up primary", () => {
  async function filledCluster() {
    const cluster = await TestCluster.start({ osds: 4 });
    for (let i = 0; i < 2 * logEntriesKept; i++) cluster.write(`o${i}`);
    return cluster;
  }

  it("follows a whole copy until it is one itself", async () => {
    const cluster = await filledCluster();
    const leaders: number[] = [];
    cluster.onMap = () => leaders.push(cluster.primary());
    await cluster.remap([3, 1, 2]);
    await cluster.settle();
    // It never served while it was empty; in the end it leads.
    expect(leaders).toContain(1);
    expect(cluster.map.pgTemp[testPg]).toBeUndefined();
    expect(cluster.primary()).toBe(3);
    expect(cluster.stateOf(3)).toBe("Clean");
    expect(cluster.differences()).toEqual([]);
  });

  it("that a temporary set has left out is filled, and leads", async () => {
    const cluster = await filledCluster();
    cluster.order = [3, 1, 2];
    const osds = cluster.map.osds.map((osd) => ({ ...osd, weight: osd.weight - 1 }));
    await cluster.change({ osds, pgTemp: { [testPg]: [2, 1] } });
    await cluster.settle();
    expect(cluster.map.pgTemp[testPg]).toBeUndefined();
    expect(cluster.primary()).toBe(3);
    expect(cluster.stateOf(3)).toBe("Clean");
    expect(cluster.differences()).toEqual([]);
  });

  it("goes on alone when the monitor does not change the acting set", async () => {
    const cluster = await filledCluster();
    cluster.takesPgTemp = false;
    await cluster.remap([3, 1, 2]);
    await cluster.settle();
    expect(cluster.stateOf(3)).toBe("Clean");
    expect(cluster.differences()).toEqual([]);
  });
});
