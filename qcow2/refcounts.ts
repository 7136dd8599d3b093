// The refcounts as they are stored in a qcow2 file. Source: qcow2 specification, "Host cluster
// management".
import type { Qcow2Image } from "./image.js";

/** One refcount block as the table names it. */
export interface RefcountBlock {
  /** its index in the refcount table */
  index: number;
  /** in the file; not checked */
  hostOffset: number;
}

/** Clusters whose refcounts one block holds. */
export function refcountsPerBlock(image: Qcow2Image): number {
  return (image.header.clusterBytes * 8) / 2 ** image.header.refcountOrder;
}

/** The blocks that the refcount table names, in order. The table must lie inside the file. */
export async function refcountBlocks(image: Qcow2Image): Promise<RefcountBlock[]> {
  const { refcountTableOffset, refcountTableClusters, clusterBytes } = image.header;
  const lengthBytes = refcountTableClusters * clusterBytes;
  const table = await image.source.read(refcountTableOffset, lengthBytes);
  const blocks: RefcountBlock[] = [];
  for (let index = 0; index < lengthBytes / 8; index++) {
    // Bits 0 to 8 are reserved; a block that is misplaced by them is found misaligned.
    const hostOffset = Number(table.readBigUInt64BE(index * 8));
    if (hostOffset !== 0) blocks.push({ index, hostOffset });
  }
  return blocks;
}

/**
 * A refcount of a block. Widths below a byte count from the least significant bit. Values above
 * 2^53 lose precision, which no comparison with a real count can notice.
 * @param index of the cluster within the block
 */
export function refcountAt(block: Buffer, order: number, index: number): number {
  switch (order) {
    case 6:
      return Number(block.readBigUInt64BE(index * 8));
    case 5:
      return block.readUInt32BE(index * 4);
    case 4:
      return block.readUInt16BE(index * 2);
    case 3:
      return block.readUInt8(index);
    default: {
      const bits = 2 ** order;
      const perByte = 8 / bits;
      const shift = (index % perByte) * bits;
      return (block.readUInt8(Math.floor(index / perByte)) >>> shift) & (2 ** bits - 1);
    }
  }
}
