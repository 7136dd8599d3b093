// Names of failed tests, from the words of the runners.
import { describe, expect, it } from "vitest";
import { doctestOutcome, summaryLines, teethOutcome, vitestOutcome } from "./test-results.mjs";

const line = "=".repeat(79);
const doctestText = `[doctest] doctest version is "2.4.9"
${line}
../../native/core/pg/scrub_test.cc:219:
TEST CASE:  scrub: under writes

../../native/core/pg/scrub_test.cc:272: MESSAGE: scrub rounds 24, objects 1152

${line}
../../native/core/pg/scrub_test.cc:304:
TEST CASE:  scrub: reads of a disk

../../native/core/pg/scrub_test.cc:132: FATAL ERROR: REQUIRE( a == "ok" ) is NOT correct!

${line}
../../native/core/pg/scrub_test.cc:330:
TEST CASE:  scrub: twice wrong
  a subcase

../../native/core/pg/scrub_test.cc:340: ERROR: CHECK( 1 == 2 ) is NOT correct!

../../native/core/pg/scrub_test.cc:341: ERROR: CHECK( 1 == 3 ) is NOT correct!

${line}
[doctest] test cases:  10 |  8 passed | 2 failed | 0 skipped
[doctest] assertions: 43 | 40 passed | 3 failed |
[doctest] Status: FAILURE!
`;
const doctest = (stdout: string, status: number | null, signal: string | null = null) =>
  doctestOutcome({ program: "test_pg", status, signal, stdout });

describe("the outcome of a doctest program", () => {
  it("has the name of each test case with an error, once, and of no other", () => {
    expect(doctest(doctestText, 1)).toEqual({
      passed: 8,
      failures: ["test_pg: scrub: reads of a disk", "test_pg: scrub: twice wrong"],
    });
  });

  it("counts a failed case also when its name is not to be found", () => {
    const text = "[doctest] test cases: 3 | 2 passed | 1 failed | 0 skipped";
    expect(doctest(text, 1).failures).toEqual(["test_pg: a test case without a name"]);
  });

  it("is a failure when the program died, and says how", () => {
    const text = "[doctest] test cases: 3 | 3 passed | 0 failed | 0 skipped";
    expect(doctest(text, 66)).toEqual({ passed: 3, failures: ["test_pg: died, exit code 66"] });
    expect(doctest("", null, "SIGSEGV").failures).toEqual(["test_pg: died, signal SIGSEGV"]);
    expect(doctest(text, 0).failures).toEqual([]);
  });
});

const file = (name: string, status: string, ...tests: [string, string][]) => ({
  name: `/repository/${name}`,
  status,
  assertionResults: tests.map(([fullName, of]) => ({ fullName, status: of })),
});

describe("the outcome of a vitest run", () => {
  it("has failed tests, skipped tests and files that do not load", () => {
    const report = {
      numPassedTests: 1,
      testResults: [
        file("osd/a.test.ts", "failed", ["a is good", "passed"], ["a is bad", "failed"]),
        file("osd/b.test.ts", "passed", ["b waits", "pending"]),
        file("osd/c.test.ts", "failed"),
      ],
    };
    expect(vitestOutcome(report, 1, "/repository")).toEqual({
      passed: 1,
      failures: [
        "osd/a.test.ts: a is bad",
        "osd/b.test.ts: b waits (skipped)",
        "osd/c.test.ts: the file",
      ],
    });
  });

  it("is a failure without a report, or with an exit code that no test explains", () => {
    expect(vitestOutcome(undefined, 0, "/").failures).toEqual(["vitest wrote no report"]);
    const report = { numPassedTests: 5, testResults: [] };
    expect(vitestOutcome(report, 1, "/").failures).toEqual(["vitest ended with exit code 1"]);
    expect(vitestOutcome(report, 0, "/").failures).toEqual([]);
  });
});

describe("the last lines", () => {
  it("are the failed tests with their suites, then the counts", () => {
    const bad = doctest(doctestText, 1);
    const good = { passed: 4, failures: [] };
    expect(
      summaryLines([
        { suite: "asan", outcome: bad },
        { suite: "unit", outcome: good },
      ]),
    ).toEqual([
      "asan: test_pg: scrub: reads of a disk",
      "asan: test_pg: scrub: twice wrong",
      "12 passed, 2 failed",
    ]);
    expect(summaryLines([{ suite: "unit", outcome: good }])).toEqual(["4 passed, 0 failed"]);
  });
});

describe("the outcome of the planted bugs", () => {
  const clean = "no bug: sim clean after 10.2 s\n";
  const caught = "skip_clone (the first change makes no clone): caught by sim after 5.4 s\n";
  const missed = "no_dedup (applied again): NOT CAUGHT";

  it("counts what was caught and names what was not", () => {
    expect(teethOutcome({ status: 0, stdout: clean + caught })).toEqual({
      passed: 1,
      failures: [],
    });
    expect(teethOutcome({ status: 1, stdout: `${clean}${caught}${missed}\n` })).toEqual({
      passed: 1,
      failures: [missed],
    });
  });

  it("has failed when a hunter cries without a bug, or died, or hunted nothing", () => {
    const cried = "no bug: sim caught after 3.0 s";
    expect(teethOutcome({ status: 1, stdout: `${cried}\n${caught}` }).failures).toEqual([cried]);
    expect(teethOutcome({ status: null, stdout: caught }).failures).toHaveLength(1);
    expect(teethOutcome({ status: 0, stdout: "" }).failures).toEqual(["nothing was hunted"]);
  });
});
