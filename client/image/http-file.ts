// A file of a web server as an image file: ranges of it are fetched when they are wanted. What the
// native core wants goes into a sparse file without a name, which it reads, and out of which it
// punches what it needs no more; what is read here, the image's tables, is in memory for a while.
//
// Invariant: all bytes are of one version of the file: every answer has the size and the mark (an
// ETag, or else the time of the last change) that the first one had.
//
// Memory: keptChunks chunks. Disk: what the native core keeps.
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { StorageError, toStorageError } from "../../common/errors.js";
import { hex, type ImageFile, imageError } from "../../qcow2/index.js";

export const httpChunkBytes = 256 << 10;
const keptChunks = 64;
/** Asked for to learn the size: of a single byte some servers send the whole file. */
const firstBytes = 512;
const attempts = 4;
const firstPauseMs = 250;
const timeoutMs = 30_000;

interface Version {
  sizeBytes: number;
  mark: string;
}

type Answer = { version: Version; bytes: Buffer };

export class HttpFile implements ImageFile {
  /** the most recently used one last */
  private readonly chunks = new Map<number, Promise<Buffer>>();
  private readonly loading = new Set<Promise<void>>();

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
    const { version } = await fetchRange(url, 0, firstBytes, undefined);
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

  /**
   * A backing file next to it, or elsewhere on its server: an image of somebody else's names
   * neither files of this host nor other servers.
   */
  backingAt(named: string): string | undefined {
    if (named.startsWith("/") || !URL.canParse(named, this.name)) return undefined;
    const [url, own] = [new URL(named, this.name), new URL(this.name)];
    return url.origin === own.origin ? url.href : undefined;
  }

  async read(offset: number, lengthBytes: number): Promise<Buffer> {
    if (offset + lengthBytes > this.sizeBytes) {
      throw imageError(this, "io_error", `the file ends before ${hex(offset + lengthBytes)}`);
    }
    const first = Math.floor(offset / httpChunkBytes);
    const count = Math.ceil((offset + lengthBytes) / httpChunkBytes) - first;
    const chunks = await Promise.all(
      Array.from({ length: count }, (_, index) => this.chunk(first + index)),
    );
    const begin = offset - first * httpChunkBytes;
    return Buffer.concat(chunks).subarray(begin, begin + lengthBytes);
  }

  /** Afterwards the range is in the file behind fd. Each call fetches it. */
  async fetch(offset: number, lengthBytes: number): Promise<void> {
    const done = this.load(offset, lengthBytes);
    this.loading.add(done);
    try {
      await done;
    } finally {
      this.loading.delete(done);
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.loading]);
    await this.cache.close();
  }

  private chunk(number: number): Promise<Buffer> {
    const offset = number * httpChunkBytes;
    const found =
      this.chunks.get(number) ??
      this.bytes(offset, Math.min(httpChunkBytes, this.sizeBytes - offset));
    this.chunks.delete(number);
    this.chunks.set(number, found);
    // What has failed may be asked for again.
    found.catch(() => {
      if (this.chunks.get(number) === found) this.chunks.delete(number);
    });
    const [oldest] = this.chunks.keys();
    if (this.chunks.size > keptChunks && oldest !== undefined) this.chunks.delete(oldest);
    return found;
  }

  private async load(offset: number, lengthBytes: number): Promise<void> {
    const bytes = await this.bytes(offset, lengthBytes);
    await this.cache.write(bytes, 0, bytes.length, offset);
  }

  private async bytes(offset: number, lengthBytes: number): Promise<Buffer> {
    return (await fetchRange(this.name, offset, lengthBytes, this.version)).bytes;
  }
}

/**
 * Less than asked for only where the file ends.
 * @param pinned the version that the first answer told of
 */
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
  const wanted = Math.min(lengthBytes, version.sizeBytes - offset);
  if (bytes.length !== wanted) throw new Error(`${bytes.length} bytes of ${wanted} came`);
  return { version, bytes };
}

function versionOf(url: string, headers: Headers, offset: number, lengthBytes: number): Version {
  const range = headers.get("content-range") ?? "";
  const [, first, last, total] = /^bytes ([0-9]+)-([0-9]+)\/([0-9]+)$/.exec(range) ?? [];
  const end = Math.min(offset + lengthBytes, Number(total));
  if (Number(first) !== offset || Number(last) !== end - 1) {
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
