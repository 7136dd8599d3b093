// The long jobs of a NativeClient on a device: load and copies. Part of native/binding.d.ts, which
// re-exports it.
import type { NativeHistogram } from "./binding.js";

export interface BenchOptions {
  ioType: "read" | "write" | "rw";
  ioBytes: number;
  pattern: "rand" | "seq";
  queueDepth: number;
  durationMs: number;
  seed: number;
  /** ends when it has begun so much, if not before */
  totalBytes?: number;
  /** of rw; default: 50 */
  readPercent?: number;
}

export interface BenchResult {
  operations: number;
  bytes: number;
  elapsedNs: number;
  errors: number;
  latency: NativeHistogram;
  latencyNs: { mean: number; p50: number; p95: number; p99: number; p999: number; max: number };
  /** operations finished in each 100 ms */
  series: number[];
  /** longest time in which no operation finished */
  longestGapNs: number;
}

export interface CopyExtent {
  source: number;
  hostOffset: number;
  guestOffset: number;
  lengthBytes: number;
  kind: "data" | "zero" | "zlib" | "zstd";
  /** of compressed kinds: bytes in the file, size of the cluster, where in it the extent starts */
  compressedBytes?: number;
  clusterBytes?: number;
  clusterOffset?: number;
}

export interface CopyProgress {
  /** of the guest disk, zeros and skipped ranges included */
  doneBytes: number;
}

export type OnCopied = (doneBytes: number) => void;
