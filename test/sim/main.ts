// `npm run sim`: simulates whole clusters under faults in virtual time. Exit code 1 on a finding,
// with the command that replays its seed. The seeds run in a process of their own, so that an
// assertion that fails in the native core, which ends the process, is a finding like any other.
import { fork } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Arguments, argumentsOf, help } from "./arguments.js";
import { Coverage } from "./coverage.js";
import { lineOf, summaryOf } from "./report.js";
import { runSeed, type SeedResult } from "./run-seed.js";

const workerFlag = "SIM_WORKER";

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Runs the seeds in another process. @returns the exit code */
function supervise(argv: readonly string[]): Promise<number> {
  const env = { ...process.env, [workerFlag]: "1" };
  const worker = fork(fileURLToPath(import.meta.url), argv, { env });
  let seed = "none";
  worker.on("message", (begun) => {
    seed = String(begun);
  });
  return new Promise((resolve) => {
    worker.on("close", (code, signal) => {
      if (code === 0 || code === 1) {
        resolve(code);
        return;
      }
      print(`FINDING the process has died in seed ${seed}: ${signal ?? `exit code ${code}`}`);
      print(`  replay: npm run sim -- --seed ${seed}`);
      resolve(1);
    });
  });
}

async function runAll(args: Arguments): Promise<number> {
  const coverage = new Coverage();
  const results: SeedResult[] = [];
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  for (const seed of args.seeds) {
    if (args.seconds !== undefined && elapsed() >= args.seconds) break;
    const result = await runOne(seed, args, coverage);
    results.push(result);
    if (args.seconds !== undefined && result.findings.length > 0) break;
  }
  process.stdout.write(summaryOf(results, coverage.hits(), elapsed()));
  const missed = args.needsAllMarks ? coverage.neverReached() : [];
  for (const name of missed) print(`FINDING never reached: ${name}`);
  const bad = results.filter(({ findings }) => findings.length > 0);
  return bad.length + missed.length === 0 ? 0 : 1;
}

async function runOne(seed: bigint, args: Arguments, coverage: Coverage): Promise<SeedResult> {
  process.send?.(String(seed));
  const begun = performance.now();
  const folder = path.resolve("build/sim");
  if (args.replay) mkdirSync(folder, { recursive: true });
  const result = await runSeed({
    seed,
    coverage,
    mode: args.mode,
    driftPpm: args.driftPpm,
    onlyFaults: args.faults,
    tracePath: args.replay ? path.join(folder, `seed-${seed}.trace`) : undefined,
  });
  print(lineOf(result, (performance.now() - begun) / 1000));
  for (const finding of result.findings) print(`  FINDING ${finding}`);
  if (result.findings.length > 0) print(`  replay: npm run sim -- --seed ${seed}`);
  return result;
}

async function main(argv: readonly string[]): Promise<number> {
  let args: Arguments | "help";
  try {
    args = argumentsOf(argv);
  } catch (thrown) {
    process.stderr.write(`${(thrown as Error).message}\n`);
    return 2;
  }
  if (args === "help") {
    process.stdout.write(help);
    return 0;
  }
  if (process.env[workerFlag] === undefined) return supervise(argv);
  const code = await runAll(args);
  process.disconnect?.();
  return code;
}

process.exitCode = await main(process.argv.slice(2));
