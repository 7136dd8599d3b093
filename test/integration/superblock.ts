// The superblock of an OSD's store, changed behind its back: docs/format/object-store.md has the
// offsets.
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { native } from "../../native/index.js";

const blockBytes = 4096;

/** Where both copies of the superblock are. */
function superblocksOf(fd: number): number[] {
  const block = Buffer.alloc(blockBytes);
  readSync(fd, block, 0, blockBytes, 0);
  return [0, Number(block.readBigUInt64LE(88)) - blockBytes];
}

type Blocks = [number, Buffer][];

/** Puts back what damageSuperblocks() returned. */
export function putBlocks(file: string, blocks: Blocks): void {
  const fd = openSync(file, "r+");
  for (const [at, block] of blocks) writeSync(fd, block, 0, blockBytes, at);
  closeSync(fd);
}

/** Flips a bit of both copies. @returns what was there */
export function damageSuperblocks(file: string): Blocks {
  const fd = openSync(file, "r+");
  const blocks = superblocksOf(fd).map((at): [number, Buffer] => {
    const block = Buffer.alloc(blockBytes);
    readSync(fd, block, 0, blockBytes, at);
    return [at, block];
  });
  closeSync(fd);
  const damaged = blocks.map(([at, block]): [number, Buffer] => {
    const copy = Buffer.from(block);
    copy[200] = (copy[200] ?? 0) ^ 1;
    return [at, copy];
  });
  putBlocks(file, damaged);
  return blocks;
}

/**
 * Changes a field of both copies of an OSD's superblock, and makes their checksums right.
 * @returns what was there
 */
export function patchSuperblock(file: string, offset: number, value: number): number {
  const fd = openSync(file, "r+");
  const block = Buffer.alloc(blockBytes);
  const places = superblocksOf(fd);
  readSync(fd, block, 0, blockBytes, 0);
  const before = block.readUInt32LE(offset);
  for (const at of places) {
    readSync(fd, block, 0, blockBytes, at);
    block.writeUInt32LE(value, offset);
    block.writeUInt32LE(0, 8);
    block.writeUInt32LE(native.crc32c(block, 0), 8);
    writeSync(fd, block, 0, blockBytes, at);
  }
  closeSync(fd);
  return before;
}
