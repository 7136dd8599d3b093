// Who leads while the up primary has to be filled first.
import { describe, expect, it } from "vitest";
import { logEntriesKept } from "../testing/fake-store.js";
import { testInfo } from "../testing/fixtures.js";
import { TestCluster, testPg } from "../testing/test-cluster.js";
import { betterActing, endOfTemp, maxMissingOfPrimary } from "./pg-temp.js";
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
    expect(endOfTemp(temporary)).toEqual([{ kind: "requestPgTemp", acting: [] }]);
    expect(endOfTemp({ ...temporary, missingCount: 1 })).toEqual([]);
    expect(endOfTemp(state)).toEqual([]);
    const outside = { ...state, interval: { ...state.interval, acting: [1, 9, 2] } };
    expect(endOfTemp(outside)).toEqual([]);
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

  it("goes on alone when the monitor does not change the acting set", async () => {
    const cluster = await filledCluster();
    cluster.takesPgTemp = false;
    await cluster.remap([3, 1, 2]);
    await cluster.settle();
    expect(cluster.stateOf(3)).toBe("Clean");
    expect(cluster.differences()).toEqual([]);
  });
});
