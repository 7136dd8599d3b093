// The image over NBD: a client of the fixed newstyle handshake with structured replies and
// base:allocation, written from the specification (NetworkBlockDevice, doc/proto.md). Big-endian.
import { createConnection, type Socket } from "node:net";
import { assert } from "../../common/assert.js";
import { ByteReader } from "./byte-reader.js";
import type { ExportedDisk, ZeroRun } from "./disk.js";

const initMagic = 0x4e42444d41474943n;
const optionMagic = 0x49484156454f5054n;
const optionReplyMagic = 0x3e889045565a9n;
const requestMagic = 0x25609513;
const structuredMagic = 0x668e33ef;
const clientFlags = 3; // fixed newstyle, no zeroes
const option = { structuredReply: 8, setMetaContext: 10, go: 7 };
const reply = { ack: 1, info: 3, metaContext: 4 };
const command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, zeroes: 6, status: 7 };
const flagNoHole = 1 << 1;
const chunk = { none: 0, data: 1, hole: 2, status: 5 };
const chunkDone = 1;
const stateZero = 1 << 1;

interface Waiting {
  offset: number;
  data: Buffer;
  runs: ZeroRun[];
  failure: string | undefined;
  resolve(): void;
  reject(error: Error): void;
}

class NbdConnection {
  sizeBytes = 0;
  private readonly reader: ByteReader;
  private readonly waiting = new Map<bigint, Waiting>();
  private nextCookie = 1n;

  constructor(private readonly socket: Socket) {
    this.reader = new ByteReader(socket, "the NBD server");
  }

  async negotiate(name: string): Promise<void> {
    const hello = await this.reader.take(18);
    assert(hello.readBigUInt64BE(0) === initMagic, "NBDMAGIC");
    assert(hello.readBigUInt64BE(8) === optionMagic, "IHAVEOPT");
    const flags = Buffer.alloc(4);
    flags.writeUInt32BE(clientFlags);
    this.socket.write(flags);
    await this.ask(option.structuredReply, Buffer.alloc(0), () => undefined);
    const exportName = lengthPrefixed(name);
    const queries = Buffer.alloc(4);
    queries.writeUInt32BE(1);
    await this.ask(
      option.setMetaContext,
      Buffer.concat([exportName, queries, lengthPrefixed("base:allocation")]),
      (type, body) => {
        assert(type === reply.metaContext, "a meta context");
        assert(body.subarray(4).toString() === "base:allocation", "base:allocation");
      },
    );
    await this.ask(option.go, Buffer.concat([exportName, Buffer.alloc(2)]), (type, body) => {
      if (type === reply.info && body.readUInt16BE(0) === 0) {
        this.sizeBytes = Number(body.readBigUInt64BE(2));
      }
    });
    this.receive().catch((error: unknown) => {
      for (const request of this.waiting.values()) request.reject(error as Error);
    });
  }

  /** One option, and its replies up to the acknowledgement. */
  private async ask(
    code: number,
    body: Buffer,
    onReply: (type: number, body: Buffer) => void,
  ): Promise<void> {
    const header = Buffer.alloc(16);
    header.writeBigUInt64BE(optionMagic, 0);
    header.writeUInt32BE(code, 8);
    header.writeUInt32BE(body.length, 12);
    this.socket.write(Buffer.concat([header, body]));
    for (;;) {
      const answer = await this.reader.take(20);
      assert(answer.readBigUInt64BE(0) === optionReplyMagic, "an option's reply");
      const type = answer.readUInt32BE(12);
      const text = await this.reader.take(answer.readUInt32BE(16));
      if (type === reply.ack) return;
      if (type > 0x7fffffff) {
        throw new Error(`NBD option ${code} refused: ${type.toString(16)} ${text.toString()}`);
      }
      onReply(type, text);
    }
  }

  request(
    type: number,
    offset: number,
    lengthBytes: number,
    { flags = 0, data }: { flags?: number; data?: Uint8Array } = {},
  ): Promise<{ data: Buffer; runs: ZeroRun[] }> {
    const cookie = this.nextCookie++;
    const header = Buffer.alloc(28);
    header.writeUInt32BE(requestMagic, 0);
    header.writeUInt16BE(flags, 4);
    header.writeUInt16BE(type, 6);
    header.writeBigUInt64BE(cookie, 8);
    header.writeBigUInt64BE(BigInt(offset), 16);
    header.writeUInt32BE(lengthBytes, 24);
    const answered = new Promise<{ data: Buffer; runs: ZeroRun[] }>((resolve, reject) => {
      const waiting: Waiting = {
        offset,
        data: Buffer.alloc(type === command.read ? lengthBytes : 0, 0xee),
        runs: [],
        failure: undefined,
        resolve: () => resolve({ data: waiting.data, runs: waiting.runs }),
        reject,
      };
      this.waiting.set(cookie, waiting);
    });
    this.socket.write(header);
    if (data !== undefined) this.socket.write(data);
    return answered;
  }

  private async receive(): Promise<void> {
    for (;;) {
      const header = await this.reader.take(20);
      assert(header.readUInt32BE(0) === structuredMagic, "a structured reply");
      const cookie = header.readBigUInt64BE(8);
      const body = await this.reader.take(header.readUInt32BE(16));
      const waiting = this.waiting.get(cookie);
      assert(waiting !== undefined, "a reply to a request");
      this.takeChunk(waiting, header.readUInt16BE(6), body);
      if ((header.readUInt16BE(4) & chunkDone) === 0) continue;
      this.waiting.delete(cookie);
      if (waiting.failure === undefined) waiting.resolve();
      else waiting.reject(new Error(waiting.failure));
    }
  }

  private takeChunk(waiting: Waiting, type: number, body: Buffer): void {
    if (type === chunk.none) return;
    if (type === chunk.data) {
      body.copy(waiting.data, Number(body.readBigUInt64BE(0)) - waiting.offset, 8);
    } else if (type === chunk.hole) {
      const begin = Number(body.readBigUInt64BE(0)) - waiting.offset;
      waiting.data.fill(0, begin, begin + body.readUInt32BE(8));
    } else if (type === chunk.status) {
      let offset = waiting.offset;
      for (let at = 4; at < body.length; at += 8) {
        const lengthBytes = body.readUInt32BE(at);
        const isZero = (body.readUInt32BE(at + 4) & stateZero) !== 0;
        if (isZero) waiting.runs.push({ offset, lengthBytes });
        offset += lengthBytes;
      }
    } else {
      waiting.failure = `NBD error ${body.readUInt32BE(0)}: ${body.subarray(6).toString()}`;
    }
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.socket.on("close", () => resolve()));
    const header = Buffer.alloc(28);
    header.writeUInt32BE(requestMagic, 0);
    header.writeUInt16BE(command.disconnect, 6);
    this.socket.end(header);
    await closed;
  }
}

function lengthPrefixed(text: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(text));
  return Buffer.concat([length, Buffer.from(text)]);
}

/** @param path unix socket of the server */
export async function connectNbdDisk(path: string, name: string): Promise<ExportedDisk> {
  const socket = createConnection({ path });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  const nbd = new NbdConnection(socket);
  await nbd.negotiate(name);
  return {
    sizeBytes: nbd.sizeBytes,
    read: async (offset, lengthBytes) =>
      (await nbd.request(command.read, offset, lengthBytes)).data,
    write: async (offset, bytes) => {
      await nbd.request(command.write, offset, bytes.byteLength, { data: bytes });
    },
    writeZeroes: async (offset, lengthBytes, mayUnmap) => {
      await nbd.request(command.zeroes, offset, lengthBytes, { flags: mayUnmap ? 0 : flagNoHole });
    },
    discard: async (offset, lengthBytes) => {
      await nbd.request(command.trim, offset, lengthBytes);
    },
    flush: async () => {
      await nbd.request(command.flush, 0, 0);
    },
    zeroRuns: async (offset, lengthBytes) =>
      (await nbd.request(command.status, offset, lengthBytes)).runs,
    close: () => nbd.close(),
  };
}
