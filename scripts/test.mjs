// `npm test`: installs and builds what is missing, then runs everything: C++ tests, as they are and
// under the sanitizers, short runs of the fuzzers, unit tests, and integration tests with real
// processes and a guest. The last line is `N passed, N failed`.
// Arguments: names of suites (cpp, asan, tsan, fuzz, unit, integration); none: all. Imports node:*
// only.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildAll } from "./build.mjs";
import { buildSanitized, builtTests, runTests } from "./cpp-tests.mjs";
import { rootFolder, step } from "./environment.mjs";
import { buildFuzzers, freshSeed, fuzzTargets, runFuzzers } from "./fuzz.mjs";

const totals = { passed: 0, failed: 0 };
const fuzzSeconds = 36;

function count({ passed, failed }) {
  totals.passed += passed;
  totals.failed += failed;
}

/** Replays the committed corpus, then fuzzes every target for some seconds with a fresh seed. */
async function runFuzzSuite() {
  const options = { seconds: fuzzSeconds, targets: fuzzTargets(), seed: freshSeed() };
  for (const { finding } of await runFuzzers(options)) {
    count({ passed: finding ? 0 : 1, failed: finding ? 1 : 0 });
  }
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
  if (!existsSync(report)) {
    totals.failed += 1;
    return;
  }
  const counts = JSON.parse(readFileSync(report, "utf8"));
  totals.passed += counts.numPassedTests;
  // A file that does not load counts no test: it has failed all the same. So has a skipped test.
  const brokenFiles = counts.testResults.filter(
    (file) =>
      file.status === "failed" && file.assertionResults.every((test) => test.status !== "failed"),
  ).length;
  const skipped = counts.numPendingTests + (counts.numTodoTests ?? 0);
  const failed = counts.numFailedTests + brokenFiles + skipped;
  totals.failed += failed;
  if (result.status !== 0 && failed === 0) totals.failed += 1;
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
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.stdout.write("0 passed, 1 failed\n");
    process.exitCode = 1;
    return;
  }
  if (has("cpp")) await step("C++ tests", async () => count(await runTests(builtTests())));
  for (const name of sanitized) {
    await step(`C++ tests: ${name}`, async () => count(await runTests(built[name])));
  }
  if (has("fuzz")) await step("fuzzing", () => runFuzzSuite());
  if (has("unit")) await step("unit tests", async () => runVitest("unit"));
  if (has("integration")) await step("integration tests", async () => runVitest("integration"));
  process.stdout.write(`${totals.passed} passed, ${totals.failed} failed\n`);
  process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
}

await main();
