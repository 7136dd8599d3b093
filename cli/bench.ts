// `cairn bench`: load on an image from the native core, with latencies, the longest gap, and the
// CPU time that each operation has cost the client and the daemons.
import { randomInt } from "node:crypto";
import type { ClusterClient } from "../client/index.js";
import { withCluster as onCluster } from "./connect.js";
import { imagesOf, nameOf } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { printResult } from "./output.js";
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
  const report = await onCluster(flags, async (client) => {
    const { handle, close } = await openForBench(client, spec, flags);
    try {
      const meter = await cpuMeter(flags, client);
      const result = await client.io.bench(handle, options);
      return benchReport(nameOf(spec), options, result, await meter());
    } finally {
      await close();
    }
  });
  printResult(flags, report, () => benchText(report));
}

/** Under the image's lock if it writes. */
async function openForBench(
  client: ClusterClient,
  spec: ImageAddress,
  { ioType }: BenchFlags,
): Promise<{ handle: number; close(): Promise<void> }> {
  const { openLocked, openReader } = await import("../client/index.js");
  const images = await imagesOf(client, spec);
  if (ioType === "read") {
    return openReader(images, spec.image);
  }
  const locked = await openLocked(images, spec.image);
  try {
    await locked.lock.acquire();
  } catch (thrown) {
    await locked.close();
    throw thrown;
  }
  return locked;
}
