// Giving back the space of blocks that hold nothing but zeros, with exclusive access to an image
// that nobody uses.
import { StorageError } from "../../common/errors.js";
import type { ImageAccess } from "./access.js";
import { blockBytes } from "./header.js";
import { withWorkDevice } from "./layout.js";

const chunkBytes = 4 << 20;
const dataState = 2;

/** @throws invalid_argument */
export async function sparsify(
  { scope, id, fence, progress }: ImageAccess,
  sparseBytes: number,
): Promise<{ freedBytes: number }> {
  if (!(sparseBytes >= blockBytes && Number.isInteger(Math.log2(sparseBytes)))) {
    throw new StorageError("invalid_argument", `runs of ${sparseBytes} bytes cannot be`, {
      remedy: `Give a power of two from ${blockBytes} on.`,
    });
  }
  const { io } = scope;
  const header = await scope.header(id);
  return withWorkDevice(scope, header, fence, async (device) => {
    const data: [offset: number, lengthBytes: number][] = [];
    await io.diffImage(device, 0, (triples) => {
      for (let at = 0; at + 2 < triples.length; at += 3) {
        const [offset = 0, lengthBytes = 0, state] = triples.subarray(at, at + 3);
        if (state === dataState) data.push([offset, lengthBytes]);
      }
    });
    let freedBytes = 0;
    for (const [offset, lengthBytes] of data) {
      const end = Math.min(offset + lengthBytes, header.sizeBytes);
      for (let at = offset; at < end; at += chunkBytes) {
        const bytes = await io.readDevice(device, at, Math.min(chunkBytes, end - at));
        for (const [begin, length] of zeroRuns(bytes, sparseBytes)) {
          await io.discard(device, at + begin, length);
          freedBytes += length;
        }
        progress(at, header.sizeBytes);
      }
    }
    return { freedBytes };
  });
}

/** Runs of zeros that are aligned to sparseBytes and whole multiples of it. */
export function zeroRuns(
  bytes: Uint8Array,
  sparseBytes: number,
): [offset: number, length: number][] {
  const runs: [number, number][] = [];
  const zeros = new Uint8Array(sparseBytes);
  for (let at = 0; at + sparseBytes <= bytes.length; at += sparseBytes) {
    if (Buffer.compare(bytes.subarray(at, at + sparseBytes), zeros) !== 0) continue;
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === at) last[1] += sparseBytes;
    else runs.push([at, sparseBytes]);
  }
  return runs;
}
