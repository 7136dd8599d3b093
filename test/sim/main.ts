// `npm run sim -- --seeds N [--seed S] [--from S] [--mode safety|liveness] [--seconds N]`: simulates
// whole clusters under faults in virtual time. Exit code 1 on a finding, with the seed to replay.
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { Coverage } from "./coverage.js";
import { type FaultKind, faultKinds, type Mode } from "./faults.js";
import { runSeed, type SeedResult } from "./run-seed.js";

/** The seeds 1 .. this many are the default; every mark must be reached over them. */
const defaultSeeds = 40;

interface Arguments {
  seeds: bigint[];
  /** one seed, replayed with its trace in a file */
  replay: boolean;
  /** marks that were not reached are findings */
  complete: boolean;
  mode: Mode | undefined;
  onlyFaults: FaultKind[] | undefined;
}

function argumentsOf(argv: readonly string[]): Arguments {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      seeds: { type: "string" },
      seed: { type: "string" },
      from: { type: "string" },
      fresh: { type: "boolean", default: false },
      mode: { type: "string" },
      faults: { type: "string" },
    },
  });
  const count = Number(values.seeds ?? defaultSeeds);
  const first = values.fresh ? randomBytes(5).readUIntBE(0, 5) : Number(values.from ?? 1);
  const seeds = Array.from({ length: count }, (_, index) => BigInt(first + index));
  return {
    seeds: values.seed === undefined ? seeds : [BigInt(values.seed)],
    replay: values.seed !== undefined,
    complete: values.seed === undefined && !values.fresh && values.from === undefined && count >= defaultSeeds && values.faults === undefined && values.mode === undefined,
    mode: values.mode as Mode | undefined,
    onlyFaults: values.faults?.split(",").filter((kind): kind is FaultKind => (faultKinds as string[]).includes(kind)),
  };
}

function lineOf(result: SeedResult, seconds: number): string {
  const { cluster, mode, operations, pending, faults, cleanMs, virtualMs, traceHash } = result;
  const total = [...faults.values()].reduce((sum, times) => sum + times, 0);
  return (
    `seed ${result.seed} ${mode} osds ${cluster.osds} size ${cluster.size}/${cluster.minSize} ` +
    `pgs ${cluster.pgNum}: ${operations} operations, ${pending} pending, ${total} faults, ` +
    `clean after ${(cleanMs / 1000).toFixed(1)} s, ${(virtualMs / 1000).toFixed(0)} virtual s in ` +
    `${seconds.toFixed(1)} s, trace ${traceHash}`
  );
}

async function main(): Promise<void> {
  const args = argumentsOf(process.argv.slice(2));
  const coverage = new Coverage();
  const results: SeedResult[] = [];
  const started = performance.now();
  for (const seed of args.seeds) {
    const begun = performance.now();
    const folder = path.resolve("build/sim");
    if (args.replay) mkdirSync(folder, { recursive: true });
    const result = await runSeed({
      seed,
      coverage,
      ...(args.mode === undefined ? {} : { mode: args.mode }),
      ...(args.onlyFaults === undefined ? {} : { onlyFaults: args.onlyFaults }),
      ...(args.replay ? { tracePath: path.join(folder, `seed-${seed}.trace`) } : {}),
    });
    results.push(result);
    process.stdout.write(`${lineOf(result, (performance.now() - begun) / 1000)}\n`);
    for (const finding of result.findings) process.stdout.write(`  FINDING ${finding}\n`);
    if (result.findings.length > 0) {
      process.stdout.write(`  replay: npm run sim -- --seed ${seed}\n`);
    }
  }
  const bad = results.filter(({ findings }) => findings.length > 0);
  const missed = args.complete ? coverage.neverReached() : [];
  report(results, coverage, (performance.now() - started) / 1000);
  for (const name of missed) process.stdout.write(`FINDING never reached: ${name}\n`);
  process.exitCode = bad.length + missed.length === 0 ? 0 : 1;
}

function report(results: readonly SeedResult[], coverage: Coverage, seconds: number): void {
  const faults = new Map<string, number>();
  const errors = new Map<string, number>();
  for (const result of results) {
    for (const [kind, times] of result.faults) faults.set(kind, (faults.get(kind) ?? 0) + times);
    for (const [code, times] of result.errors) errors.set(code, (errors.get(code) ?? 0) + times);
  }
  const sum = (of: (result: SeedResult) => number) =>
    results.reduce((total, result) => total + of(result), 0);
  const text = (counts: ReadonlyMap<string, number>) =>
    [...counts].map(([name, times]) => `${name} ${times}`).join(", ") || "none";
  process.stdout.write(
    [
      `faults delivered: ${text(faults)}`,
      `operations that failed: ${text(errors)}`,
      `marks: ${text(coverage.hits())}`,
      `${results.length} seeds, ${sum(({ operations }) => operations)} operations ` +
        `(${sum(({ pending }) => pending)} pending), ` +
        `${(sum(({ virtualMs }) => virtualMs) / 3_600_000).toFixed(2)} virtual hours ` +
        `in ${seconds.toFixed(0)} s, ` +
        `${results.filter(({ findings }) => findings.length > 0).length} seeds with findings`,
      "",
    ].join("\n"),
  );
}

await main();
