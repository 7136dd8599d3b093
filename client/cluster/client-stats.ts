// What the native client counts, as the clientStats message of the control protocol. Pure.
import type { NativeHistogram, NativeStats } from "../../native/index.js";
import type { ClientStats, Histogram } from "../../proto/messages.js";

/** What is asked of node:process. */
export interface ProcessUsage {
  memoryUsage: { rss(): number };
  cpuUsage(): { user: number; system: number };
}

/**
 * @param daemon the label in the metrics: "client.vm1"
 * @param opComplaintMs an operation older than this is reported as slow
 */
export function clientStatsOf(
  daemon: string,
  stats: NativeStats & { oldestOperationMs: number },
  usage: ProcessUsage,
  opComplaintMs: number,
): ClientStats {
  const { user, system } = usage.cpuUsage();
  const slow = stats.oldestOperationMs >= opComplaintMs;
  return {
    kind: "clientStats",
    daemon,
    counters: renamed(stats.counters, (value) => value),
    histograms: renamed(stats.histograms, histogramOf),
    rssBytes: usage.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1e6,
    slowOps: slow
      ? [{ description: "the oldest operation in flight", ageMs: stats.oldestOperationMs }]
      : [],
    slowOpCount: slow ? 1 : 0,
  };
}

/** The wire's histograms have one more count than bounds: values above the last one. */
function histogramOf(histogram: NativeHistogram): Histogram {
  const { boundsNs, counts, sumNs } = histogram;
  return { boundsNs, counts: [...counts, 0], sumNs };
}

/** Native names are camelCase, those of the metrics snake_case. */
function renamed<From, To>(
  record: Record<string, From>,
  convert: (value: From) => To,
): Record<string, To> {
  return Object.fromEntries(
    Object.entries(record).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      convert(value),
    ]),
  );
}
