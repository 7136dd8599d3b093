// A file of an image as its metadata is read: bounded reads at offsets, and an error that names the
// file. Payload never comes this way.
import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { type ErrorCode, StorageError, toStorageError } from "../common/errors.js";

/** Random access to the bytes of one image file. */
export interface ByteSource {
  /** for messages: the path as the user or the overlay named it */
  readonly name: string;
  readonly sizeBytes: number;
  /** Exactly lengthBytes bytes; the range must lie inside the file. @throws io_error */
  read(offset: number, lengthBytes: number): Promise<Buffer>;
  close(): Promise<void>;
}

/** A file that the native core can read too. */
export interface ImageFile extends ByteSource {
  /** absolute, without symbolic links: equal for two names of one file */
  readonly realPath: string;
  /** valid until close() */
  readonly fd: number;
  /**
   * Where a backing file is that this one names; undefined: where nobody may follow. Absent: it is
   * a local file.
   */
  backingAt?(named: string): string | undefined;
}

/** An error about a file: "FILE: what is wrong". */
export function imageError(
  source: ByteSource | string,
  code: ErrorCode,
  what: string,
  remedy?: string,
): StorageError {
  const name = typeof source === "string" ? source : source.name;
  return new StorageError(code, `${name}: ${what}`, { remedy });
}

/** A file offset as it is written in messages. */
export function hex(offset: number | bigint): string {
  return `0x${offset.toString(16)}`;
}

/** A regular file or block device, read-only. */
export class FileSource implements ImageFile {
  private constructor(
    readonly name: string,
    /** absolute, without symbolic links: equal for two names of one file */
    readonly realPath: string,
    readonly sizeBytes: number,
    private readonly handle: FileHandle,
  ) {}

  /**
   * Opens path for reading.
   * @throws not_found, permission_denied, invalid_argument (a directory, pipe or socket), io_error
   */
  static async open(path: string): Promise<FileSource> {
    let handle: FileHandle | undefined;
    try {
      // Looked at before it is opened: opening a pipe would wait for its other end.
      const realPath = await realpath(path);
      const attributes = await stat(realPath);
      if (!attributes.isFile() && !attributes.isBlockDevice()) {
        throw imageError(path, "invalid_argument", "not a regular file or block device");
      }
      handle = await open(realPath, "r");
      const sizeBytes = attributes.isFile() ? attributes.size : await blockDeviceBytes(handle);
      return new FileSource(path, realPath, sizeBytes, handle);
    } catch (error) {
      await handle?.close();
      throw toStorageError(error, `open ${path}`);
    }
  }

  /** For the native copy jobs; valid until close(). */
  get fd(): number {
    return this.handle.fd;
  }

  async read(offset: number, lengthBytes: number): Promise<Buffer> {
    const into = Buffer.allocUnsafe(lengthBytes);
    let filled = 0;
    while (filled < lengthBytes) {
      const part = await this.handle
        .read(into, filled, lengthBytes - filled, offset + filled)
        .catch((error: unknown) => {
          throw toStorageError(error, `read ${this.name} at offset ${hex(offset + filled)}`);
        });
      if (part.bytesRead === 0) {
        throw imageError(this, "io_error", `the file ends at ${hex(offset + filled)} by now`);
      }
      filled += part.bytesRead;
    }
    return into;
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/**
 * Node has no call for a block device's size. The last byte that can be read tells it: doubling,
 * then halving, at most 106 reads of one byte.
 */
async function blockDeviceBytes(handle: FileHandle): Promise<number> {
  const byte = Buffer.alloc(1);
  const reaches = async (offset: number): Promise<boolean> =>
    (await handle.read(byte, 0, 1, offset)).bytesRead === 1;
  if (!(await reaches(0))) return 0;
  let below = 0;
  let above = 1;
  while (above < Number.MAX_SAFE_INTEGER / 2 && (await reaches(above))) {
    below = above;
    above *= 2;
  }
  while (above - below > 1) {
    const middle = below + Math.floor((above - below) / 2);
    if (await reaches(middle)) below = middle;
    else above = middle;
  }
  return above;
}

/** An image in memory, for tests. */
export class MemorySource implements ByteSource {
  constructor(
    readonly name: string,
    private readonly bytes: Buffer,
  ) {}

  get sizeBytes(): number {
    return this.bytes.length;
  }

  async read(offset: number, lengthBytes: number): Promise<Buffer> {
    if (offset + lengthBytes > this.bytes.length) {
      throw imageError(this, "io_error", `the file ends before ${hex(offset + lengthBytes)}`);
    }
    return this.bytes.subarray(offset, offset + lengthBytes);
  }

  async close(): Promise<void> {}
}
