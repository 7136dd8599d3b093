// What the options of the daemons' verbs say: where a daemon of a local cluster finds its things.
import type { Address, LogConfig, LogLevel } from "../common/config.js";
import { StorageError } from "../common/errors.js";
import { makeFolders } from "../common/make-folders.js";
import {
  type ClusterFile,
  ClusterPaths,
  type DaemonName,
  readClusterFile,
} from "./local-cluster/cluster-dir.js";
import { claimPidFile } from "./local-cluster/processes.js";

export interface DaemonFlags {
  dir: string;
  data?: string;
  listen?: Address;
  logFile?: string;
  logLevel: LogLevel;
}

/** A daemon's place in the folder of a local cluster. */
export interface LocalPlace {
  file: ClusterFile;
  paths: ClusterPaths;
}

/** undefined with --data: the daemon is none of a local cluster. @throws not_found */
export function localPlace(flags: DaemonFlags): LocalPlace | undefined {
  if (flags.data !== undefined) return undefined;
  const file = readClusterFile(flags.dir);
  if (file === undefined) {
    throw new StorageError("not_found", `there is no cluster in ${flags.dir}`, {
      remedy: "Make one with `cairn up`, or name the daemon's own folder with --data PATH.",
    });
  }
  return { file, paths: new ClusterPaths(flags.dir) };
}

/** Where a daemon logs: as told, else into its local cluster's folder, else to standard error. */
export function logConfigOf(
  flags: DaemonFlags,
  place: LocalPlace | undefined,
  daemon: DaemonName,
): LogConfig {
  const file = flags.logFile ?? place?.paths.logFile(daemon) ?? "-";
  return { file, level: flags.logLevel };
}

/** Writes the pid file of a daemon of a local cluster. @returns removes it. @throws busy */
export function claimPlace(place: LocalPlace | undefined, daemon: DaemonName): () => void {
  if (place === undefined) return () => undefined;
  makeFolders(place.paths.runDir, 0o700);
  return claimPidFile(place.paths.pidFile(daemon), daemon);
}
