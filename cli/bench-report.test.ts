// Units and rounding of the benchmark's report.
import { describe, expect, it } from "vitest";
import type { BenchOptions, BenchResult } from "../native/binding.js";
import { benchReport, benchText } from "./bench-report.js";

const options: BenchOptions = {
  ioType: "write",
  ioBytes: 4096,
  pattern: "rand",
  queueDepth: 32,
  durationMs: 2000,
  seed: 1,
};
const result: BenchResult = {
  operations: 10_000,
  bytes: 40_960_000,
  elapsedNs: 2e9,
  errors: 0,
  latency: { boundsNs: [], counts: [], count: 10_000, sumNs: 1e9, maxNs: 2e6 },
  latencyNs: { mean: 100_000, p50: 90_000, p95: 150_000, p99: 200_000, p999: 1e6, max: 2e6 },
  series: [400, 0, 800],
  longestGapNs: 104_123_456,
};
const cpu = { client: 100_000, osds: 400_000, monitor: 1000, source: "proc" as const, notes: [] };

describe("benchReport", () => {
  it("has rates by the second, latencies in microseconds, CPU by the operation", () => {
    expect(benchReport("rbd/a", options, result, cpu)).toMatchObject({
      iops: 5000,
      mbPerS: 20.48,
      latencyUs: { mean: 100, p50: 90, p95: 150, p99: 200, p999: 1000, max: 2000 },
      longestGapMs: 104.12,
      series: [400, 0, 800],
      cpuUsPerOp: { total: 50.1, client: 10, osds: 40, monitor: 0.1 },
      elapsedMs: 2000,
    });
  });

  it("does not divide by no operation", () => {
    const none = { ...result, operations: 0, bytes: 0, series: [] };
    const report = benchReport("rbd/a", options, none, cpu);
    expect(report.cpuUsPerOp.total).toBe(0);
    expect(benchText(report)).toContain("per 100 ms:  none");
  });

  it("has no CPU time of daemons that were restarted, and says so", () => {
    const unknown = { ...cpu, osds: null, notes: ["osd.1 did not run all the time"] };
    const report = benchReport("rbd/a", options, result, unknown);
    expect(report.cpuUsPerOp).toEqual({ total: null, client: 10, osds: null, monitor: 0.1 });
    const text = benchText(report);
    expect(text).toContain("- us: client 10, osds -, monitor 0.1");
    expect(text).toContain("osd.1 did not run all the time");
  });

  it("names the seed of what was drawn, so that it can be drawn again", () => {
    const textOf = (load: Partial<BenchOptions>) =>
      benchText(benchReport("rbd/a", { ...options, ...load }, result, cpu));
    expect(textOf({ seed: 77 })).toContain("rand write, 4 KiB, 32 in flight, 2 s, seed 77");
    expect(textOf({ pattern: "seq" })).not.toContain("seed");
    expect(textOf({ pattern: "seq", ioType: "rw" })).toContain("seed 1");
  });

  it("draws the series, with its gaps", () => {
    const text = benchText(benchReport("rbd/a", options, result, cpu));
    expect(text).toContain("min 0, max 800 ▅▁█");
    expect(text).toContain("104.12 ms without a finished operation");
  });
});

it.each([
  [4096, "4 KiB"],
  [4097, "4097 B"],
  [1536, "1.5 KiB"],
])("%d bytes for each operation are shown as %s", (ioBytes, shown) => {
  const text = benchText(benchReport("rbd/a", { ...options, ioBytes }, result, cpu));
  expect(text).toContain(`rand write, ${shown}, 32 in flight`);
});
