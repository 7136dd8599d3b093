// createQcow2(): writes an empty qcow2 image, version 3. Layout: header, refcount table, refcount
// blocks, L1 table. Source: qcow2 specification; checked by qemu-img check.
import { open, unlink } from "node:fs/promises";
import { StorageError, toStorageError } from "../common/errors.js";
import { extensionType, maxClusterBits, maxL1Bytes, minClusterBits, qcow2Magic } from "./header.js";

export interface CreateOptions {
  /** of the guest's disk, a multiple of 512 */
  sizeBytes: number;
  /** a power of two from 512 to 2 MiB; default 64 KiB */
  clusterBytes?: number;
  /** relative names are relative to the new image's folder */
  backingFile?: string;
  backingFormat?: "raw" | "qcow2";
}

const headerBytes = 112;
const refcountBytes = 2;
const refcountOrder = 4;

interface Layout {
  clusterBits: number;
  clusterBytes: number;
  l1Entries: number;
  tableClusters: number;
  blockClusters: number;
  totalClusters: number;
}

/**
 * Creates path.
 * @throws already_exists, invalid_argument (size or cluster size), too_large (the L1 table would be
 *   larger than 32 MiB), no_space, io_error; nothing is left behind then
 */
export async function createQcow2(path: string, options: CreateOptions): Promise<void> {
  const bytes = encodeEmptyQcow2(options);
  const handle = await open(path, "wx", 0o600).catch((error: unknown) => {
    throw toStorageError(error, `create ${path}`);
  });
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } catch (error) {
    await unlink(path);
    throw toStorageError(error, `write ${path}`);
  } finally {
    await handle.close();
  }
}

/**
 * The whole file. Pure. Its length is mostly that of the L1 table: 8 bytes for 512 MiB of disk with
 * clusters of 64 KiB.
 * @throws as createQcow2()
 */
export function encodeEmptyQcow2(options: CreateOptions): Buffer {
  const layout = layOut(options);
  const { clusterBytes, tableClusters, blockClusters, totalClusters, l1Entries } = layout;
  const blocksOffset = (1 + tableClusters) * clusterBytes;
  const l1Offset = blocksOffset + blockClusters * clusterBytes;
  const file = Buffer.alloc(totalClusters * clusterBytes);

  file.writeUInt32BE(qcow2Magic, 0);
  file.writeUInt32BE(3, 4);
  file.writeUInt32BE(layout.clusterBits, 20);
  file.writeBigUInt64BE(BigInt(options.sizeBytes), 24);
  file.writeUInt32BE(l1Entries, 36);
  file.writeBigUInt64BE(BigInt(l1Offset), 40);
  file.writeBigUInt64BE(BigInt(clusterBytes), 48);
  file.writeUInt32BE(tableClusters, 56);
  file.writeUInt32BE(refcountOrder, 96);
  file.writeUInt32BE(headerBytes, 100);
  writeBackingFile(file, options, clusterBytes);
  for (let index = 0; index < blockClusters; index++) {
    file.writeBigUInt64BE(BigInt(blocksOffset + index * clusterBytes), clusterBytes + index * 8);
  }
  for (let cluster = 0; cluster < totalClusters; cluster++) {
    file.writeUInt16BE(1, blocksOffset + cluster * refcountBytes);
  }
  return file;
}

function layOut({ sizeBytes, clusterBytes = 65_536 }: CreateOptions): Layout {
  const clusterBits = Math.log2(clusterBytes);
  const allowed = clusterBits >= minClusterBits && clusterBits <= maxClusterBits;
  if (!Number.isInteger(clusterBits) || !allowed) {
    throw new StorageError("invalid_argument", `a cluster can not have ${clusterBytes} bytes`, {
      remedy: "Use a power of two from 512 to 2097152.",
    });
  }
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) {
    throw new StorageError("invalid_argument", `a disk can not have ${sizeBytes} bytes`);
  }
  const l1Entries = Math.ceil(sizeBytes / (clusterBytes * (clusterBytes / 8)));
  if (l1Entries * 8 > maxL1Bytes) {
    throw new StorageError("too_large", `${sizeBytes} bytes need more than 32 MiB of L1 table`, {
      remedy: "Use larger clusters.",
    });
  }
  const l1Clusters = Math.ceil((l1Entries * 8) / clusterBytes);
  // The blocks count themselves and their table, so that both grow until they fit.
  let blockClusters = 1;
  let tableClusters = 1;
  const total = () => 1 + tableClusters + blockClusters + l1Clusters;
  for (;;) {
    const blocks = Math.ceil((total() * refcountBytes) / clusterBytes);
    const tables = Math.ceil((blocks * 8) / clusterBytes);
    if (blocks <= blockClusters && tables <= tableClusters) break;
    blockClusters = blocks;
    tableClusters = tables;
  }
  const totalClusters = total();
  return { clusterBits, clusterBytes, l1Entries, tableClusters, blockClusters, totalClusters };
}

/** The format extension, the end mark, and behind it the name. */
function writeBackingFile(file: Buffer, options: CreateOptions, clusterBytes: number): void {
  let position = headerBytes;
  const format = Buffer.from(options.backingFormat ?? "");
  const name = Buffer.from(options.backingFile ?? "");
  if (format.length > 0) {
    file.writeUInt32BE(extensionType.backingFormat, position);
    file.writeUInt32BE(format.length, position + 4);
    format.copy(file, position + 8);
    position += 8 + Math.ceil(format.length / 8) * 8;
  }
  position += 8;
  if (name.length === 0) return;
  if (name.length > 1023 || position + name.length > clusterBytes) {
    throw new StorageError("invalid_argument", "the backing file's name is too long");
  }
  file.writeBigUInt64BE(BigInt(position), 8);
  file.writeUInt32BE(name.length, 16);
  name.copy(file, position);
}
