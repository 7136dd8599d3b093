// The frame in TypeScript, for the control connections: the same bytes as native/core/net/frame.hh
// (docs/protocol/frame.md; both are bound by test/golden/frame). Pure: bytes in, frames out.
//
// FrameDecoder invariants: frames come out in the order of the stream, whatever the chunks; it
// keeps at most one frame of its limits; after an error the stream has no frame boundaries any
// more, so every further call throws the same error.
import { assert, defined } from "../common/assert.js";
import { StorageError } from "../common/errors.js";
import { type Crc32c, crc32c as plainCrc32c } from "./crc32c.js";

export const frameHeaderBytes = 32;
export const maxMetaBytes = 16 * 1024 * 1024;
export const maxDataBytes = 33 * 1024 * 1024;
const frameVersion = 1;
const magic = 0x314e5243; // "CRN1"

/** Frame type -> its number on the wire. */
export const frameTypes = {
  hello: 1,
  control: 2,
  ping: 3,
  pong: 4,
  op: 5,
  op_reply: 6,
  replicate: 7,
  replicate_ack: 8,
  pull: 9,
  push: 10,
  push_ack: 11,
  lease: 12,
  lease_ack: 13,
  watch_notify: 14,
  watch_notify_ack: 15,
  scrub_request: 18,
  scrub_reply: 19,
  mark_missing: 20,
  mark_missing_ack: 21,
} as const;

export type FrameType = keyof typeof frameTypes;

const typeByNumber = new Map<number, FrameType>(
  (Object.keys(frameTypes) as FrameType[]).map((type) => [frameTypes[type], type]),
);

const noBytes = new Uint8Array(0);

/** meta is a small encoded message, data is payload that is only carried. */
export interface Frame {
  type: FrameType;
  meta: Uint8Array;
  data: Uint8Array;
}

/** A decoded header; lengths in bytes. */
export interface FrameHeader {
  type: FrameType;
  metaLength: number;
  dataLength: number;
  /** 1, 2, 3... per connection and direction. */
  sequence: bigint;
  payloadCrc: number;
}

/** What a decoder accepts. Small until the peer is known. */
export interface FrameLimits {
  maxMetaBytes: number;
  maxDataBytes: number;
}

export const fullLimits: FrameLimits = { maxMetaBytes, maxDataBytes };

function protocolError(message: string): StorageError {
  return new StorageError("protocol_error", message);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * The bytes of a whole frame. The caller keeps meta and data within maxMetaBytes and maxDataBytes
 * (asserted).
 * @param sequence of the connection and direction, from 1
 */
export function encodeFrame(
  type: FrameType,
  sequence: bigint,
  meta: Uint8Array,
  data: Uint8Array = noBytes,
  crc32c: Crc32c = plainCrc32c,
): Uint8Array {
  assert(meta.length <= maxMetaBytes && data.length <= maxDataBytes, "frame within its limits");
  const bytes = new Uint8Array(frameHeaderBytes + meta.length + data.length);
  const view = viewOf(bytes);
  view.setUint32(0, magic, true);
  view.setUint8(4, frameVersion);
  view.setUint8(5, frameTypes[type]);
  view.setUint16(6, 0, true); // flags
  view.setUint32(8, meta.length, true);
  view.setUint32(12, data.length, true);
  view.setBigUint64(16, sequence, true);
  view.setUint32(24, crc32c(data, crc32c(meta, 0)), true);
  view.setUint32(28, crc32c(bytes.subarray(0, 28), 0), true);
  bytes.set(meta, frameHeaderBytes);
  bytes.set(data, frameHeaderBytes + meta.length);
  return bytes;
}

/** The sending direction of one connection: numbers its frames. */
export class FrameEncoder {
  private sequence = 0n;

  constructor(private readonly crc32c: Crc32c = plainCrc32c) {}

  /** As encodeFrame(), with the next sequence. Bytes must leave in the order of the calls. */
  encode(type: FrameType, meta: Uint8Array, data: Uint8Array = noBytes): Uint8Array {
    this.sequence += 1n;
    return encodeFrame(type, this.sequence, meta, data, this.crc32c);
  }
}

/**
 * The header in the first 32 bytes.
 * @throws protocol_error: magic, version, type, flags, lengths or header checksum are wrong
 */
export function decodeHeader(bytes: Uint8Array, crc32c: Crc32c = plainCrc32c): FrameHeader {
  if (bytes.length < frameHeaderBytes) throw protocolError("frame header is cut short");
  const view = viewOf(bytes);
  // Magic and version come first: another version may keep its checksum elsewhere.
  if (view.getUint32(0, true) !== magic) {
    throw protocolError("frame magic is wrong: the peer does not speak Cairn's protocol");
  }
  const version = view.getUint8(4);
  if (version !== frameVersion) {
    throw protocolError(`frame version ${version}, expected ${frameVersion}`);
  }
  if (view.getUint32(28, true) !== crc32c(bytes.subarray(0, 28), 0)) {
    throw protocolError("frame header checksum differs");
  }
  const type = typeByNumber.get(view.getUint8(5));
  if (type === undefined) throw protocolError(`unknown frame type ${view.getUint8(5)}`);
  const flags = view.getUint16(6, true);
  if (flags !== 0) throw protocolError(`unknown frame flags ${flags}`);
  const header: FrameHeader = {
    type,
    metaLength: view.getUint32(8, true),
    dataLength: view.getUint32(12, true),
    sequence: view.getBigUint64(16, true),
    payloadCrc: view.getUint32(24, true),
  };
  checkLengths(header, fullLimits);
  return header;
}

function checkLengths(header: FrameHeader, limits: FrameLimits): void {
  checkLength("meta", header.metaLength, limits.maxMetaBytes);
  checkLength("data", header.dataLength, limits.maxDataBytes);
}

function checkLength(part: string, length: number, limit: number): void {
  if (length <= limit) return;
  throw protocolError(`frame with ${length} bytes of ${part}, at most ${limit} are allowed`);
}

/** @throws protocol_error when the payload checksum differs */
export function checkPayload(
  header: FrameHeader,
  meta: Uint8Array,
  data: Uint8Array,
  crc32c: Crc32c = plainCrc32c,
): void {
  if (crc32c(data, crc32c(meta, 0)) === header.payloadCrc) return;
  throw protocolError("frame payload checksum differs");
}

/** Chunks of a byte stream -> frames. */
export class FrameDecoder {
  private readonly crc32c: Crc32c;
  private limits: FrameLimits;
  private readonly headerBytes = new Uint8Array(frameHeaderBytes);
  private headerFilled = 0;
  private header: FrameHeader | undefined;
  /** Memory of the current payload, unless one chunk holds all of it. */
  private payload: Uint8Array | undefined;
  private payloadFilled = 0;
  private nextSequence = 1n;
  private failure: StorageError | undefined;

  constructor(limits: FrameLimits = fullLimits, crc32c: Crc32c = plainCrc32c) {
    this.limits = limits;
    this.crc32c = crc32c;
  }

  /** Holds from the next header on. */
  setLimits(limits: FrameLimits): void {
    this.limits = limits;
  }

  /**
   * The frames that this chunk completes, one at a time: the caller may change the limits, or stop,
   * between two of them (what it does not take of a chunk is lost). The chunk's memory must not
   * change until its frame is complete; frames may share it.
   * @throws protocol_error: close the connection
   */
  *push(chunk: Uint8Array): Generator<Frame, void, undefined> {
    if (this.failure !== undefined) throw this.failure;
    let rest = chunk;
    while (rest.length > 0) {
      const taken = this.take(rest);
      rest = rest.subarray(taken.length);
      if (taken.frame !== undefined) yield taken.frame;
    }
  }

  /** Takes some bytes: at most to the end of the current header or payload. */
  private take(bytes: Uint8Array): { length: number; frame: Frame | undefined } {
    try {
      return this.header === undefined ? this.takeHeader(bytes) : this.takePayload(bytes);
    } catch (error) {
      this.payload = undefined;
      if (error instanceof StorageError) this.failure = error;
      throw error;
    }
  }

  private takeHeader(bytes: Uint8Array): { length: number; frame: Frame | undefined } {
    const part = bytes.subarray(0, frameHeaderBytes - this.headerFilled);
    this.headerBytes.set(part, this.headerFilled);
    this.headerFilled += part.length;
    if (this.headerFilled < frameHeaderBytes) return { length: part.length, frame: undefined };
    const header = decodeHeader(this.headerBytes, this.crc32c);
    checkLengths(header, this.limits);
    if (header.sequence !== this.nextSequence) {
      throw protocolError(`frame sequence ${header.sequence}, expected ${this.nextSequence}`);
    }
    this.header = header;
    const empty = header.metaLength + header.dataLength === 0;
    return { length: part.length, frame: empty ? this.finish(header, noBytes) : undefined };
  }

  private takePayload(bytes: Uint8Array): { length: number; frame: Frame | undefined } {
    const header = defined(this.header, "the header of the payload");
    const payloadLength = header.metaLength + header.dataLength;
    const part = bytes.subarray(0, payloadLength - this.payloadFilled);
    if (part.length === payloadLength) {
      return { length: part.length, frame: this.finish(header, part) };
    }
    this.payload ??= new Uint8Array(payloadLength);
    this.payload.set(part, this.payloadFilled);
    this.payloadFilled += part.length;
    const complete = this.payloadFilled === payloadLength;
    const frame = complete ? this.finish(header, this.payload) : undefined;
    return { length: part.length, frame };
  }

  private finish(header: FrameHeader, payload: Uint8Array): Frame {
    this.payload = undefined;
    this.payloadFilled = 0;
    this.headerFilled = 0;
    this.header = undefined;
    const meta = payload.subarray(0, header.metaLength);
    const data = payload.subarray(header.metaLength);
    checkPayload(header, meta, data, this.crc32c);
    this.nextSequence += 1n;
    return { type: header.type, meta, data };
  }
}
