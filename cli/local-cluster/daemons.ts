// Starts and stops the daemons of a local cluster as detached processes of this same program.
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { StorageError } from "../../common/errors.js";
import type { ClusterPaths, DaemonName } from "./cluster-dir.js";
import { isAlive, type ProcessId, readPidFile } from "./processes.js";

const program = fileURLToPath(new URL("../../../bin/cairn", import.meta.url));
/**
 * For Node. A daemon's JavaScript heap is small and stays so: to collect it again and again in the
 * seconds behind a load, so that some of it can go back, costs more than it gives.
 */
const nodeFlags = ["--no-memory-reducer"];
const pollMs = 25;

/** A daemon that this call has started. */
export interface StartedDaemon {
  name: DaemonName;
  pid: number;
  /** set when it has ended */
  exit(): string | undefined;
}

function argumentsOf(name: DaemonName, dir: string): string[] {
  if (name === "mon") return ["monitor", "--dir", dir];
  return ["osd", "--id", name.slice("osd.".length), "--dir", dir];
}

/** The living process of a daemon, by its pid file. */
export function runningDaemon(paths: ClusterPaths, name: DaemonName): ProcessId | undefined {
  return readPidFile(paths.pidFile(name));
}

/** Starts a daemon; it outlives this process. */
export function startDaemon(paths: ClusterPaths, name: DaemonName): StartedDaemon {
  const output = openSync(paths.outputFile(name), "w", 0o600);
  try {
    const args = [...nodeFlags, program, ...argumentsOf(name, paths.dir)];
    const child = spawn(process.execPath, args, {
      detached: true,
      stdio: ["ignore", output, output],
      cwd: "/",
    });
    let exit: string | undefined;
    child.on("exit", (code, signal) => {
      exit = signal === null ? `exit code ${code}` : `signal ${signal}`;
    });
    child.on("error", (error) => {
      exit = error.message;
    });
    child.unref();
    return { name, pid: child.pid ?? 0, exit: () => exit };
  } finally {
    closeSync(output);
  }
}

/** Kills a daemon of this call that has no pid file yet: it holds nothing. */
export function killStarted({ pid, exit }: StartedDaemon): void {
  // Until its end has been seen here the pid is no other process's.
  if (pid !== 0 && exit() === undefined) process.kill(pid, "SIGKILL");
}

/** The newest warning or error in the log of a daemon, as a line of a remedy; [] without one. */
export function lastTrouble(paths: ClusterPaths, name: DaemonName): string[] {
  let text: string;
  try {
    text = readFileSync(paths.logFile(name), "utf8");
  } catch {
    // It has not come so far as to open its log.
    return [];
  }
  for (const line of text.trimEnd().split("\n").reverse()) {
    if (!/^\{"level":"(?:warn|error|fatal)"/.test(line)) continue;
    return [`The last trouble in the log of ${name}: ${line}`];
  }
  return [];
}

/**
 * What a daemon that ended has said, and where its log is.
 * @param keepsLog false: the log goes with the folder, so what it says last is told here
 */
export function daemonFailure(
  paths: ClusterPaths,
  { name, exit }: StartedDaemon,
  keepsLog: boolean,
): StorageError {
  let said = "";
  try {
    said = readFileSync(paths.outputFile(name), "utf8")
      .trim()
      .replace(/^cairn: /, "");
  } catch {
    // The folder may be gone; then there is nothing to tell.
  }
  const [first, ...rest] = said.split("\n").slice(-12);
  const because = first === undefined || first === "" ? (exit() ?? "it is gone") : first;
  const log = keepsLog ? [`Its log: ${paths.logFile(name)}`] : lastTrouble(paths, name);
  const remedy = [...rest.map((line) => line.trim()), ...log];
  return new StorageError("io_error", `${name} does not start: ${because}`, {
    remedy: remedy.length === 0 ? undefined : remedy.join("\n"),
  });
}

export interface StopReport {
  stopped: DaemonName[];
  /** did not stop when asked to */
  killed: DaemonName[];
}

/**
 * Stops daemons: SIGTERM, and SIGKILL to those that still run after graceMs.
 * Only processes that their pid files name exactly are signalled.
 */
export async function stopDaemons(
  paths: ClusterPaths,
  names: readonly DaemonName[],
  graceMs: number,
): Promise<StopReport> {
  const running = names.flatMap((name) => {
    const process = runningDaemon(paths, name);
    return process === undefined ? [] : [{ name, process }];
  });
  for (const { process } of running) signal(process, "SIGTERM");
  await untilGone(running, graceMs);
  const killed = running.filter(({ process }) => isAlive(process));
  for (const { process } of killed) signal(process, "SIGKILL");
  await untilGone(killed, 5000);
  for (const { name } of running) rmSync(paths.pidFile(name), { force: true });
  return { stopped: running.map(({ name }) => name), killed: killed.map(({ name }) => name) };
}

function signal(target: ProcessId, name: "SIGTERM" | "SIGKILL"): void {
  if (!isAlive(target)) return;
  try {
    process.kill(target.pid, name);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}

async function untilGone(list: readonly { process: ProcessId }[], limitMs: number): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (list.some(({ process }) => isAlive(process)) && performance.now() < deadline) {
    await sleep(pollMs);
  }
}
