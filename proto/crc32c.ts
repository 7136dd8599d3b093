// CRC-32C (Castagnoli, RFC 3720 appendix B.4) in plain TypeScript, slice-by-8: eight bytes a step
// through eight tables. For hosts without the native core; daemons pass the native one instead.

/**
 * A CRC-32C function. The native core's and this module's are interchangeable.
 * @param seed checksum of the bytes before these, 0 at the start
 * @returns the checksum as an unsigned 32-bit number
 */
export type Crc32c = (bytes: Uint8Array, seed: number) => number;

const reversedPolynomial = 0x82f63b78;
const tableSize = 256;
const sliceBytes = 8;

/** Table s at [s * 256, (s + 1) * 256): the effect of a byte that s more bytes follow. */
const tables = makeTables();

function makeTables(): Int32Array {
  const made = new Int32Array(tableSize * sliceBytes);
  for (let byte = 0; byte < tableSize; byte++) {
    let state = byte;
    for (let bit = 0; bit < 8; bit++) {
      state = (state >>> 1) ^ (state & 1 ? reversedPolynomial : 0);
    }
    made[byte] = state;
  }
  for (let index = tableSize; index < made.length; index++) {
    const shorter = made[index - tableSize] ?? 0;
    made[index] = (shorter >>> 8) ^ (made[shorter & 0xff] ?? 0);
  }
  return made;
}

/** The entry of table `slice` for the low byte of `value`. */
function entry(slice: number, value: number): number {
  return tables[slice * tableSize + (value & 0xff)] ?? 0;
}

/** CRC-32C of bytes; crc32c(b, crc32c(a, 0)) is that of a followed by b. */
export const crc32c: Crc32c = (bytes, seed) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let state = ~seed;
  let offset = 0;
  for (; offset + sliceBytes <= bytes.length; offset += sliceBytes) {
    const low = view.getInt32(offset, true) ^ state;
    const high = view.getInt32(offset + 4, true);
    state =
      entry(7, low) ^
      entry(6, low >>> 8) ^
      entry(5, low >>> 16) ^
      entry(4, low >>> 24) ^
      entry(3, high) ^
      entry(2, high >>> 8) ^
      entry(1, high >>> 16) ^
      entry(0, high >>> 24);
  }
  for (; offset < bytes.length; offset++) {
    state = (state >>> 8) ^ entry(0, state ^ view.getUint8(offset));
  }
  return ~state >>> 0;
};
