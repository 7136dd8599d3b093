// The parts of the harness as hunters: the command that runs one against the planted build, within
// which time, and what of its outcome counts as a catch. An outcome that is neither a catch nor a
// clean end (a build that does not start, a usage error) is a failure of the hunt itself.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type HunterName =
  | "explore"
  | "sim"
  | "sim-takeover"
  | "sim-split"
  | "sim-resets"
  | "sim-blackout"
  | "fuzz-virtqueue"
  | "chaos"
  | "fsx";

/** Of one run. */
export type Outcome = "caught" | "clean" | "broken";

interface Command {
  program: string;
  args: readonly string[];
}

interface Hunter {
  command(root: string, scratch: string, seconds: number): Command;
  outcome(code: number | null, output: string): Outcome;
}

const byFinding = (code: number | null, output: string): Outcome => {
  if (code === 0) return "clean";
  return code === 1 && /FINDING/i.test(output) ? "caught" : "broken";
};

/** Copies that come back and lack something are split, and splits are met by all of these. */
const splits = ["--mode", "safety", "--faults", "split,kill,powerCut,isolation,markedOut"];
const resets = ["--mode", "safety", "--faults", "manyResets"];
const takeoverFaults = ["--mode", "liveness", "--faults", "replacedInSilence"];
/** Seed 1 is ten times as long as others. */
const takeover = [...takeoverFaults, "--drift", "47000", "--from", "2"];

function simulation(root: string, seconds: number, ...options: string[]): Command {
  const programs = ["node_modules/tsx/dist/cli.mjs", "test/sim/main.ts"];
  const seeds = ["--from", "1", "--seeds", "1000", "--seconds", String(seconds)];
  const args = [...programs.map((name) => join(root, name)), ...seeds, ...options];
  return { program: process.execPath, args };
}

/** A program of the harness that runs in this source tree. */
function harness(root: string, name: string, ...options: string[]): Command {
  const args = ["--import", "tsx", join(root, `test/${name}/main.ts`), ...options];
  return { program: process.execPath, args };
}

/** Of the load, in which some holders of the lock are frozen; start and verdict come on top. */
const chaosSeconds = 40;
const fsxOperations = 400;

export const hunters: Readonly<Record<HunterName, Hunter>> = {
  explore: {
    command: (root, _, seconds) => ({
      program: join(root, "build/native/planted/explore"),
      args: ["--seconds", String(seconds), "--seed", "1"],
    }),
    outcome: byFinding,
  },
  sim: {
    command: (root, _, seconds) => simulation(root, seconds),
    outcome: byFinding,
  },
  // Only the fault in which the clocks decide, once at a time, and clocks as wrong as they may be.
  "sim-takeover": {
    command: (root, _, seconds) => simulation(root, seconds, ...takeover),
    outcome: byFinding,
  },
  // Only seeds with splits, and what they are to survive.
  "sim-split": {
    command: (root, _, seconds) => simulation(root, seconds, ...splits),
    outcome: byFinding,
  },
  // Connections that break all the time: hardly an operation is sent once.
  "sim-resets": {
    command: (root, _, seconds) => simulation(root, seconds, ...resets),
    outcome: byFinding,
  },
  // Real processes: not for how soon they find it, but to show that they do, and end with 1.
  chaos: {
    command: (root) =>
      harness(root, "chaos", "--seconds", String(chaosSeconds), "--faults", "reset"),
    outcome: byFinding,
  },
  fsx: {
    command: (root, scratch) =>
      harness(root, "fsx", "--ops", String(fsxOperations), "--seed", "101", "--dir", scratch),
    outcome: byFinding,
  },
  // Only cuts of all OSDs at the same moment: what no copy has is lost.
  "sim-blackout": {
    command: (root, _, seconds) => simulation(root, seconds, "--faults", "powerCutOfAll"),
    outcome: byFinding,
  },
  "fuzz-virtqueue": {
    command: (root, scratch, seconds) => ({
      program: join(root, "build/fuzz/planted/fuzz_virtqueue"),
      args: [
        "-seed=1",
        `-max_total_time=${seconds}`,
        "-timeout=20",
        `-artifact_prefix=${scratch}/`,
        scratch,
        join(root, "native/fuzz/corpus/virtqueue"),
      ],
    }),
    // libFuzzer ends with 77 or the sanitizer's code, and names the sanitizer's summary.
    outcome: (code, output) => {
      if (code === 0) return "clean";
      return /SUMMARY: |deadly signal|Assertion/.test(output) ? "caught" : "broken";
    },
  },
};

export interface Hunt {
  outcome: Outcome;
  seconds: number;
  /** the last lines of what the hunter printed */
  tail: string;
}

/** Behind its finding, fsx names the operations that led to it. */
const tailBytes = 8000;

/** Runs one hunter; with `bug` undefined no bug is live. */
export async function hunt(
  root: string,
  name: HunterName,
  bug: string | undefined,
  limitSeconds: number,
): Promise<Hunt> {
  const hunter = hunters[name];
  const scratch = mkdtempSync(join(tmpdir(), "cairn-teeth-"));
  const { program, args } = hunter.command(root, scratch, limitSeconds);
  const startedMs = performance.now();
  const env: NodeJS.ProcessEnv = { ...process.env, CAIRN_NATIVE_BUILD: "native/planted" };
  // What chaos keeps of a finding goes with the scratch folder.
  env.TMPDIR = scratch;
  delete env.CAIRN_PLANTED_BUG;
  if (bug !== undefined) env.CAIRN_PLANTED_BUG = bug;
  try {
    const child = spawn(program, args, { env, cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let tail = "";
    const take = (chunk: Buffer): void => {
      tail = (tail + chunk.toString()).slice(-tailBytes);
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (exitCode) => resolve(exitCode));
    });
    const seconds = (performance.now() - startedMs) / 1000;
    return { outcome: hunter.outcome(code, tail), seconds, tail };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
