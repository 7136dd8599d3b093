// `cairn bench`: load on an image from the native core, with latencies, the longest gap, and the
// CPU time that each operation has cost the client and the daemons.
import { type Command, Option } from "commander";
import type { ImageSpec } from "../client/image/image-spec.js";
import type { ClusterClient } from "../client/index.js";
import { withCluster as onCluster } from "./connect.js";
import { imagesOf, specValue } from "./image-access.js";
import {
  type ClusterOptions,
  countValue,
  durationValue,
  sizeValue,
  withCluster,
  withExamples,
} from "./options.js";
import { printResult } from "./output.js";

interface BenchFlags extends ClusterOptions {
  ioType: "read" | "write" | "rw";
  ioSize: number;
  ioPattern: "rand" | "seq";
  ioThreads: number;
  time: number;
  seed: number;
}

export function registerBench(program: Command): void {
  const bench = program
    .command("bench")
    .description("Measure an image. Writes destroy its content.")
    .argument("<pool/image>", "the image", specValue)
    .addOption(
      new Option("--io-type <type>", "operations")
        .choices(["read", "write", "rw"])
        .default("write"),
    )
    .option("--io-size <size>", "of each operation", sizeValue, 4096)
    .addOption(
      new Option("--io-pattern <pattern>", "offsets").choices(["rand", "seq"]).default("rand"),
    )
    .option("--io-threads <n>", "operations in flight", countValue(1, 4096), 16)
    .option("--time <duration>", "how long: 10, 10s, 500ms", durationValue, 10_000)
    .option("--seed <n>", "of the random offsets", countValue(1, Number.MAX_SAFE_INTEGER), 1);
  withCluster(bench).action(benchAction);
  withExamples(
    bench,
    "cairn bench rbd/disk1 --io-type write --io-size 4K --io-threads 32 --time 10",
    "cairn bench rbd/disk1 --io-type read --io-threads 1 --time 5s --format json",
  );
}

async function benchAction({ pool, image }: ImageSpec, flags: BenchFlags): Promise<void> {
  const [{ cpuMeter }, { benchReport, benchText }] = await Promise.all([
    import("./cpu-meter.js"),
    import("./bench-report.js"),
  ]);
  const options = {
    ioType: flags.ioType,
    ioBytes: flags.ioSize,
    pattern: flags.ioPattern,
    queueDepth: flags.ioThreads,
    durationMs: flags.time,
    seed: flags.seed,
  };
  const report = await onCluster(flags, async (client) => {
    const { handle, close } = await openForBench(client, { pool, image }, flags);
    try {
      const meter = await cpuMeter(flags, client);
      const result = await client.io.bench(handle, options);
      return benchReport(`${pool}/${image}`, options, result, await meter());
    } finally {
      await close();
    }
  });
  printResult(flags.format, report, () => benchText(report));
}

/** Under the image's lock if it writes. */
async function openForBench(
  client: ClusterClient,
  { pool, image }: ImageSpec,
  { ioType }: BenchFlags,
): Promise<{ handle: number; close(): Promise<void> }> {
  const images = await imagesOf(client, pool);
  if (ioType === "read") {
    const { handle } = await images.open(image, { readOnly: true });
    return { handle, close: async () => images.close(handle) };
  }
  const { openLocked } = await import("../client/index.js");
  const locked = await openLocked(images, image);
  try {
    await locked.lock.acquire();
  } catch (thrown) {
    await locked.close();
    throw thrown;
  }
  return locked;
}
