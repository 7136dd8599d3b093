// The image as a vhost-user-blk disk: build/native/vhost_disk drives the ring, its pipes carry the
// requests (native/test/vhost_disk.cc has their layout).
import { spawn } from "node:child_process";
import { assert } from "../../common/assert.js";
import { ByteReader } from "./byte-reader.js";
import type { ExportedDisk } from "./disk.js";

/** virtio-blk request types. */
const type = { read: 0, write: 1, flush: 4, discard: 11, writeZeroes: 13 };
const flagUnmap = 1;

interface Waiting {
  readBytes: number;
  resolve(data: Buffer): void;
  reject(error: Error): void;
}

export async function connectVhostUserDisk(program: string, socket: string): Promise<ExportedDisk> {
  const child = spawn(program, [socket], { stdio: ["pipe", "pipe", "inherit"] });
  const exited = new Promise<number | null>((resolve) => child.on("exit", resolve));
  const reader = new ByteReader(child.stdout, "vhost_disk");
  const sizeBytes = Number((await reader.take(8)).readBigUInt64LE(0));
  const waiting = new Map<bigint, Waiting>();
  let nextTag = 1n;
  let closing = false;

  async function receive(): Promise<void> {
    while (!closing || waiting.size > 0) {
      const header = await reader.take(16);
      const tag = header.readBigUInt64LE(0);
      const status = header.readUInt32LE(8);
      const request = waiting.get(tag);
      assert(request !== undefined, "a reply to a request");
      waiting.delete(tag);
      if (status !== 0) request.reject(new Error(`virtio-blk status ${status}`));
      else request.resolve(Buffer.from(await reader.take(request.readBytes)));
    }
  }
  receive().catch((error: unknown) => {
    if (!closing) for (const request of waiting.values()) request.reject(error as Error);
  });

  function ask(
    kind: number,
    offset: number,
    lengthBytes: number,
    { flags = 0, data }: { flags?: number; data?: Uint8Array } = {},
  ): Promise<Buffer> {
    const tag = nextTag++;
    const header = Buffer.alloc(32);
    header.writeUInt32LE(kind, 0);
    header.writeUInt32LE(flags, 4);
    header.writeBigUInt64LE(tag, 8);
    header.writeBigUInt64LE(BigInt(offset), 16);
    header.writeBigUInt64LE(BigInt(lengthBytes), 24);
    return new Promise((resolve, reject) => {
      waiting.set(tag, { readBytes: kind === type.read ? lengthBytes : 0, resolve, reject });
      child.stdin.write(header);
      if (data !== undefined) child.stdin.write(data);
    });
  }

  return {
    sizeBytes,
    read: (offset, lengthBytes) => ask(type.read, offset, lengthBytes),
    write: async (offset, bytes) => {
      await ask(type.write, offset, bytes.byteLength, { data: bytes });
    },
    writeZeroes: async (offset, lengthBytes, mayUnmap) => {
      await ask(type.writeZeroes, offset, lengthBytes, { flags: mayUnmap ? flagUnmap : 0 });
    },
    discard: async (offset, lengthBytes) => {
      await ask(type.discard, offset, lengthBytes);
    },
    flush: async () => {
      await ask(type.flush, 0, 0);
    },
    zeroRuns: () => Promise.resolve(undefined),
    close: async () => {
      closing = true;
      child.stdin.end();
      const code = await exited;
      if (code !== 0) throw new Error(`vhost_disk ended with exit code ${code}`);
    },
  };
}
