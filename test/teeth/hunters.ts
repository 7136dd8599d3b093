// The parts of the harness as hunters: the command that runs one against the planted build, within
// which time, and what of its outcome counts as a catch. An outcome that is neither a catch nor a
// clean end (a build that does not start, a usage error) is a failure of the hunt itself.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type HunterName = "explore" | "sim" | "sim-takeover" | "sim-split" | "fuzz-virtqueue";

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
const takeoverFaults = ["--mode", "liveness", "--faults", "replacedInSilence"];
/** Seed 1 is ten times as long as others. */
const takeover = [...takeoverFaults, "--drift", "47000", "--from", "2"];

function simulation(root: string, seconds: number, ...options: string[]): Command {
  const programs = ["node_modules/tsx/dist/cli.mjs", "test/sim/main.ts"];
  const seeds = ["--from", "1", "--seeds", "1000", "--seconds", String(seconds)];
  const args = [...programs.map((name) => join(root, name)), ...seeds, ...options];
  return { program: process.execPath, args };
}

export const hunters: Readonly<Record<HunterName, Hunter>> = {
  explore: {
    command: (root, _, seconds) => ({
      program: join(root, "build/planted/explore"),
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
  "fuzz-virtqueue": {
    command: (root, scratch, seconds) => ({
      program: join(root, "build/fuzz-planted/fuzz_virtqueue"),
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

const tailBytes = 4000;

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
  const env: NodeJS.ProcessEnv = { ...process.env, CAIRN_NATIVE_BUILD: "planted" };
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
