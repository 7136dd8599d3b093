// Where known blocks lie in the store of an OSD that is down.
import { type FileHandle, open } from "node:fs/promises";

const blockBytes = 4096;
const chunkBytes = 1 << 20;
const keyBytes = 16;
const zeros = Buffer.alloc(chunkBytes);

interface Range {
  offset: number;
  lengthBytes: number;
}

/**
 * @param blocks of 4 KiB, each unlike all others in its first 16 bytes
 * @param range of the store; default: all of it
 * @returns the offset of the last place where each is; -1: nowhere
 */
export async function placesOf(
  file: FileHandle,
  blocks: readonly Buffer[],
  { offset: begin, lengthBytes }: Range = { offset: 0, lengthBytes: Number.POSITIVE_INFINITY },
): Promise<number[]> {
  const wanted = new Map(blocks.map((block, at) => [block.toString("hex", 0, keyBytes), at]));
  const places: number[] = Array(blocks.length).fill(-1);
  const chunk = Buffer.alloc(chunkBytes);
  const end = Math.min(begin + lengthBytes, (await file.stat()).size);
  for (let offset = begin; offset < end; offset += chunkBytes) {
    const { bytesRead } = await file.read(chunk, 0, chunkBytes, offset);
    if (chunk.equals(zeros)) continue;
    for (let at = 0; at < bytesRead; at += blockBytes) {
      const index = wanted.get(chunk.toString("hex", at, at + keyBytes));
      if (index === undefined || !blocks[index]?.equals(chunk.subarray(at, at + blockBytes)))
        continue;
      // The data lies behind the log, so the last one is the one that counts.
      places[index] = offset + at;
    }
  }
  return places;
}

/** Flips one bit of the byte at each offset. */
export async function flipBits(store: string, offsets: readonly number[]): Promise<void> {
  const file = await open(store, "r+");
  try {
    const byte = Buffer.alloc(1);
    for (const offset of offsets) {
      await file.read(byte, 0, 1, offset);
      byte.writeUInt8(byte.readUInt8(0) ^ 0x10, 0);
      await file.write(byte, 0, 1, offset);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}
