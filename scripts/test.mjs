// `npm test`: installs and builds what is missing, then runs everything: C++ tests, unit tests, and
// integration tests with real processes and a guest. The last line is `N passed, N failed`.
// Arguments: names of suites (cpp, unit, integration); none: all. Imports node:* only.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildAll } from "./build.mjs";
import { rootFolder, step } from "./environment.mjs";

const totals = { passed: 0, failed: 0 };

function runCppTests() {
  const folder = join(rootFolder, "build/native");
  const programs = readdirSync(folder).filter((name) => /^test_[a-z_]+$/.test(name));
  if (programs.length === 0) {
    process.stdout.write("no C++ test program was built\n");
    totals.failed += 1;
  }
  for (const program of programs.sort()) {
    const result = spawnSync(join(folder, program), [], {
      cwd: rootFolder,
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    const counts = /test cases:\s+\d+ \|\s+(\d+) passed \|\s+(\d+) failed/.exec(result.stdout);
    const passed = counts ? Number(counts[1]) : 0;
    const failed = counts ? Number(counts[2]) : 0;
    // A program that died (an assertion, a signal) has failed, whatever it counted.
    const died = result.status !== 0 && failed === 0;
    totals.passed += passed;
    totals.failed += failed + (died ? 1 : 0);
    process.stdout.write(
      `${program}: ${passed} passed, ${failed} failed${died ? ", and it died" : ""}\n`,
    );
    if (result.status !== 0) process.stdout.write(`${result.stdout}\n${result.stderr}\n`);
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
  try {
    await buildAll({ packageGroups: ["build", "start", "test"], tests: has("cpp") });
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.stdout.write("0 passed, 1 failed\n");
    process.exitCode = 1;
    return;
  }
  if (has("cpp")) await step("C++ tests", async () => runCppTests());
  if (has("unit")) await step("unit tests", async () => runVitest("unit"));
  if (has("integration")) await step("integration tests", async () => runVitest("integration"));
  process.stdout.write(`${totals.passed} passed, ${totals.failed} failed\n`);
  process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
}

await main();
