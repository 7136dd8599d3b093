// `npm test`: installs and builds what is missing, then runs everything: C++ tests, as they are and
// under the sanitizers, short runs of the fuzzers, unit tests, integration tests with real
// processes and a guest, and the hunt for some planted bugs. The last lines name the failed tests
// (`suite: name`), then the last one is `N passed, N failed`.
// Arguments: names of suites (cpp, asan, tsan, fuzz, unit, integration, teeth); none: all. Imports
// node:* only.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildAll } from "./build.mjs";
import { buildSanitized, builtTests, runTests } from "./cpp-tests.mjs";
import { rootFolder, step } from "./environment.mjs";
import { buildFuzzers, freshSeed, fuzzTargets, runFuzzers } from "./fuzz.mjs";
import { buildPlanted, runTeeth } from "./teeth.mjs";
import { summaryLines, teethOutcome, vitestOutcome } from "./test-results.mjs";

const fuzzSeconds = 36;
/** Of each kind of hunter one that bites within seconds; `npm run teeth` has all. */
const quickBugs = ["checksum_without_offset", "skip_clone", "no_lease_margin"];

/** Replays the committed corpus, then fuzzes every target for some seconds with a fresh seed. */
async function runFuzzSuite() {
  const options = { seconds: fuzzSeconds, targets: fuzzTargets(), seed: freshSeed() };
  const results = await runFuzzers(options);
  const found = results.filter(({ finding }) => finding);
  return {
    passed: results.length - found.length,
    failures: found.map(({ target, finding }) => `fuzz_${target}: ${finding.input}`),
  };
}

function runTeethSuite() {
  const result = runTeeth(
    quickBugs.flatMap((name) => ["--bug", name]),
    "pipe",
  );
  process.stdout.write(result.stdout);
  return teethOutcome(result);
}

function runVitest(project) {
  const report = join(rootFolder, "build", `vitest-${project}.json`);
  rmSync(report, { force: true });
  const result = spawnSync(
    process.execPath,
    [
      "node_modules/vitest/vitest.mjs",
      "run",
      "--project",
      project,
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
    ],
    { cwd: rootFolder, stdio: ["ignore", "inherit", "inherit"] },
  );
  const read = existsSync(report) ? JSON.parse(readFileSync(report, "utf8")) : undefined;
  return vitestOutcome(read, result.status, rootFolder);
}

async function main() {
  const wanted = process.argv.slice(2);
  const has = (suite) => wanted.length === 0 || wanted.includes(suite);
  const sanitized = ["asan", "tsan"].filter(has);
  const built = {};
  try {
    await buildAll({ packageGroups: ["build", "start", "test"], tests: has("cpp") });
    for (const name of sanitized) {
      built[name] = await step(`building the C++ tests: ${name}`, () => buildSanitized(name));
    }
    if (has("fuzz")) await step("building the fuzzers", () => buildFuzzers());
    if (has("teeth")) {
      await step("building with planted bugs", () => buildPlanted({ fuzzer: false }));
    }
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    finish([{ suite: "build", outcome: { passed: 0, failures: [error.message.split("\n")[0]] } }]);
    return;
  }
  const suites = [];
  const runSuite = async (suite, title, run) => {
    if (has(suite)) suites.push({ suite, outcome: await step(title, run) });
  };
  await runSuite("cpp", "C++ tests", () => runTests(builtTests()));
  for (const name of sanitized) {
    await runSuite(name, `C++ tests: ${name}`, () => runTests(built[name]));
  }
  await runSuite("fuzz", "fuzzing", () => runFuzzSuite());
  await runSuite("unit", "unit tests", async () => runVitest("unit"));
  await runSuite("integration", "integration tests", async () => runVitest("integration"));
  await runSuite("teeth", "planted bugs", async () => runTeethSuite());
  finish(suites);
}

/** Prints the last lines and sets the exit code: a run without a test is none. */
function finish(suites) {
  for (const line of summaryLines(suites)) process.stdout.write(`${line}\n`);
  const isGood = suites.every(({ outcome }) => outcome.failures.length === 0);
  const hasRun = suites.some(({ outcome }) => outcome.passed > 0);
  process.exitCode = isGood && hasRun ? 0 : 1;
}

await main();
