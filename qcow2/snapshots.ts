// The internal snapshots of a qcow2 file: the table that lists them. Source: qcow2 specification,
// "Snapshots".
import type { Qcow2Image } from "./image.js";
import { type ByteSource, hex, imageError } from "./source.js";

export interface Snapshot {
  id: string;
  name: string;
  /** when it was taken, in milliseconds since the epoch */
  takenMs: number;
  /** how long the guest had run then, in nanoseconds */
  vmClockNs: bigint;
  /** of the saved machine; 0: only the disk */
  vmStateBytes: bigint;
  /** of the disk then; undefined: not recorded (version 2) */
  diskSizeBytes: bigint | undefined;
  l1Offset: number;
  l1Entries: number;
}

const fixedBytes = 40;
/** QEMU's limit. */
const maxExtraBytes = 1024;

/** The snapshots, and how many bytes their table has. */
export interface SnapshotTable {
  snapshots: Snapshot[];
  lengthBytes: number;
}

/**
 * Lists the snapshots, in the order of the table.
 * @throws corrupt when the table does not lie inside the file
 */
export async function readSnapshots(image: Qcow2Image): Promise<Snapshot[]> {
  return (await readSnapshotTable(image)).snapshots;
}

/**
 * The disk as a snapshot has it.
 * @param wanted its id, or its name: an id comes first, as in QEMU
 * @throws not_found; corrupt, too_large (a disk that can't be)
 */
export async function openSnapshot(
  image: Qcow2Image,
  wanted: string,
): Promise<{ image: Qcow2Image; id: string }> {
  const snapshots = await readSnapshots(image);
  const found =
    snapshots.find(({ id }) => id === wanted) ?? snapshots.find(({ name }) => name === wanted);
  if (found === undefined) {
    const what = `it has no snapshot with the name or id ${JSON.stringify(wanted)}`;
    throw imageError(image.source, "not_found", what, "qemu-img snapshot -l lists them.");
  }
  const { id, diskSizeBytes = BigInt(image.header.sizeBytes) } = found;
  if (diskSizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw imageError(image.source, "too_large", `the disk of snapshot ${id} is ${diskSizeBytes}`);
  }
  return { image: await image.shown(found, Number(diskSizeBytes)), id };
}

/** @throws as readSnapshots() */
export async function readSnapshotTable(image: Qcow2Image): Promise<SnapshotTable> {
  const { snapshotCount, snapshotsOffset, clusterBytes } = image.header;
  const snapshots: Snapshot[] = [];
  let offset = snapshotsOffset;
  if (snapshotCount > 0 && offset % clusterBytes !== 0) {
    throw imageError(image.source, "corrupt", "the snapshot table is not cluster-aligned");
  }
  for (let index = 0; index < snapshotCount; index++) {
    const { snapshot, lengthBytes } = await readEntry(image.source, offset, index);
    snapshots.push(snapshot);
    offset += lengthBytes;
  }
  return { snapshots, lengthBytes: offset - snapshotsOffset };
}

async function readEntry(
  source: ByteSource,
  offset: number,
  index: number,
): Promise<{ snapshot: Snapshot; lengthBytes: number }> {
  const part = async (at: number, lengthBytes: number): Promise<Buffer> => {
    if (at + lengthBytes > source.sizeBytes) {
      const what = `snapshot ${index} at offset ${hex(offset)} lies beyond the end of the file`;
      throw imageError(source, "corrupt", what);
    }
    return await source.read(at, lengthBytes);
  };
  const fixed = await part(offset, fixedBytes);
  const idBytes = fixed.readUInt16BE(12);
  const nameBytes = fixed.readUInt16BE(14);
  const extraBytes = fixed.readUInt32BE(36);
  const l1Offset = fixed.readBigUInt64BE(0);
  if (extraBytes > maxExtraBytes || l1Offset > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw imageError(source, "corrupt", `snapshot ${index} at offset ${hex(offset)} is damaged`);
  }
  const rest = await part(offset + fixedBytes, extraBytes + idBytes + nameBytes);
  const idEnd = extraBytes + idBytes;
  const snapshot: Snapshot = {
    id: rest.toString("utf8", extraBytes, idEnd),
    name: rest.toString("utf8", idEnd, idEnd + nameBytes),
    takenMs: fixed.readUInt32BE(16) * 1000 + Math.floor(fixed.readUInt32BE(20) / 1e6),
    vmClockNs: fixed.readBigUInt64BE(24),
    vmStateBytes: extraBytes >= 8 ? rest.readBigUInt64BE(0) : BigInt(fixed.readUInt32BE(32)),
    diskSizeBytes: extraBytes >= 16 ? rest.readBigUInt64BE(8) : undefined,
    l1Offset: Number(l1Offset),
    l1Entries: fixed.readUInt32BE(8),
  };
  const entryBytes = fixedBytes + rest.length;
  return { snapshot, lengthBytes: Math.ceil(entryBytes / 8) * 8 };
}
