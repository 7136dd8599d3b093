// The lock of a cluster's folder: one `cairn up` or `cairn down` at a time. A file that names its
// holder (pid and start time); the lock of a process that died is taken over.
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { StorageError, toStorageError } from "../../common/errors.js";
import type { ClusterPaths } from "./cluster-dir.js";
import { findProcess, readPidFile } from "./processes.js";

/**
 * @returns releases the lock
 * @throws busy, permission_denied
 */
export function lockFolder(paths: ClusterPaths): () => void {
  const own = `${paths.lockFile}.${process.pid}`;
  const content = `${process.pid} ${findProcess(process.pid)?.startTicks ?? 0}\n`;
  try {
    writeFileSync(own, content, { mode: 0o600 });
    // link() makes the lock with its content in one step, or fails because it is there.
    if (!tryLink(own, paths.lockFile)) {
      const holder = readPidFile(paths.lockFile);
      if (holder !== undefined) throw busy(paths.dir, holder.pid);
      removeStale(paths.lockFile, own);
      if (!tryLink(own, paths.lockFile)) throw busy(paths.dir, undefined);
    }
  } catch (thrown) {
    throw toStorageError(thrown, `lock ${paths.dir}`);
  } finally {
    rmSync(own, { force: true });
  }
  return () => {
    // Not when the folder has been removed and made anew by somebody else meanwhile.
    if (readText(paths.lockFile) === content) rmSync(paths.lockFile, { force: true });
  };
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw thrown;
  }
}

/** Two that find the same stale lock: only one of them can rename it. */
function removeStale(lockFile: string, own: string): void {
  const aside = `${own}.stale`;
  try {
    renameSync(lockFile, aside);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
  }
  rmSync(aside, { force: true });
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function busy(dir: string, pid: number | undefined): StorageError {
  const who = pid === undefined ? "another process" : `process ${pid}`;
  return new StorageError("busy", `${dir} is being started or stopped by ${who}`, {
    remedy: "Wait until it has finished, then try again.",
  });
}
