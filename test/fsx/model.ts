// What the image must hold. Every 8 bytes that an operation writes name that operation and their
// own place, so that a wrong byte tells where it came from. Pure.
import { blockBytes, maxSizeBytes } from "./operations.js";

const wordBytes = 8;

/** Words: operation number + 1 in the upper half, place in the lower one; zero: never written. */
export function fill(bytes: Uint8Array, operation: number, offset: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.byteLength; at += wordBytes) {
    view.setUint32(at, (offset + at) / wordBytes, true);
    view.setUint32(at + 4, operation + 1, true);
  }
}

function describeWord(bytes: Uint8Array, at: number): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const place = view.getUint32(at, true) * wordBytes;
  const operation = view.getUint32(at + 4, true);
  if (operation === 0 && place === 0) return "zeros";
  return `bytes that operation ${operation - 1} wrote to ${place}`;
}

export interface Mismatch {
  offset: number;
  text: string;
}

export class ImageModel {
  private readonly bytes = Buffer.alloc(maxSizeBytes);
  constructor(public sizeBytes: number) {}

  /** It becomes what the other one is now. */
  become(other: ImageModel): void {
    other.bytes.copy(this.bytes);
    this.sizeBytes = other.sizeBytes;
  }

  /** The bytes that operation number `operation` writes; the model holds them from now on. */
  write(operation: number, offset: number, lengthBytes: number): Uint8Array {
    const range = this.bytes.subarray(offset, offset + lengthBytes);
    fill(range, operation, offset);
    return Uint8Array.from(range);
  }

  zero(offset: number, lengthBytes: number): void {
    this.bytes.fill(0, offset, offset + lengthBytes);
  }

  /** Whole blocks inside the range read as zeros, the others keep their bytes. */
  discard(offset: number, lengthBytes: number): void {
    const begin = Math.ceil(offset / blockBytes) * blockBytes;
    const end = Math.floor((offset + lengthBytes) / blockBytes) * blockBytes;
    if (begin < end) this.zero(begin, end - begin);
  }

  /** What is cut off is gone: a larger size afterwards shows zeros. */
  resize(sizeBytes: number): void {
    if (sizeBytes < this.sizeBytes) this.zero(sizeBytes, this.sizeBytes - sizeBytes);
    this.sizeBytes = sizeBytes;
  }

  /** A copy of a range, to compare with what a read that starts now will return. */
  expected(offset: number, lengthBytes: number): Buffer {
    return Buffer.from(this.bytes.subarray(offset, offset + lengthBytes));
  }

  isZero(offset: number, lengthBytes: number): boolean {
    const range = this.bytes.subarray(offset, offset + lengthBytes);
    return range.every((byte) => byte === 0);
  }
}

/** The first difference; undefined: equal. */
export function compare(expected: Buffer, found: Uint8Array, offset: number): Mismatch | undefined {
  if (found.byteLength !== expected.byteLength) {
    return { offset, text: `${found.byteLength} bytes instead of ${expected.byteLength}` };
  }
  if (expected.equals(found)) return undefined;
  let at = 0;
  while (expected[at] === found[at]) at += 1;
  const word = at - (at % wordBytes);
  const text = `found ${describeWord(found, word)}, expected ${describeWord(expected, word)}`;
  return { offset: offset + at, text };
}
