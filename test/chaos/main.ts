// `npm run chaos`: options, the namespaces that the run lives in, the report, the exit code.
//
//   npm run chaos -- --seconds N [--seed S] [--faults KIND,KIND...] [--single] [--keep]
//
// The run is started again inside new network, process and mount namespaces (and, for users other
// than root, a user namespace): whatever becomes of it, its processes and links end with it.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { whyNot } from "./faults.js";
import { reportText } from "./report.js";
import { type RunOptions, run } from "./run.js";
import { type FaultKind, faultKinds, stormKinds } from "./schedule.js";

const usage = `usage: npm run chaos -- [options]

  --seconds N   of load (default 60)
  --seed S      of the faults and the load (default: a new one, which is printed)
  --faults LIST only these: ${faultKinds.join(", ")}
  --single      one fault at a time, 4 KiB writes at depth 32: to measure failure detection
  --keep        leave the folder with logs and histories also when nothing was found
`;
const insideVariable = "CAIRN_CHAOS_INSIDE";
/** command -> Debian package */
const needed = { ip: "iproute2", tc: "iproute2", nft: "nftables", unshare: "util-linux" };

class UsageError extends Error {}

function options(): Omit<RunOptions, "dir"> & { keep: boolean } {
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      options: {
        seconds: { type: "string", default: "60" },
        seed: { type: "string" },
        faults: { type: "string" },
        single: { type: "boolean", default: false },
        keep: { type: "boolean", default: false },
      },
    }));
  } catch (thrown) {
    throw new UsageError(String(thrown));
  }
  const names = typeof values.faults === "string" ? values.faults.split(",") : [...stormKinds];
  const unknown = names.find((name) => !(faultKinds as readonly string[]).includes(name));
  if (unknown !== undefined) throw new UsageError(`there is no fault "${unknown}"`);
  return {
    seconds: wholeNumber("--seconds", values.seconds, 10),
    seed: wholeNumber("--seed", values.seed ?? String(Math.floor(Math.random() * 2 ** 31)), 0),
    kinds: names as FaultKind[],
    mode: values.single === true ? "single" : "storm",
    keep: values.keep === true,
  };
}

function wholeNumber(name: string, text: string | boolean | undefined, least: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new UsageError(`${name} must be a whole number from ${least} on`);
}

/** @returns what is missing on this machine, one line each */
function missing(kinds: readonly FaultKind[]): string[] {
  const commands = Object.entries(needed)
    .filter(([command]) => spawnSync("which", [command]).status !== 0)
    .map(([command, name]) => `${command} is not installed (Debian package ${name})`);
  const probe = spawnSync("unshare", [...namespaces(), "true"], { encoding: "utf8" });
  const remedy = "be root, or allow user namespaces";
  const barred = `namespaces cannot be made: ${probe.stderr?.trim()} (${remedy})`;
  const clocks = kinds.flatMap((kind) => whyNot(kind) ?? []);
  return [...commands, ...(probe.status === 0 ? [] : [barred]), ...clocks];
}

function namespaces(): string[] {
  const asUser = process.getuid?.() === 0 ? [] : ["-U", "-r"];
  return [...asUser, "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"];
}

/** Runs this program again, inside. @returns its exit code */
function goInside(seed: number): Promise<number> {
  const script = fileURLToPath(import.meta.url);
  const again = [process.execPath, "--import", "tsx", script, ...process.argv.slice(2)];
  const child = spawn("unshare", [...namespaces(), ...again, "--seed", String(seed)], {
    stdio: "inherit",
    env: { ...process.env, [insideVariable]: "1" },
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => child.kill("SIGKILL"));
  return new Promise((resolve) => child.on("exit", (code) => resolve(code ?? 1)));
}

async function runInside(chosen: ReturnType<typeof options>): Promise<number> {
  // libfaketime leaves files there.
  spawnSync("mount", ["-t", "tmpfs", "none", "/dev/shm"]);
  const dir = mkdtempSync(path.join(tmpdir(), "cairn-chaos-"));
  process.stdout.write(`seed ${chosen.seed}\n`);
  let found = true;
  try {
    const report = await run({ ...chosen, dir });
    // A run that has met nothing proves nothing.
    const met = report.faults.filter((fault) => fault.met).length;
    if (met === 0 || met < report.faults.length / 2) {
      report.findings.push(`only ${met} of ${report.faults.length} faults were delivered`);
    }
    process.stdout.write(reportText(report));
    found = report.findings.length > 0;
  } finally {
    if (found || chosen.keep) process.stdout.write(`logs and histories: ${dir}\n`);
    else rmSync(dir, { recursive: true });
  }
  return found ? 1 : 0;
}

async function main(): Promise<number> {
  const chosen = options();
  if (process.env[insideVariable] !== undefined) return runInside(chosen);
  const problems = missing(chosen.kinds);
  if (problems.length === 0) return goInside(chosen.seed);
  process.stderr.write(problems.map((problem) => `chaos: ${problem}\n`).join(""));
  return 1;
}

try {
  process.exit(await main());
} catch (thrown) {
  if (!(thrown instanceof UsageError)) throw thrown;
  process.stderr.write(`chaos: ${thrown.message}\n${usage}`);
  process.exit(2);
}
