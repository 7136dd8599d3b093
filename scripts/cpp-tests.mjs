// Running C++ test programs: as they are built for the product, or under a sanitizer. Imports
// node:* only.
import { spawn, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { configureNative, configureSanitizedByClang } from "./build.mjs";
import { rootFolder, run } from "./environment.mjs";
import { doctestOutcome } from "./test-results.mjs";

/** Programs that run at a time: they mostly use one processor each. */
const programsAtOnce = 2;
/** The longest programs, the longest first: one that begins last would run alone in the end. */
const longest = ["test_pg", "test_object_store", "test_crush", "test_image", "test_explore"];
/** Of what a test program does by default in its long loops (native/test/budget.hh). */
const sanitizerBudget = "0.1";

/** Folders of native/core whose tests have more than one thread. */
const threaded = ["io", "net", "nbd", "object_store", "vhost_user", "virtio"];

/**
 * How the test programs are built and run under each sanitizer.
 * configure: makes the build folder and returns its name.
 * only: folders of native/core; absent: all.
 */
export const sanitizers = {
  asan: {
    // The build of the fuzzers: one compilation of the core serves both.
    configure: configureSanitizedByClang,
    env: { UBSAN_OPTIONS: "print_stacktrace=1", ASAN_OPTIONS: "detect_stack_use_after_return=1" },
  },
  tsan: {
    configure: async () => {
      const compiled = ["base", "image", ...threaded].join(";");
      await configureNative("build/tsan", ["-DCAIRN_SANITIZE=thread", `-DCAIRN_ONLY=${compiled}`]);
      return "build/tsan";
    },
    only: threaded,
    // ThreadSanitizer's shadow memory does not fit every layout that the kernel draws. A container
    // may forbid to switch that off: then it runs with what it gets.
    launcher: ["setarch", "-R"],
    // One thread, many checksums: long, and nothing for this sanitizer to see.
    options: ["--test-case-exclude=*damage*"],
    env: {},
  },
};

function testPrograms(folder) {
  return readdirSync(join(rootFolder, folder))
    .filter((name) => /^test_[a-z_]+$/.test(name))
    .sort();
}

/** Builds the test programs of a sanitizer. @returns how to run them */
export async function buildSanitized(name) {
  const { configure, only, launcher = [], options = [], env } = sanitizers[name];
  const folder = await configure();
  const targets = only === undefined ? ["tests"] : only.map((part) => `test_${part}`);
  await run("ninja", ["-C", folder, ...targets]);
  const programs = only === undefined ? testPrograms(folder) : targets;
  return {
    folder,
    programs,
    launcher: works(launcher) ? launcher : [],
    options,
    env: { CAIRN_TEST_BUDGET: sanitizerBudget, ...env },
  };
}

function works([command, ...options]) {
  return command !== undefined && spawnSync(command, [...options, "true"]).status === 0;
}

export function builtTests() {
  return { folder: "build/native", programs: testPrograms("build/native") };
}

function execute(command, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: rootFolder,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const chunks = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"]) {
      child[name].setEncoding("utf8");
      child[name].on("data", (text) => {
        chunks[name] += text;
      });
    }
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, ...chunks }));
  });
}

async function runProgram({ folder, launcher = [], options = [], env = {} }, program) {
  const started = performance.now();
  const [command, ...args] = [...launcher, join(rootFolder, folder, program), ...options];
  const { status, signal, stdout, stderr } = await execute(command, args, env);
  const outcome = doctestOutcome({ program, status, signal, stdout });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const counts = `${outcome.passed} passed, ${outcome.failures.length} failed`;
  process.stdout.write(`${program}: ${counts} (${seconds} s)\n`);
  if (status !== 0) process.stdout.write(`${stdout}\n${stderr}\n`);
  return outcome;
}

function longestFirst(programs) {
  const known = longest.filter((program) => programs.includes(program));
  return [...known, ...programs.filter((program) => !known.includes(program))];
}

/** Runs test programs and prints a line for each. @returns all their outcomes as one */
export async function runTests(tests) {
  if (tests.programs.length === 0) {
    return { passed: 0, failures: [`no C++ test program was built in ${tests.folder}`] };
  }
  const sum = { passed: 0, failures: [] };
  const waiting = longestFirst(tests.programs);
  const lane = async () => {
    for (let program = waiting.shift(); program !== undefined; program = waiting.shift()) {
      const { passed, failures } = await runProgram(tests, program);
      sum.passed += passed;
      sum.failures.push(...failures);
    }
  };
  await Promise.all(Array.from({ length: programsAtOnce }, lane));
  return sum;
}
