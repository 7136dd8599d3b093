// Processes of this machine as /proc shows them, and the pid files that name ours.
//
// A pid alone can be another process's by now. A pid file therefore holds the pid and the start
// time (clock ticks since boot, /proc/PID/stat field 22): together they name one process.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { StorageError } from "../../common/errors.js";

export interface ProcessId {
  pid: number;
  /** clock ticks since boot */
  startTicks: number;
}

/**
 * Fields of /proc/PID/stat from the state on: [0] is proc(5)'s field 3. The name before it, in
 * parentheses, may hold anything. undefined: no such process
 */
function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

/** The living process of that pid; undefined: none, or a zombie. */
export function findProcess(pid: number): ProcessId | undefined {
  const fields = statFields(pid);
  if (fields === undefined || fields[0] === "Z" || fields[0] === "X") return undefined;
  return { pid, startTicks: Number(fields[19]) };
}

export function isAlive(process: ProcessId): boolean {
  return findProcess(process.pid)?.startTicks === process.startTicks;
}

/** The living process that a pid file names; undefined: no file, or the process is gone. */
export function readPidFile(file: string): ProcessId | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
  const [pid, startTicks] = text.trim().split(" ").map(Number);
  if (pid === undefined || startTicks === undefined) return undefined;
  const named = { pid, startTicks };
  return isAlive(named) ? named : undefined;
}

/**
 * Writes the pid file of this process.
 * @returns removes it
 * @throws busy when it names another living process
 */
export function claimPidFile(file: string, what: string): () => void {
  const other = readPidFile(file);
  if (other !== undefined && other.pid !== process.pid) {
    throw new StorageError("busy", `${what} runs already, as process ${other.pid}`, {
      remedy: "Stop it first (`cairn down` stops all daemons of a local cluster).",
    });
  }
  const self = findProcess(process.pid);
  writeFileSync(file, `${process.pid} ${self?.startTicks ?? 0}\n`, { mode: 0o600 });
  return () => rmSync(file, { force: true });
}

/** Resident memory in bytes; undefined when it is gone. */
export function residentBytes(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/status`, "utf8");
    const match = /^VmRSS:\s+([0-9]+) kB$/m.exec(text);
    return match === null ? undefined : Number(match[1]) * 1024;
  } catch {
    return undefined;
  }
}
