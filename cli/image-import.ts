// `cairn import`: what a file or a pipe holds, as a source for client/image/import-image.ts. Names
// and extents only: the native core reads the bytes.
//
// A pipe of raw data is imported while it flows, its size shows at its end. A pipe of anything else
// has to be in a file first (qcow2 needs random access): it is spooled to TMPDIR by cat.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fstatSync } from "node:fs";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  extentsPerBatch,
  type ImageInfo,
  type ImportSource,
  importImage,
} from "../client/index.js";
import { StorageError, toStorageError } from "../common/errors.js";
import type { CopyExtent } from "../native/binding.js";
import { ImageChain, type MapExtent, map, summarize } from "../qcow2/index.js";
import { withCluster } from "./connect.js";
import { imagesOf, nameOf } from "./image-access.js";
import { type LayoutFlags, layoutOf } from "./image-layout.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { startProgress } from "./progress.js";
import type { ImageAddress } from "./spec.js";

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
const headBytes = 512;
const standardInput = "/dev/stdin";

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
  if (file !== "-") return openFile(file, signal);
  // `cairn import - < FILE` is a file all the same.
  if (fstatSync(0).isFile()) return openFile(standardInput, signal);
  return openPipe(signal);
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

async function openPipe(signal: AbortSignal): Promise<OpenSource> {
  const folder = await mkdtemp(path.join(tmpdir(), "cairn-import-"));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const head = path.join(folder, "head");
    await writeFile(head, await readHead(signal));
    if (await isRaw(head)) return await streamedPipe(folder, head, signal, remove);
    const spool = path.join(folder, "spool");
    await runCat([head, "-"], spool, signal);
    const opened = await openFile(spool, signal);
    return {
      source: opened.source,
      close: async () => {
        await opened.close();
        await remove();
      },
    };
  } catch (thrown) {
    await remove();
    throw thrown;
  }
}

/** The first bytes of standard input; the rest stays in the pipe. */
async function readHead(signal: AbortSignal): Promise<Buffer> {
  const head = Buffer.alloc(headBytes);
  const input = await open(standardInput, "r");
  try {
    let filled = 0;
    while (filled < headBytes) {
      if (signal.aborted) throw new StorageError("canceled", "stopped; nothing was imported");
      const { bytesRead } = await input.read(head, filled, headBytes - filled, null);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return head.subarray(0, filled);
  } catch (thrown) {
    throw toStorageError(thrown, "read standard input");
  } finally {
    await input.close();
  }
}

/** @throws invalid_argument (empty), unsupported_feature (a format that is neither) */
async function isRaw(head: string): Promise<boolean> {
  const { FileSource, probe } = await import("../qcow2/index.js");
  if ((await readFile(head)).length === 0) {
    throw new StorageError("invalid_argument", "standard input is empty: there is no image");
  }
  const source = await FileSource.open(head);
  try {
    return (await probe(source)) === "raw";
  } finally {
    await source.close();
  }
}

/** The head and the rest of the pipe, put together again by cat in a named pipe. */
async function streamedPipe(
  folder: string,
  head: string,
  signal: AbortSignal,
  remove: () => Promise<void>,
): Promise<OpenSource> {
  const fifo = path.join(folder, "fifo");
  await run("mkfifo", ["-m", "0600", fifo]);
  const script = 'exec cat -- "$1" - > "$2"';
  const cat = spawn("sh", ["-c", script, "sh", head, fifo], { stdio: ["inherit", "ignore", 2] });
  const stop = () => cat.kill();
  signal.addEventListener("abort", stop, { once: true });
  const input = await open(fifo, "r");
  return {
    source: { kind: "stream", fileDescriptor: input.fd },
    close: async () => {
      signal.removeEventListener("abort", stop);
      cat.kill();
      await input.close();
      await remove();
    },
  };
}

async function runCat(from: string[], to: string, signal: AbortSignal): Promise<void> {
  const output = await open(to, "wx", 0o600);
  try {
    const cat = spawn("cat", from, { stdio: ["inherit", output.fd, 2], signal });
    const [code] = await once(cat, "exit");
    if (code !== 0) throw new StorageError("io_error", `cannot spool standard input to ${to}`);
  } catch (thrown) {
    if (signal.aborted) throw new StorageError("canceled", "stopped; nothing was imported");
    throw thrown;
  } finally {
    await output.close();
  }
}

async function run(command: string, words: string[]): Promise<void> {
  const [code] = await once(spawn(command, words, { stdio: ["ignore", "ignore", 2] }), "exit");
  if (code !== 0) throw new StorageError("io_error", `${command} failed (exit code ${code})`);
}
