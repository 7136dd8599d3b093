// A file of a web server as an image file: ranges of it are fetched when they are wanted, into a
// sparse file without a name, which the native core reads.
//
// Invariant: all bytes are of one version of the file: every answer has the size and the mark (an
// ETag, or else the time of the last change) that the first one had.
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { StorageError, toStorageError } from "../../common/errors.js";
import { hex, type ImageFile, imageError } from "../../qcow2/index.js";

export const httpChunkBytes = 256 << 10;
const attempts = 4;
const firstPauseMs = 250;
const timeoutMs = 30_000;

interface Version {
  sizeBytes: number;
  mark: string;
}

type Answer = { version: Version; bytes: Buffer };

export class HttpFile implements ImageFile {
  private readonly chunks = new Map<number, Promise<void>>();

  private constructor(
    readonly name: string,
    private readonly version: Version,
    private readonly cache: FileHandle,
  ) {}

  /**
   * @throws unsupported_feature when the server answers no ranges; not_found, permission_denied,
   *   io_error
   */
  static async open(url: string): Promise<HttpFile> {
    const { version } = await fetchRange(url, 0, 1, undefined);
    const folder = await mkdtemp(path.join(tmpdir(), "cairn-http-"));
    try {
      const cache = await open(path.join(folder, "cache"), "wx+", 0o600);
      await cache.truncate(version.sizeBytes);
      return new HttpFile(url, version, cache);
    } catch (thrown) {
      throw toStorageError(thrown, `keep what is fetched of ${url}`);
    } finally {
      // Open, it needs no name: it goes with this process.
      await rm(folder, { recursive: true, force: true });
    }
  }

  get sizeBytes(): number {
    return this.version.sizeBytes;
  }

  get mark(): string {
    return this.version.mark;
  }

  get realPath(): string {
    return this.name;
  }

  get fd(): number {
    return this.cache.fd;
  }

  async read(offset: number, lengthBytes: number): Promise<Buffer> {
    if (offset + lengthBytes > this.sizeBytes) {
      throw imageError(this, "io_error", `the file ends before ${hex(offset + lengthBytes)}`);
    }
    await this.fetch(offset, lengthBytes);
    const into = Buffer.allocUnsafe(lengthBytes);
    await this.cache.read(into, 0, lengthBytes, offset);
    return into;
  }

  /** Afterwards the range is in the file behind fd. Each chunk is fetched once. */
  async fetch(offset: number, lengthBytes: number): Promise<void> {
    const last = Math.ceil((offset + lengthBytes) / httpChunkBytes);
    const waits: Promise<void>[] = [];
    for (let chunk = Math.floor(offset / httpChunkBytes); chunk < last; ) {
      let end = chunk;
      while (end < last && !this.chunks.has(end)) end += 1;
      if (end > chunk) this.begin(chunk, end);
      const under = this.chunks.get(chunk);
      if (under !== undefined) waits.push(under);
      chunk = Math.max(end, chunk + 1);
    }
    await Promise.all(waits);
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.chunks.values());
    await this.cache.close();
  }

  private begin(first: number, end: number): void {
    const offset = first * httpChunkBytes;
    const done = this.load(offset, Math.min(end * httpChunkBytes, this.sizeBytes) - offset);
    for (let chunk = first; chunk < end; ++chunk) this.chunks.set(chunk, done);
    // What has failed may be asked for again.
    done.catch(() => {
      for (let chunk = first; chunk < end; ++chunk) this.chunks.delete(chunk);
    });
  }

  private async load(offset: number, lengthBytes: number): Promise<void> {
    const { bytes } = await fetchRange(this.name, offset, lengthBytes, this.version);
    await this.cache.write(bytes, 0, bytes.length, offset);
  }
}

/** @param pinned the version that the first answer told of */
async function fetchRange(
  url: string,
  offset: number,
  lengthBytes: number,
  pinned: Version | undefined,
): Promise<Answer> {
  for (let attempt = 1; ; ++attempt) {
    try {
      return await fetchOnce(url, offset, lengthBytes, pinned);
    } catch (thrown) {
      if (thrown instanceof StorageError || attempt === attempts) {
        throw thrown instanceof StorageError ? thrown : unreachable(url, thrown);
      }
      await new Promise((resolve) => setTimeout(resolve, firstPauseMs * 2 ** attempt));
    }
  }
}

async function fetchOnce(
  url: string,
  offset: number,
  lengthBytes: number,
  pinned: Version | undefined,
): Promise<Answer> {
  const response = await fetch(url, {
    headers: {
      range: `bytes=${offset}-${offset + lengthBytes - 1}`,
      "accept-encoding": "identity",
    },
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (response.status !== 206) {
    await response.body?.cancel();
    throw refusal(url, response.status);
  }
  const version = versionOf(url, response.headers, offset, lengthBytes);
  if (pinned !== undefined && !isSame(version, pinned)) {
    await response.body?.cancel();
    throw changed(url);
  }
  const bytes = Buffer.from(await response.arrayBuffer());
  if (bytes.length !== lengthBytes) throw new Error(`${bytes.length} bytes of ${lengthBytes} came`);
  return { version, bytes };
}

function versionOf(url: string, headers: Headers, offset: number, lengthBytes: number): Version {
  const range = headers.get("content-range") ?? "";
  const [, first, last, total] = /^bytes ([0-9]+)-([0-9]+)\/([0-9]+)$/.exec(range) ?? [];
  if (Number(first) !== offset || Number(last) !== offset + lengthBytes - 1) {
    throw new StorageError("io_error", `${url}: the server answers another range: "${range}"`);
  }
  const mark = headers.get("etag") ?? headers.get("last-modified");
  if (mark !== null) return { sizeBytes: Number(total), mark };
  throw new StorageError(
    "unsupported_feature",
    `${url}: the server tells neither an ETag nor when the file was changed`,
    { remedy: "Without one of them a change would go unnoticed: download the file first." },
  );
}

const isSame = (a: Version, b: Version) => a.sizeBytes === b.sizeBytes && a.mark === b.mark;

export function changed(name: string): StorageError {
  return new StorageError("corrupt", `${name} is not the file any more that it was`, {
    remedy: "Put the old one back, or begin anew: cairn migration abort, then prepare.",
  });
}

/** What stands in the way and comes again when it is tried again; else an error to try again. */
function refusal(url: string, status: number): Error {
  if (status === 200 || status === 416) {
    const what = status === 200 ? "answers no ranges of files" : "has an empty file there";
    return new StorageError("unsupported_feature", `${url}: the server ${what}`, {
      remedy: "Download the file, and give its path.",
    });
  }
  if (status === 404 || status === 410) {
    return new StorageError("not_found", `${url}: the server has no such file`);
  }
  if (status === 401 || status === 403) {
    return new StorageError("permission_denied", `${url}: the server does not give it to us`);
  }
  if (status < 500) return new StorageError("io_error", `${url}: the server answers ${status}`);
  return new Error(`the server answers ${status}`);
}

function unreachable(url: string, thrown: unknown): StorageError {
  const { message, cause } = thrown as { message?: string; cause?: { message?: string } };
  const why = cause?.message ?? message ?? String(thrown);
  return new StorageError("io_error", `${url} cannot be read: ${why}`, {
    remedy: "When the server answers again, do it again.",
  });
}
