// The folder of a local cluster: its layout, and cluster.json, which marks it as ours and names
// what is in it. Mode 0700.
//
//   cluster.json          what there is; state "creating" until the first start has succeeded
//   mon/  osd.0/ osd.1/   data of the daemons
//   log/*.log  run/*.pid  of the daemons
//   lock                  held by `cairn up` and `cairn down`
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { AddressSchema } from "../../common/config.js";
import { StorageError, toStorageError } from "../../common/errors.js";
import { makeFolders } from "../../common/make-folders.js";
import { Checker } from "../../common/schema.js";

const closed = { additionalProperties: false } as const;

export const ClusterFileSchema = Type.Object(
  {
    kind: Type.Literal("cairn-cluster"),
    version: Type.Literal(1),
    /** "creating": the first `cairn up` has not come to its end */
    state: Type.Union([Type.Literal("creating"), Type.Literal("ready")]),
    clusterId: Type.String(),
    /** control protocol; port 0: not chosen yet */
    monitor: AddressSchema,
    http: AddressSchema,
    osds: Type.Array(
      Type.Object({ id: Type.Integer({ minimum: 0 }), sizeBytes: Type.Integer() }, closed),
    ),
  },
  closed,
);
export type ClusterFile = Static<typeof ClusterFileSchema>;

const checker = new Checker(ClusterFileSchema, "cluster.json", "corrupt");

export type DaemonName = "mon" | `osd.${number}`;

/** Paths inside a cluster's folder. */
export class ClusterPaths {
  constructor(readonly dir: string) {}

  get clusterFile(): string {
    return path.join(this.dir, "cluster.json");
  }
  get lockFile(): string {
    return path.join(this.dir, "lock");
  }
  get logDir(): string {
    return path.join(this.dir, "log");
  }
  get runDir(): string {
    return path.join(this.dir, "run");
  }
  dataDir(daemon: DaemonName): string {
    return path.join(this.dir, daemon);
  }
  logFile(daemon: DaemonName): string {
    return path.join(this.logDir, `${daemon}.log`);
  }
  /** what the daemon prints before its log is open, and the trace of a crash */
  outputFile(daemon: DaemonName): string {
    return path.join(this.logDir, `${daemon}.out`);
  }
  pidFile(daemon: DaemonName): string {
    return path.join(this.runDir, `${daemon}.pid`);
  }
}

/** undefined when the folder holds no cluster. @throws corrupt, permission_denied */
export function readClusterFile(dir: string): ClusterFile | undefined {
  const file = new ClusterPaths(dir).clusterFile;
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (thrown) {
    const error = toStorageError(thrown, `read ${file}`);
    const code = (thrown as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
  try {
    return checker.check(JSON.parse(text));
  } catch (cause) {
    throw new StorageError("corrupt", `${file} is damaged: ${toStorageError(cause).message}`, {
      remedy: "Restore it, or remove the folder if the cluster is not needed any more.",
    });
  }
}

/** Written whole or not at all. */
export function writeClusterFile(dir: string, content: ClusterFile): void {
  const file = new ClusterPaths(dir).clusterFile;
  const next = `${file}.new`;
  writeFileSync(next, `${JSON.stringify(content, undefined, 2)}\n`, { mode: 0o600, flush: true });
  renameSync(next, file);
}

/**
 * Makes the folder if it is not there.
 * @returns the first folder that had to be made; undefined: it was there
 * @throws already_exists when it holds something that is no cluster
 */
export function prepareFolder(dir: string): string | undefined {
  let made: string | undefined;
  try {
    made = makeFolders(dir, 0o700);
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code !== "EEXIST" && code !== "ENOTDIR") {
      const error = toStorageError(thrown, `make ${dir}`);
      throw new StorageError(error.code, error.message, {
        remedy: "Choose a folder that can be made with --dir DIR.",
        cause: thrown,
      });
    }
    throw new StorageError("already_exists", `${dir} is no folder`, {
      remedy: "Choose another one with --dir DIR.",
    });
  }
  if (made !== undefined) return made;
  const foreign = readdirSync(dir).filter((name) => !/^lock/.test(name));
  if (foreign.length > 0 && readClusterFile(dir) === undefined) {
    throw new StorageError("already_exists", `${dir} is not empty and holds no cluster`, {
      remedy: "Choose another folder with --dir DIR.",
    });
  }
  return undefined;
}
