// `cairn import`: what a file or a pipe holds, as a source for client/image/import-image.ts. Names
// and extents only: the native core reads the bytes.
import { stat } from "node:fs/promises";
import {
  extentsPerBatch,
  type ImageInfo,
  type ImportSource,
  importImage,
} from "../client/index.js";
import { StorageError } from "../common/errors.js";
import type { CopyExtent } from "../native/binding.js";
import { ImageChain, type MapExtent, map, summarize } from "../qcow2/index.js";
import { withCluster } from "./connect.js";
import { imagesOf, nameOf } from "./image-access.js";
import { type LayoutFlags, layoutOf } from "./image-layout.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { startProgress } from "./progress.js";
import type { ImageAddress } from "./spec.js";
import { isWholeFile, openPipe } from "./standard-input.js";

export type ImportFlags = ClusterOptions &
  ProgressOptions &
  LayoutFlags & { thinOvercommit?: true };

/** A source, and what has to be closed behind it. */
interface OpenSource {
  source: ImportSource;
  close(): Promise<void>;
}

/** Data of one batch at most: the progress moves at least this often. */
const batchBytes = 32 << 20;

/** @throws see importImage, ImageChain.open */
export async function importFile(
  file: string,
  spec: ImageAddress,
  flags: ImportFlags,
  signal: AbortSignal,
): Promise<ImageInfo> {
  const progress = startProgress(`importing ${nameOf(spec)}`, flags.progress);
  try {
    return await withCluster(flags, async (client) => {
      const images = await imagesOf(client, spec);
      const { source, close } = await openSource(file, signal);
      try {
        return await importImage(images, client.io, spec.image, source, {
          overcommit: flags.thinOvercommit === true,
          progress: progress.update,
          signal,
          layout: layoutOf(flags),
        });
      } finally {
        await close();
      }
    });
  } finally {
    progress.end();
  }
}

async function openSource(file: string, signal: AbortSignal): Promise<OpenSource> {
  if (/^https?:\/\//.test(file)) {
    throw new StorageError("invalid_argument", `${file} is no file of this host`, {
      remedy: `Import it live: cairn migration prepare --import-only ${file} POOL/IMAGE`,
    });
  }
  if (file === "-") return openStandardInput(signal);
  if ((await stat(file).catch(() => undefined))?.isFIFO() === true) {
    throw new StorageError("invalid_argument", `${file} is a pipe`, {
      remedy: `Import it as such: cairn import - POOL/IMAGE < ${file}`,
    });
  }
  return openFile(file, signal);
}

/** A pipe of raw data is imported while it flows; its size shows at its end. */
async function openStandardInput(signal: AbortSignal): Promise<OpenSource> {
  // `cairn import - < FILE` is a file all the same.
  if (isWholeFile()) return openFile("/dev/stdin", signal);
  const piped = await openPipe(signal);
  const { close } = piped;
  if (piped.kind === "stream") return { source: piped, close };
  try {
    const opened = await openFile(piped.path, signal);
    return { source: opened.source, close: () => opened.close().finally(close) };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

async function openFile(file: string, signal: AbortSignal): Promise<OpenSource> {
  const chain = await ImageChain.open(file);
  try {
    const only = chain.layers.length === 1 ? chain.layers[0] : undefined;
    const fd = chain.fds[0];
    if (only?.format === "raw" && fd !== undefined) {
      const source = { kind: "raw" as const, sizeBytes: chain.sizeBytes, fileDescriptor: fd };
      return { source, close: () => chain.close() };
    }
    // Reads all tables once, so that a damaged one is found before anything is made.
    const { dataBytes } = await summarize(chain, signal);
    const source: ImportSource = {
      kind: "extents",
      sizeBytes: chain.sizeBytes,
      fileDescriptors: chain.fds,
      extents: batches(map(chain)),
      extentBytes: dataBytes,
    };
    return { source, close: () => chain.close() };
  } catch (thrown) {
    await chain.close();
    throw thrown;
  }
}

/** What a new image needs of a map, in batches: absent and zero parts are zeros there already. */
export async function* batches(extents: AsyncIterable<MapExtent>): AsyncGenerator<CopyExtent[]> {
  let batch: CopyExtent[] = [];
  let bytes = 0;
  for await (const extent of extents) {
    for (const part of partsOf(extent)) {
      batch.push(part);
      bytes += part.lengthBytes;
      if (batch.length < extentsPerBatch && bytes < batchBytes) continue;
      yield batch;
      batch = [];
      bytes = 0;
    }
  }
  if (batch.length > 0) yield batch;
}

function* partsOf(extent: MapExtent): Generator<CopyExtent> {
  if (extent.kind === "zlib" || extent.kind === "zstd") yield extent;
  if (extent.kind !== "data") return;
  const { kind, source, hostOffset, guestOffset, lengthBytes } = extent;
  for (let at = 0; at < lengthBytes; at += batchBytes) {
    yield {
      kind,
      source,
      hostOffset: hostOffset + at,
      guestOffset: guestOffset + at,
      lengthBytes: Math.min(batchBytes, lengthBytes - at),
    };
  }
}
