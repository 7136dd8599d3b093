// `npm run fuzz -- [--seconds N] [--target NAME]... [--seed S]`: builds the libFuzzer targets of
// native/fuzz with ASan and UBSan, replays the committed corpus, then fuzzes each target for its
// share of the seconds, two at a time. A finding is minimised into
// native/fuzz/corpus/TARGET/found-* and makes the exit code 1. Imports node:* only.
import { spawn } from "node:child_process";
import { createHash, randomInt } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { configureSanitizedByClang } from "./build.mjs";
import { ensurePackages, rootFolder, run, runMain, step, UserError } from "./environment.mjs";

const buildFolder = "build/fuzz";
const sourceFolder = join(rootFolder, "native/fuzz");
const runsAtOnce = 2;
const minimiseSeconds = 20;
/** An input that takes longer, or a process that takes more, is a finding. */
const limits = ["-timeout=20", "-rss_limit_mb=2048"];

export function fuzzTargets() {
  return readdirSync(sourceFolder)
    .filter((name) => name.endsWith(".cc"))
    .map((name) => name.slice(0, -".cc".length))
    .sort();
}

export async function buildFuzzers() {
  await run("ninja", ["-C", await configureSanitizedByClang(), "fuzzers"]);
}

/** @returns {Promise<{code: number, output: string}>} libFuzzer writes all to stderr */
function runTarget(target, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(join(rootFolder, buildFolder, `fuzz_${target}`), args, {
      cwd: rootFolder,
      env: { ...process.env, UBSAN_OPTIONS: "print_stacktrace=1" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let output = "";
    child.stderr.setEncoding("utf8");
    child.stderr.on("data", (text) => {
      output += text;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? -1, output }));
  });
}

function corpusFiles(target) {
  const folder = join(sourceFolder, "corpus", target);
  if (!existsSync(folder)) throw new UserError(`${target} has no seeds: ${folder} is missing`);
  return readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));
}

/** Runs each committed input once. @returns what failed, with the fuzzer's report */
async function replay(target) {
  const files = corpusFiles(target);
  const { code, output } = await runTarget(target, [...limits, ...files]);
  if (code === 0) return { inputs: files.length };
  const failing = [...output.matchAll(/^Running: (.*)$/gm)].at(-1)?.[1];
  return { inputs: files.length, finding: { input: failing ?? "?", report: output } };
}

/** Makes the input of a finding smaller where it can, and puts it into the committed corpus. */
async function keepFinding(target, artifact) {
  const hash = createHash("sha256").update(readFileSync(artifact)).digest("hex").slice(0, 12);
  const kept = join(sourceFolder, "corpus", target, `found-${hash}`);
  copyFileSync(artifact, kept);
  // Inputs that are slow or large can't be minimised by trying them again and again.
  if (!/(crash|leak)-[0-9a-f]+$/.test(artifact)) return kept;
  const smaller = `${artifact}.minimised`;
  await runTarget(target, [
    ...limits,
    "-minimize_crash=1",
    `-max_total_time=${minimiseSeconds}`,
    `-exact_artifact_path=${smaller}`,
    artifact,
  ]);
  if (existsSync(smaller)) {
    const again = await runTarget(target, [...limits, smaller]);
    if (again.code !== 0) copyFileSync(smaller, kept);
  }
  return kept;
}

async function fuzz(target, seconds, seed) {
  const working = join(rootFolder, buildFolder, "corpus", target);
  const found = join(rootFolder, buildFolder, "found", target);
  mkdirSync(working, { recursive: true });
  rmSync(found, { recursive: true, force: true });
  mkdirSync(found, { recursive: true });
  const { code, output } = await runTarget(target, [
    ...limits,
    `-max_total_time=${Math.max(1, Math.round(seconds))}`,
    `-seed=${seed}`,
    "-print_final_stats=1",
    `-artifact_prefix=${found}/`,
    working,
    join(sourceFolder, "corpus", target),
  ]);
  const edges = [...output.matchAll(/ cov: (\d+) ft: (\d+)/g)].map((match) => Number(match[1]));
  const result = {
    executions: Number(/stat::number_of_executed_units: (\d+)/.exec(output)?.[1] ?? 0),
    coverage: edges.at(-1) ?? 0,
    newCoverage: (edges.at(-1) ?? 0) - (edges[0] ?? 0),
  };
  if (code === 0) return result;
  const [artifact] = readdirSync(found);
  const input = artifact
    ? await keepFinding(target, join(found, artifact))
    : "no input was written";
  return { ...result, finding: { input, report: output } };
}

/** Replays, then fuzzes one target; calls report with its line. */
async function examine(target, seconds, seed) {
  const replayed = await replay(target);
  if (replayed.finding) return { target, executions: replayed.inputs, ...replayed };
  return { target, ...replayed, ...(await fuzz(target, seconds, seed)) };
}

function describe({ target, inputs, executions, coverage, newCoverage, finding }) {
  const fuzzed = `, ${executions} executions, coverage ${coverage} (${newCoverage} new)`;
  const counts = `${inputs} inputs replayed${coverage === undefined ? "" : fuzzed}`;
  if (!finding) return `fuzz_${target}: ${counts}, no finding\n`;
  const input = relative(rootFolder, finding.input);
  // Without libFuzzer's progress lines.
  const report = finding.report.replaceAll(/^#\d+\s.*\n/gm, "").slice(-4000);
  return `fuzz_${target}: ${counts}, FOUND ${input}\n${report}\n`;
}

/**
 * Examines the targets, some at a time; seconds is the time of all together. Prints one line for
 * each target. @returns the results, in the order in which they came
 */
export async function runFuzzers({ seconds, targets, seed }) {
  process.stdout.write(`fuzzing ${targets.length} targets for ${seconds} s, seed ${seed}\n`);
  const lanes = Math.min(runsAtOnce, targets.length);
  const secondsEach = (seconds * lanes) / targets.length;
  const waiting = [...targets];
  const results = [];
  const lane = async () => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
      const result = await examine(target, secondsEach, seed);
      results.push(result);
      process.stdout.write(describe(result));
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}

/** A seed for runs that are not told one: libFuzzer takes 32 bits, and 0 means a random one. */
export function freshSeed() {
  return randomInt(1, 2 ** 32 - 1);
}

function positiveInteger(text, option) {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0 && value < 2 ** 32) return value;
  throw new UserError(`--${option} takes a positive whole number, not "${text}"`);
}

function parseOptions() {
  const known = fuzzTargets();
  let values;
  try {
    const options = { seconds: { type: "string" }, seed: { type: "string" } };
    const target = { type: "string", multiple: true };
    ({ values } = parseArgs({ options: { ...options, target }, allowPositionals: false }));
  } catch (error) {
    throw new UserError(
      `${error.message}\nusage: npm run fuzz -- [--seconds N] [--target NAME]...`,
    );
  }
  for (const target of values.target ?? []) {
    if (known.includes(target)) continue;
    throw new UserError(`there is no target "${target}"; targets: ${known.join(", ")}`);
  }
  return {
    seconds: positiveInteger(values.seconds ?? "60", "seconds"),
    targets: values.target ?? known,
    seed: values.seed === undefined ? freshSeed() : positiveInteger(values.seed, "seed"),
  };
}

async function main() {
  const options = parseOptions();
  await ensurePackages(["build", "test"]);
  await step("building the fuzzers", () => buildFuzzers());
  const results = await runFuzzers(options);
  const executions = results.reduce((sum, result) => sum + result.executions, 0);
  const findings = results.filter((result) => result.finding).length;
  process.stdout.write(`${executions} executions, ${findings} findings, seed ${options.seed}\n`);
  if (findings > 0) process.exitCode = 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) runMain(main);
