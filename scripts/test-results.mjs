// What the runners of the suites have printed, as counts and names of failed tests; and the last
// lines of `npm test`. Pure.

/**
 * @typedef {{passed: number, failures: string[]}} Outcome
 * failures: the name of each test that failed; whatever else went wrong has a line of its own.
 */

/**
 * Of one doctest program.
 * @param {{program: string, status: number | null, signal?: string | null, stdout: string}} run
 * @returns {Outcome}
 */
export function doctestOutcome({ program, status, signal, stdout }) {
  const counts = /test cases:\s+\d+ \|\s+(\d+) passed \|\s+(\d+) failed/.exec(stdout);
  const failed = counts ? Number(counts[2]) : 0;
  const failures = [...failedCases(stdout)].map((name) => `${program}: ${name}`);
  // The count is doctest's: a case whose name was not found in the output has failed all the same.
  while (failures.length < failed) failures.push(`${program}: a test case without a name`);
  // A program that died (an assertion, a signal, a sanitizer) has failed, whatever it counted.
  if (status !== 0 && failed === 0) failures.push(`${program}: died, ${endText(status, signal)}`);
  return { passed: counts ? Number(counts[1]) : 0, failures };
}

function endText(status, signal) {
  return status === null ? `signal ${signal ?? "unknown"}` : `exit code ${status}`;
}

/** Each message stands under a line of "=" and the name of its test case. */
function failedCases(stdout) {
  const names = new Set();
  for (const block of stdout.split(/^={20,}$/m)) {
    const name = /^TEST CASE: +(.*)$/m.exec(block)?.[1];
    if (name !== undefined && /: (FATAL )?ERROR: /.test(block)) names.add(name.trim());
  }
  return names;
}

/**
 * Of a vitest run with the JSON reporter.
 * @param {object | undefined} report undefined: it wrote none
 * @param {number | null} status
 * @param {string} root the folder that file names are shown relative to
 * @returns {Outcome}
 */
export function vitestOutcome(report, status, root) {
  if (report === undefined) return { passed: 0, failures: ["vitest wrote no report"] };
  const failures = report.testResults.flatMap((file) => {
    const shown = file.name.startsWith(`${root}/`) ? file.name.slice(root.length + 1) : file.name;
    const names = file.assertionResults
      .filter((test) => test.status !== "passed")
      .map((test) => {
        const how = test.status === "failed" ? "" : " (skipped)";
        return `${shown}: ${test.fullName}${how}`;
      });
    // A file that does not load has no tests: it has failed all the same. So has a skipped test.
    const hasFailed = file.assertionResults.some((test) => test.status === "failed");
    return file.status === "failed" && !hasFailed ? [...names, `${shown}: the file`] : names;
  });
  if (status !== 0 && failures.length === 0) {
    failures.push(`vitest ended with ${endText(status, undefined)}`);
  }
  return { passed: report.numPassedTests, failures };
}

/**
 * Of `npm run teeth`: a bug that was caught counts as a passed test.
 * @param {{status: number | null, stdout: string}} run
 * @returns {Outcome}
 */
export function teethOutcome({ status, stdout }) {
  const lines = stdout.split("\n");
  const passed = lines.filter((line) => /^\w+ \(.*\): caught by /.test(line)).length;
  const failures = lines.filter(
    (line) => /: NOT CAUGHT$/.test(line) || /^no bug: \S+ (?!clean )/.test(line),
  );
  if (status !== 0 && failures.length === 0) failures.push(`it ended with ${endText(status)}`);
  if (passed + failures.length === 0) failures.push("nothing was hunted");
  return { passed, failures };
}

/**
 * The last lines: "suite: name" of each failed test, then the counts.
 * @param {{suite: string, outcome: Outcome}[]} suites
 */
export function summaryLines(suites) {
  const failures = suites.flatMap(({ suite, outcome }) =>
    outcome.failures.map((name) => `${suite}: ${name}`),
  );
  const passed = suites.reduce((sum, { outcome }) => sum + outcome.passed, 0);
  return [...failures, `${passed} passed, ${failures.length} failed`];
}
