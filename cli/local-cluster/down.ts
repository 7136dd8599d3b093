// `cairn down`: stops the daemons of a local cluster, OSDs first (each tells the monitor that it
// goes), and with purge removes the folder.
import { lstatSync, realpathSync, rmSync } from "node:fs";
import path from "node:path";
import { StorageError, toStorageError } from "../../common/errors.js";
import { ClusterPaths, type DaemonName, readClusterFile } from "./cluster-dir.js";
import { type StopReport, stopDaemons } from "./daemons.js";
import { lockFolder } from "./dir-lock.js";

export interface DownOptions {
  dir: string;
  purge: boolean;
  /** a daemon that still runs after this is killed */
  graceMs: number;
}

export interface DownReport extends StopReport {
  dir: string;
  purged: boolean;
}

/** @throws not_found when the folder holds no cluster; busy */
export async function down({ dir, purge, graceMs }: DownOptions): Promise<DownReport> {
  const file = readClusterFile(dir);
  if (file === undefined) {
    throw new StorageError("not_found", `there is no cluster in ${dir}`, {
      remedy: "Name the folder that `cairn up` made with --dir DIR.",
    });
  }
  const paths = new ClusterPaths(dir);
  const unlock = lockFolder(paths);
  try {
    const osds = file.osds.map(({ id }): DaemonName => `osd.${id}`);
    const first = await stopDaemons(paths, osds, graceMs);
    const second = await stopDaemons(paths, ["mon"], graceMs);
    // Its cluster.json has marked the folder as ours.
    if (purge) removeFolder(dir);
    return {
      dir,
      purged: purge,
      stopped: [...first.stopped, ...second.stopped],
      killed: [...first.killed, ...second.killed],
    };
  } finally {
    unlock();
  }
}

/** With all that is in it; of a link the folder that it leads to, and the link. */
function removeFolder(dir: string): void {
  // Behind a slash at its end a link cannot be seen.
  const named = path.resolve(dir);
  try {
    const isLink = lstatSync(named).isSymbolicLink();
    rmSync(realpathSync(named), { recursive: true, force: true });
    if (isLink) rmSync(named, { force: true });
  } catch (thrown) {
    throw toStorageError(thrown, `remove ${dir}`);
  }
}
