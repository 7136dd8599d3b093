// Image files as where an image comes from: what they are when a migration is prepared, and a
// read-only native device over them, which is the parent of the target until that has everything.
import { stat } from "node:fs/promises";
import { StorageError, toStorageError } from "../../common/errors.js";
import type { CopyExtent, DeviceHandle } from "../../native/binding.js";
import { FileSource, hasData, ImageChain, map } from "../../qcow2/index.js";
import { changed, HttpFile, httpChunkBytes } from "./http-file.js";
import type { FileOrigin, MigrationTarget, SourceFile } from "./migration-record.js";
import type { Scope } from "./scope.js";

/** Where an image is to come from, as its user names it. */
export interface OriginSpec {
  stream: "file" | "http";
  /** absolute path, or URL */
  location: string;
  /** undefined: found by content */
  format?: "raw" | "qcow2" | undefined;
  /** id or name of an internal snapshot of a qcow2 file */
  snapshot?: string | undefined;
}

interface OpenOrigin {
  chain: ImageChain;
  files: SourceFile[];
}

/** @throws not_found, permission_denied, unsupported_feature, corrupt, invalid_argument */
export async function describeOrigin(
  spec: OriginSpec,
): Promise<{ origin: FileOrigin; sizeBytes: number }> {
  const { chain, files } = await openFiles(spec);
  try {
    const [top] = chain.layers;
    // Reads all tables once, so that a damaged one is found before anything is made.
    await extentsOf(chain);
    const format = top?.format ?? "raw";
    return {
      origin: {
        ...{ kind: "file", stream: spec.stream, format, files },
        ...(chain.snapshotId === undefined ? {} : { snapshot: chain.snapshotId }),
      },
      sizeBytes: chain.sizeBytes,
    };
  } finally {
    await chain.close();
  }
}

/**
 * @throws as describeOrigin(); corrupt when a file is not what it was
 */
export async function openOrigin(scope: Scope, { source }: MigrationTarget): Promise<DeviceHandle> {
  if (source.kind !== "file") {
    throw new StorageError("not_found", "the image that this one is made of is gone");
  }
  const { stream, format, files, snapshot } = source;
  const location = files[0]?.name ?? "";
  const { chain, files: now } = await openFiles({ stream, format, location, snapshot });
  let kept = false;
  try {
    requireSame(files, now);
    const extents = await extentsOf(chain);
    const layout = { fds: chain.fds, extents, sizeBytes: chain.sizeBytes };
    if (stream === "file") return scope.io.openSource(layout);
    kept = true;
    return openRemote(scope, chain, layout);
  } finally {
    // The core has descriptors of its own; what is fetched needs the file.
    if (!kept) await chain.close();
  }
}

function openRemote(
  scope: Scope,
  chain: ImageChain,
  layout: { fds: number[]; extents: CopyExtent[]; sizeBytes: number },
): DeviceHandle {
  const { io, cluster } = scope;
  const files = chain.layers.map(({ source }) => source as HttpFile);
  const fileBytes = files.map(({ sizeBytes }) => sizeBytes);
  const maxKeptBytes = cluster.httpCacheBytes;
  const remote = { chunkBytes: httpChunkBytes, maxKeptBytes, fileBytes };
  const device = io.openSource({ ...layout, remote });
  const stop = cluster.onEvent((event) => {
    if (event.type === "sourceClosed" && event.device === device) {
      stop();
      void chain.close();
    }
    if (event.type !== "sourceWanted" || event.device !== device) return;
    const { source, offset, lengthBytes } = event;
    const file = files[source];
    if (file === undefined) return;
    file.fetch(offset, lengthBytes).then(
      () => io.sourceFetched(device, source, offset, lengthBytes),
      (thrown: unknown) => {
        const { message } = toStorageError(thrown);
        io.sourceFetched(device, source, offset, lengthBytes, message);
      },
    );
  });
  return device;
}

async function openFiles({ stream, location, format, snapshot }: OriginSpec): Promise<OpenOrigin> {
  const files: SourceFile[] = [];
  const openLocal = async (name: string) => {
    const file = await FileSource.open(name);
    const { mtimeMs, isFile } = await marksOf(file.realPath);
    // A block device's node is no sign of its content.
    files.push({ name, sizeBytes: file.sizeBytes, mark: isFile ? String(mtimeMs) : "" });
    return file;
  };
  const openRemoteFile = async (name: string) => {
    const file = await HttpFile.open(name);
    files.push({ name, sizeBytes: file.sizeBytes, mark: file.mark });
    return file;
  };
  const chain = await ImageChain.open(
    location,
    format,
    stream === "file" ? openLocal : openRemoteFile,
    snapshot,
  );
  return { chain, files };
}

async function marksOf(file: string): Promise<{ mtimeMs: number; isFile: boolean }> {
  const attributes = await stat(file);
  return { mtimeMs: attributes.mtimeMs, isFile: attributes.isFile() };
}

function requireSame(before: readonly SourceFile[], now: readonly SourceFile[]): void {
  for (const [index, { name, sizeBytes, mark }] of before.entries()) {
    const found = now[index];
    if (found?.sizeBytes !== sizeBytes || found.mark !== mark) throw changed(name);
  }
  if (now.length !== before.length) throw changed(before[0]?.name ?? "the image file");
}

/** Of all data, in guest order. */
async function extentsOf(chain: ImageChain): Promise<CopyExtent[]> {
  const extents: CopyExtent[] = [];
  for await (const extent of map(chain)) if (hasData(extent)) extents.push(extent as CopyExtent);
  return extents;
}
