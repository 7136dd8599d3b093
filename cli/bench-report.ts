// The result of `cairn bench`, as data and as text. Pure.
import { exactSize } from "../common/units.js";
import type { BenchOptions, BenchResult } from "../native/binding.js";
import type { CpuUsage } from "./cpu-usage.js";
import { fieldsText } from "./output.js";

export interface BenchReport {
  image: string;
  options: BenchOptions;
  operations: number;
  elapsedMs: number;
  iops: number;
  /** 10^6 bytes a second */
  mbPerS: number;
  latencyUs: { mean: number; p50: number; p95: number; p99: number; p999: number; max: number };
  /** longest time in which no operation finished */
  longestGapMs: number;
  /** operations finished in each 100 ms */
  series: number[];
  /** CPU time of all threads of each, for each operation; null: not known, see cpuNotes */
  cpuUsPerOp: {
    total: number | null;
    client: number;
    osds: number | null;
    monitor: number | null;
  };
  cpuSource: CpuUsage["source"];
  cpuNotes: string[];
}

function rounded(value: number, decimals: number): number {
  return Number(value.toFixed(decimals));
}

/** @param image POOL/IMAGE */
export function benchReport(
  image: string,
  options: BenchOptions,
  result: BenchResult,
  cpu: CpuUsage,
): BenchReport {
  const { operations, bytes, elapsedNs, latencyNs } = result;
  const seconds = elapsedNs / 1e9;
  const perOp = (us: number) => (operations === 0 ? 0 : rounded(us / operations, 2));
  const perOpOrNull = (us: number | null) => (us === null ? null : perOp(us));
  const us = (ns: number) => rounded(ns / 1000, 1);
  const { client, osds, monitor } = cpu;
  const totalUs = osds === null || monitor === null ? null : client + osds + monitor;
  return {
    image,
    options,
    operations,
    elapsedMs: rounded(elapsedNs / 1e6, 1),
    iops: rounded(operations / seconds, 1),
    mbPerS: rounded(bytes / 1e6 / seconds, 2),
    latencyUs: {
      mean: us(latencyNs.mean),
      p50: us(latencyNs.p50),
      p95: us(latencyNs.p95),
      p99: us(latencyNs.p99),
      p999: us(latencyNs.p999),
      max: us(latencyNs.max),
    },
    longestGapMs: rounded(result.longestGapNs / 1e6, 2),
    series: result.series,
    cpuUsPerOp: {
      total: perOpOrNull(totalUs),
      client: perOp(client),
      osds: perOpOrNull(osds),
      monitor: perOpOrNull(monitor),
    },
    cpuSource: cpu.source,
    cpuNotes: cpu.notes,
  };
}

export function benchText(report: BenchReport): string {
  const { options, latencyUs, cpuUsPerOp, series } = report;
  const load = `${options.pattern} ${options.ioType}, ${exactSize(options.ioBytes)}`;
  return fieldsText([
    ["load", `${load}, ${options.queueDepth} in flight, ${endText(options)}${seedText(options)}`],
    ["operations", `${report.operations}`],
    ["IOPS", `${report.iops}`],
    ["MB/s", `${report.mbPerS}`],
    ["latency", `mean ${latencyUs.mean} us, max ${latencyUs.max} us`],
    [
      "percentiles",
      `p50 ${latencyUs.p50}, p95 ${latencyUs.p95}, p99 ${latencyUs.p99}, ` +
        `p99.9 ${latencyUs.p999} us`,
    ],
    ["longest gap", `${report.longestGapMs} ms without a finished operation`],
    ["per 100 ms", seriesText(series)],
    [
      "CPU per op",
      `${cpuUsPerOp.total ?? "-"} us: client ${cpuUsPerOp.client}, ` +
        `osds ${cpuUsPerOp.osds ?? "-"}, monitor ${cpuUsPerOp.monitor ?? "-"}`,
    ],
    ...report.cpuNotes.map((note) => ["note", note] as const),
  ]);
}

function endText({ totalBytes, durationMs }: BenchOptions): string {
  return totalBytes === undefined ? `${durationMs / 1000} s` : exactSize(totalBytes);
}

function seedText({ pattern, ioType, seed }: BenchOptions): string {
  return pattern === "rand" || ioType === "rw" ? `, seed ${seed}` : "";
}

const levels = "▁▂▃▄▅▆▇█";

/** "min 900, max 1200 ▅▆▇": at most 60 columns, each the least of its share of the series. */
function seriesText(series: readonly number[]): string {
  if (series.length === 0) return "none";
  const most = Math.max(...series);
  const width = Math.min(60, series.length);
  const columns = Array.from({ length: width }, (_, column) => {
    const begin = Math.floor((column * series.length) / width);
    const end = Math.max(begin + 1, Math.floor(((column + 1) * series.length) / width));
    const least = Math.min(...series.slice(begin, end));
    const level = most === 0 ? 0 : Math.round((least / most) * (levels.length - 1));
    return levels[level] ?? "";
  });
  return `min ${Math.min(...series)}, max ${most} ${columns.join("")}`;
}
