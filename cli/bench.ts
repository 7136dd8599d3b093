// `cairn bench`: load on an image from the native core, with latencies, the longest gap, and the
// CPU time that each operation has cost the client and the daemons.
import { randomInt } from "node:crypto";
import type { ClusterClient } from "../client/index.js";
import { exitCodes, StorageError } from "../common/errors.js";
import type { BenchOptions, BenchResult } from "../native/binding.js";
import { withCluster as onCluster } from "./connect.js";
import { imagesOf, nameOf } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { printResult } from "./output.js";
import { untilAborted, withAbortSignal } from "./signals.js";
import type { ImageAddress } from "./spec.js";

interface BenchFlags extends ClusterOptions {
  ioType: "read" | "write" | "rw" | "readwrite";
  ioSize: number;
  ioPattern: "rand" | "seq" | "full-seq";
  ioThreads: number;
  ioTotal?: number;
  rwMixRead: number;
  time?: number;
  seed?: number;
}

const defaultDurationMs = 10_000;
const leaveAfterMs = 5000;
/** Longer than anybody waits for --io-total: some 30 years. */
const endlessMs = 1e12;

export async function benchAction(spec: ImageAddress, flags: BenchFlags): Promise<void> {
  const [{ cpuMeter }, { benchReport, benchText }] = await Promise.all([
    import("./cpu-meter.js"),
    import("./bench-report.js"),
  ]);
  const options = {
    ioType: flags.ioType === "readwrite" ? ("rw" as const) : flags.ioType,
    ioBytes: flags.ioSize,
    pattern: flags.ioPattern === "rand" ? ("rand" as const) : ("seq" as const),
    queueDepth: flags.ioThreads,
    durationMs: flags.time ?? (flags.ioTotal === undefined ? defaultDurationMs : endlessMs),
    // With the same one each time, each run would overwrite what the last one has written.
    seed: flags.seed ?? randomInt(1, 2 ** 31),
    ...(flags.ioTotal === undefined ? {} : { totalBytes: flags.ioTotal }),
    readPercent: flags.rwMixRead,
  };
  const report = await withAbortSignal((signal) => {
    signal.addEventListener("abort", leaveInTime, { once: true });
    return onCluster(flags, async (client) => {
      const { handle, close } = await openForBench(client, spec, flags, signal);
      try {
        const meter = await cpuMeter(flags, client);
        const result = await runUntilStopped(client, handle, options, signal);
        return benchReport(nameOf(spec), options, result, await meter());
      } finally {
        await close();
      }
    }).finally(() => signal.removeEventListener("abort", leaveInTime));
  });
  printResult(flags, report, () => benchText(report));
}

const stopped = () => new StorageError("canceled", "stopped before it was done");

/** What a load has begun ends when the cluster answers: that may be never. */
function leaveInTime(): void {
  const leave = () => {
    process.stderr.write(
      `cairn: stopped, and the cluster has not answered for ${leaveAfterMs / 1000} s\n` +
        "  The image's lock lapses by itself; `cairn health` tells about the cluster.\n",
    );
    process.exit(exitCodes.failure);
  };
  // By itself it keeps nobody here.
  setTimeout(leave, leaveAfterMs).unref();
}

/** The load has ended when this does: the image can be closed. @throws canceled */
async function runUntilStopped(
  { io }: ClusterClient,
  handle: number,
  options: BenchOptions,
  signal: AbortSignal,
): Promise<BenchResult> {
  if (signal.aborted) throw stopped();
  // The load ends with its first error, when what it has begun is done.
  const stop = () => io.failGate(handle, stopped().message, false);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await io.bench(handle, options);
  } catch (thrown) {
    throw signal.aborted ? stopped() : thrown;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Under the image's lock if it writes. @throws canceled */
async function openForBench(
  client: ClusterClient,
  spec: ImageAddress,
  { ioType }: BenchFlags,
  signal: AbortSignal,
): Promise<{ handle: number; close(): Promise<void> }> {
  const { openLocked, openReader } = await import("../client/index.js");
  const images = await imagesOf(client, spec);
  if (ioType === "read") {
    return openReader(images, spec.image);
  }
  const locked = await openLocked(images, spec.image);
  try {
    const untilStopped = untilAborted(signal).then(() => Promise.reject(stopped()));
    await Promise.race([locked.takeLock(), untilStopped]);
  } catch (thrown) {
    await locked.close();
    throw thrown;
  }
  return locked;
}
