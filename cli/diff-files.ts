// `cairn export-diff`, `import-diff`, `merge-diff`; `export` and `import` with --export-format 2:
// files and pipes in the formats of rbd. The native core reads and writes their bytes.
import { open } from "node:fs/promises";
import type { ClusterClient, ImageInfo } from "../client/index.js";
import { StorageError, toStorageError } from "../common/errors.js";
import { systemRandom } from "../common/ports.js";
import { withCluster } from "./connect.js";
import { type ImageLayer, imagesOf, nameOf } from "./image-access.js";
import type { ExportResult } from "./image-export.js";
import { type LayoutFlags, layoutOf } from "./image-layout.js";
import { toNewFile } from "./new-file.js";
import type { ClusterOptions, OutputOptions, ProgressOptions } from "./options.js";
import { printResult } from "./output.js";
import { type ProgressReport, startProgress } from "./progress.js";
import { withAbortSignal } from "./signals.js";
import type { ImageAddress, ImageOrSnap } from "./spec.js";

type LongFlags = ClusterOptions & ProgressOptions;

interface ExportDiffFlags extends LongFlags {
  fromSnap?: string;
  wholeObject?: true;
}

interface ImportDiffFlags extends LongFlags {
  thinOvercommit?: true;
}

interface ApplyDiffFlags extends ImportDiffFlags {
  sparseSize: number;
}

const standardInput = 0;
const standardOutput = 1;

export async function exportDiffAction(
  spec: ImageOrSnap,
  file: string,
  flags: ExportDiffFlags,
): Promise<void> {
  const { exportDiff } = await import("../client/index.js");
  const { fromSnap, wholeObject = false } = flags;
  const doing = `exporting ${nameOf(spec)}`;
  const sizeBytes = await withImagesOf(spec, doing, flags, (images, client, shared) =>
    toFile(file, (fd) =>
      exportDiff(images, client.io, spec.image, fd, {
        ...shared,
        ...{ fromSnap, wholeObject, snap: spec.snap },
      }),
    ),
  );
  // Standard output carries the diff then.
  if (file === "-") return;
  const since = fromSnap === undefined ? "" : ` since ${fromSnap}`;
  const result: ExportResult = { file, sizeBytes };
  printResult(flags, result, () => `exported what ${nameOf(spec)} has${since} to ${file}`);
}

export async function importDiffAction(
  file: string,
  spec: ImageAddress,
  flags: ApplyDiffFlags,
): Promise<void> {
  const { importDiff } = await import("../client/index.js");
  const own = { overcommit: flags.thinOvercommit === true, sparseBytes: flags.sparseSize };
  const doing = `importing into ${nameOf(spec)}`;
  const snapshot = await withImagesOf(spec, doing, flags, (images, client, shared) =>
    fromFile(file, (fd) => importDiff(images, client.io, spec.image, fd, { ...shared, ...own })),
  );
  const end = snapshot === undefined ? {} : { snap: snapshot };
  const taken = snapshot === undefined ? "" : ` and took the snapshot ${snapshot}`;
  printResult(flags, { ...spec, ...end }, () => `imported into ${nameOf(spec)}${taken}`);
}

export async function exportSnapshotsFile(
  spec: ImageOrSnap,
  file: string,
  flags: LongFlags,
  signal: AbortSignal,
): Promise<ExportResult> {
  const { exportSnapshots } = await import("../client/index.js");
  if (spec.snap !== undefined) {
    throw new StorageError("invalid_argument", "--export-format 2 has all snapshots of an image", {
      remedy: `Give it without @${spec.snap}, or use \`cairn export-diff\`.`,
    });
  }
  const doing = `exporting ${nameOf(spec)}`;
  return withProgress(spec, doing, flags, signal, async (images, client, shared) => {
    const { sizeBytes } = await images.info(spec.image);
    await toFile(file, (fd) => exportSnapshots(images, client.io, spec.image, fd, shared));
    return { file, sizeBytes };
  });
}

export async function importSnapshotsFile(
  file: string,
  spec: ImageAddress,
  flags: ImportDiffFlags & LayoutFlags,
  signal: AbortSignal,
): Promise<ImageInfo> {
  const { importSnapshots } = await import("../client/index.js");
  const options = { overcommit: flags.thinOvercommit === true, layout: layoutOf(flags) };
  const doing = `importing ${nameOf(spec)}`;
  return withProgress(spec, doing, flags, signal, (images, client, shared) =>
    fromFile(file, (fd) =>
      importSnapshots(images, client.io, spec.image, fd, { ...shared, ...options }),
    ),
  );
}

export async function mergeDiffAction(
  first: string,
  second: string,
  file: string,
  flags: OutputOptions & ProgressOptions,
): Promise<void> {
  if (first === "-" && second === "-") {
    throw new StorageError("invalid_argument", "standard input can be one of the two diffs only");
  }
  const { native } = await import("../native/index.js");
  const progress = startProgress("merging", flags.progress);
  const io = new native.Client({
    clusterId: new Uint8Array(16),
    clientId: systemRandom.uint64() || 1n,
    onEvents: () => undefined,
  });
  try {
    await withAbortSignal(async (signal) => {
      signal.addEventListener("abort", () => io.cancelCopies(), { once: true });
      const merge = (firstFd: number, secondFd: number, fd: number) =>
        io.mergeDiffs(firstFd, secondFd, fd, (done) => progress.update(done, undefined));
      await fromFile(first, (firstFd) =>
        fromFile(second, (secondFd) => toFile(file, (fd) => merge(firstFd, secondFd, fd))),
      );
    });
  } finally {
    progress.end();
    await io.close();
  }
  if (file !== "-") printResult(flags, { file }, () => `merged into ${file}`);
}

interface Shared {
  progress: ProgressReport["update"];
  signal: AbortSignal;
}
type Run<T> = (images: ImageLayer, client: ClusterClient, shared: Shared) => Promise<T>;

function withImagesOf<T>(
  spec: ImageOrSnap,
  doing: string,
  flags: LongFlags,
  run: Run<T>,
): Promise<T> {
  return withAbortSignal((signal) => withProgress(spec, doing, flags, signal, run));
}

async function withProgress<T>(
  spec: ImageOrSnap,
  doing: string,
  flags: LongFlags,
  signal: AbortSignal,
  run: Run<T>,
): Promise<T> {
  const report = startProgress(doing, flags.progress);
  try {
    return await withCluster(flags, async (client) =>
      run(await imagesOf(client, spec), client, { progress: report.update, signal }),
    );
  } finally {
    report.end();
  }
}

async function toFile<T>(file: string, write: (fd: number) => Promise<T>): Promise<T> {
  if (file === "-") return write(standardOutput);
  let result: T | undefined;
  await toNewFile(file, async (output) => {
    result = await write(output.fd);
  });
  return result as T;
}

async function fromFile<T>(file: string, read: (fd: number) => Promise<T>): Promise<T> {
  if (file === "-") return read(standardInput);
  const input = await open(file, "r").catch((thrown: unknown) => {
    throw toStorageError(thrown, `open ${file}`);
  });
  try {
    return await read(input.fd);
  } finally {
    await input.close();
  }
}
