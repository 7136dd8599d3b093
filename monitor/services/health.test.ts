// Table of the health checks, and of the aggregation of PG states below them.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Epoch, pgId } from "../../common/units.js";
import type { PgRow } from "../../proto/commands.js";
import { testMap, testOsd, testPool } from "../../proto/fixtures.js";
import type { PgStats } from "../../proto/messages.js";
import type { OsdMap } from "../../proto/osd-map.js";
import { allPlacements } from "../../proto/placement.js";
import { fakeCrush } from "../testing/fake-crush.js";
import { statsOf } from "../testing/test-cluster.js";
import { healthCodes, healthOf } from "./health.js";
import { countByState, initialStatsState, observeUp, pgRows, type StatsState } from "./pg-stats.js";
import { initialStartRefusalState, type StartRefusalState } from "./start-refusals.js";

const pool = testPool(1, { name: "rbd" });
const map = testMap(3, { pools: [pool] });

function row(overrides: Partial<PgRow> = {}): PgRow {
  return {
    pgid: pgId(1, 0),
    pool: "rbd",
    state: "active+clean",
    primary: 0,
    epoch: 1 as Epoch,
    up: [0, 1, 2],
    acting: [0, 1, 2],
    lastUpdate: { epoch: 1 as Epoch, number: 1 },
    objects: 1,
    bytes: 4096,
    missing: 0,
    degraded: 0,
    misplaced: 0,
    unfound: 0,
    ...overrides,
  };
}

function statsWith(...reports: Parameters<typeof statsOf>[]): StatsState {
  const stats = initialStatsState();
  for (const args of reports) stats.osds.set(args[0], { stats: statsOf(...args), atMs: 100_000 });
  return stats;
}

interface Overrides {
  map?: OsdMap;
  pgs?: PgRow[];
  stats?: StatsState;
  startRefusals?: StartRefusalState;
  nowMs?: number;
}

function health(overrides: Overrides) {
  const found = healthOf({
    map,
    pgs: [row()],
    stats: statsWith([0], [1], [2]),
    startRefusals: initialStartRefusalState(),
    nowMs: 100_000,
    statsStaleMs: 30_000,
    commitLatency: () => ({ commitMs: 61.24, peersMs: 1.1 }),
    ...overrides,
  });
  return { ...found, names: found.checks.map(({ name }) => name) };
}

const withOsds = (changes: Parameters<typeof testOsd>[1][]) =>
  testMap(3, { pools: [pool], osds: changes.map((change, id) => testOsd(id, change)) });
const failed = { code: "io_error", message: "a flush failed" };
const startRefusals: StartRefusalState = {
  counts: new Map(),
  current: new Map([
    [7, { host: "host7", error: { code: "corrupt", message: "x" }, atMs: 9e4, incarnation: "1" }],
  ]),
};
const slow = statsWith([0], [1, { slowOpCount: 2, slowOps: [{ description: "w", ageMs: 31e3 }] }]);

describe("health", () => {
  it("is OK when nothing is wrong", () => {
    expect(health({})).toMatchObject({ status: "HEALTH_OK", checks: [] });
  });

  it.each([
    ["OSD_DOWN", "HEALTH_WARN", { map: withOsds([{}, {}, { up: false }]) }],
    ["OSDMAP_FLAGS", "HEALTH_WARN", { map: testMap(3, { flags: ["noout"] }) }],
    ["POOL_TOO_FEW_OSDS", "HEALTH_WARN", { map: withOsds([{}, {}, { in: false }]) }],
    ["PG_INACTIVE", "HEALTH_WARN", { pgs: [row({ state: "peering" })] }],
    ["PG_INACTIVE", "HEALTH_WARN", { pgs: [row({ state: "unknown" })] }],
    ["PG_UNAVAILABLE", "HEALTH_ERR", { pgs: [row({ state: "peering", acting: [1] })] }],
    ["PG_UNAVAILABLE", "HEALTH_ERR", { pgs: [row({ state: "incomplete" })] }],
    ["PG_UNDERSIZED", "HEALTH_WARN", { pgs: [row({ acting: [0, 1] })] }],
    ["PG_DEGRADED", "HEALTH_WARN", { pgs: [row({ degraded: 3 })] }],
    ["PG_DEGRADED", "HEALTH_WARN", { pgs: [row({ state: "active+degraded" })] }],
    ["OBJECT_UNFOUND", "HEALTH_ERR", { pgs: [row({ unfound: 1 })] }],
    ["PG_DAMAGED", "HEALTH_ERR", { pgs: [row({ state: "active+clean+inconsistent" })] }],
    [
      "OSD_SCRUB_ERRORS",
      "HEALTH_ERR",
      { pgs: [row({ scrub: { lastMs: 1, lastDeepMs: 1, errors: 3, objects: [], finished: [] } })] },
    ],
    ["PG_RECOVERY_HELD", "HEALTH_WARN", { pgs: [row({ state: "active+backfill_toofull" })] }],
    ["OSD_NEARFULL", "HEALTH_WARN", { map: withOsds([{ fullState: "nearfull" }, {}, {}]) }],
    ["OSD_BACKFILLFULL", "HEALTH_WARN", { map: withOsds([{}, {}, { fullState: "backfillfull" }]) }],
    ["OSD_FULL", "HEALTH_ERR", { map: withOsds([{}, { fullState: "full" }, {}]) }],
    ["OSD_FAILED", "HEALTH_ERR", { map: withOsds([{}, {}, { failed }]) }],
    ["OSD_START_REFUSED", "HEALTH_WARN", { startRefusals }],
    ["OSD_SLOW", "HEALTH_WARN", { map: withOsds([{}, {}, { slow: true }]) }],
    ["SLOW_OPS", "HEALTH_WARN", { stats: slow }],
  ] as const)("has %s as %s", (name, status, input) => {
    const found = health({ ...input, pgs: "pgs" in input ? [...input.pgs] : [row()] });
    expect(found.names).toEqual([name]);
    expect(found.status).toBe(status);
    expect(found.checks[0]?.detail.length).toBeGreaterThan(0);
    expect(found.checks[0]?.remedy).toMatch(/\.$/);
  });

  it("has every code explained for operators", () => {
    const text = readFileSync("docs/operating/health.md", "utf8");
    for (const code of healthCodes) expect(text).toMatch(new RegExp(`^\\| .*\\b${code}\\b`, "m"));
  });

  it("names the figures: how full, how slow, which error", () => {
    const stats = statsWith([0, { usedBytes: 8.6e8, totalBytes: 1e9 }], [1], [2]);
    const of = withOsds([{ fullState: "nearfull" }, { slow: true }, { failed }]);
    const details = health({ map: of, stats }).checks.flatMap(({ detail }) => detail);
    expect(details).toEqual([
      "osd.0 (host host0) is nearfull: 86.0 % used",
      "osd.2 (host host2): io_error: a flush failed",
      expect.stringMatching(/^osd.1 .* a commit takes 61.2 ms, on its peers 1.1 ms/),
    ]);
  });

  it("does not complain of a down OSD that is out", () => {
    const few = testMap(0, { osds: [testOsd(0), testOsd(1, { up: false, in: false })], maxOsd: 2 });
    expect(health({ map: few, pgs: [] }).names).toEqual([]);
  });

  it("warns of an OSD whose reports stopped, or never came", () => {
    const stats = statsWith([0], [1]);
    observeUp(stats, map, 100_000);
    expect(health({ stats, nowMs: 130_000 }).names).toEqual([]);
    const late = health({ stats, nowMs: 130_001 });
    expect(late.names).toEqual(["OSD_STATS_STALE"]);
    expect(late.checks[0]?.detail).toHaveLength(3);
  });

  it("says that there are no OSDs, and an error when pools have none", () => {
    expect(health({ map: testMap(0), pgs: [] }).names).toEqual(["NO_OSDS"]);
    const none = withOsds([{ up: false }, { up: false }, { up: false }]);
    expect(health({ map: none, pgs: [] })).toMatchObject({
      status: "HEALTH_ERR",
      names: ["OSD_DOWN", "POOL_NO_OSDS"],
    });
  });

  it("names at most 50 things of a check, but counts all", () => {
    const pgs = Array.from({ length: 60 }, (_, seed) => row({ pgid: pgId(1, seed), unfound: 1 }));
    const [check] = health({ pgs }).checks;
    expect(check?.summary).toMatch(/^60 PGs/);
    expect(check?.detail).toHaveLength(50);
  });
});

describe("PG states", () => {
  const placements = allPlacements(map, new Uint8Array(), fakeCrush.mapper);
  const first = placements.values().next().value;
  const primary = first?.primary ?? -1;
  const report = (overrides: Partial<PgStats>): PgStats => {
    const { pool: _pool, primary: _primary, ...stats } = row();
    return { ...stats, up: first?.up ?? [], acting: first?.acting ?? [], ...overrides };
  };
  const stateOf = (osd: number, pg: PgStats, of = map) =>
    pgRows(statsWith([osd, { pgs: [pg] }]), of, placements)[0]?.state;

  it("takes the state from the present primary", () => {
    expect(stateOf(primary, report({}))).toBe("active+clean");
  });

  it("is unknown without a report, or when another OSD or acting set reported", () => {
    const rows = pgRows(initialStatsState(), map, placements);
    expect(countByState(rows)).toEqual({ unknown: 8 });
    expect(stateOf((primary + 1) % 3, report({}))).toBe("unknown");
    expect(stateOf(primary, report({ acting: [primary] }))).toBe("unknown");
  });

  it("is unknown when the report is older than the last member's coming up", () => {
    const osds = map.osds.map((osd) => ({ ...osd, upFrom: 7 as Epoch }));
    const later = testMap(3, { pools: [pool], osds });
    expect(stateOf(primary, report({ epoch: 6 as Epoch }), later)).toBe("unknown");
    expect(stateOf(primary, report({ epoch: 7 as Epoch }), later)).toBe("active+clean");
  });

  it("is unknown when the report is older than the last split of the pool", () => {
    const split = testMap(3, { pools: [{ ...pool, splitEpoch: 7 as Epoch }] });
    expect(stateOf(primary, report({ epoch: 6 as Epoch }), split)).toBe("unknown");
    expect(stateOf(primary, report({ epoch: 7 as Epoch }), split)).toBe("active+clean");
  });

  it("is stale when no OSD serves the PG", () => {
    const empty = new Map(
      [...placements].map(([id, at]) => [id, { ...at, acting: [], primary: -1 }]),
    );
    const stats = statsWith([0, { pgs: [report({})] }]);
    expect(pgRows(stats, map, empty)[0]?.state).toBe("stale+active+clean");
  });
});
