// What `cairn trace` and `cairn top` print.
import { describe, expect, it } from "vitest";
import type { ActivityRow, TraceFigures, TraceSummary } from "../client/index.js";
import { rendered } from "./output.js";
import { sorted, topTable } from "./top.js";
import { barText, stageRows } from "./trace.js";

const figures = (meanNs: number, count = 10): TraceFigures => ({
  ...{ count, meanNs, p50Ns: meanNs, p99Ns: 2 * meanNs, maxNs: 3 * meanNs },
});
const summary: TraceSummary = {
  total: figures(1000),
  queue: figures(0),
  client: figures(50),
  network: figures(200),
  primaryQueue: figures(50),
  primary: figures(100),
  disk: figures(400),
  replicas: figures(200),
  replica: figures(600),
  replicaCommit: figures(0, 0),
};

describe("a trace", () => {
  it("has shares that add up, and shows beside what does not", () => {
    const rows = stageRows(summary);
    const parts = rows.filter(({ stage, share }) => stage !== "total" && share !== undefined);
    expect(parts.reduce((sum, { share }) => sum + (share ?? 0), 0)).toBeCloseTo(1);
    expect(rows.find(({ stage }) => stage === "disk")?.share).toBe(0.4);
    // Nothing was told of the replica's commit: no row.
    expect(rows.at(-1)).toMatchObject({ stage: "slowest replica", share: undefined });
  });

  it("has bars as long as the shares", () => {
    expect(barText(1)).toBe("█".repeat(24));
    expect(barText(0.5)).toBe("█".repeat(12));
    expect(barText(1 / 192)).toBe("▏");
    expect(barText(0)).toBe("");
  });
});

const row = (name: string, more: Partial<ActivityRow>): ActivityRow => ({
  ...{ name, id: name, users: ["host1 pid 7"], readIops: 0, writeIops: 0, iops: 0 },
  ...{ readBytesPerS: 0, writeBytesPerS: 0, bytesPerS: 0, readLatencyMs: 0 },
  ...{ writeLatencyMs: 0, latencyMs: 0, inFlight: 0, throttledPerS: 0, errors: 0 },
  ...more,
});

describe("top", () => {
  const rows = [
    row("rbd/b", { iops: 5, bytesPerS: 100 }),
    row("rbd/a", { iops: 5, bytesPerS: 10 }),
    row("rbd/c", { iops: 9, bytesPerS: 1, latencyMs: 2 }),
  ];
  const names = (list: ActivityRow[]) => list.map(({ name }) => name);

  it("sorts, the most first, equal ones by name", () => {
    expect(names(sorted(rows, "iops"))).toEqual(["rbd/c", "rbd/a", "rbd/b"]);
    expect(names(sorted(rows, "bandwidth"))).toEqual(["rbd/b", "rbd/a", "rbd/c"]);
    expect(names(sorted(rows, "name"))).toEqual(["rbd/a", "rbd/b", "rbd/c"]);
  });

  it("shows rates, latencies and who has it open", () => {
    const more = { readIops: 1234.4, readBytesPerS: 4096, readLatencyMs: 0.256 };
    const text = rendered(topTable([row("rbd/a", more)]), "plain");
    expect(text).toContain("1234/s");
    expect(text).toContain("0.26 ms");
    expect(text).toContain("host1 pid 7");
  });
});
