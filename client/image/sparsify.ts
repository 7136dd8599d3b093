// Giving back the space of blocks that hold nothing but zeros. The OSDs do it, object by object,
// and no layer of the image, head or snapshot, shows other bytes afterwards. So it takes no lock,
// and has no snap context: whoever has the image open goes on, and no snapshot gets a clone of an
// object for the sake of its zeros. docs/snapshots.md
import { StorageError } from "../../common/errors.js";
import { blockBytes, type ImageHeader } from "./header.js";
import { layoutOf } from "./layout.js";
import { refuseMigrating, targetRecord } from "./migration-state.js";
import type { Progress, Scope } from "./scope.js";

export interface SparsifyOptions {
  /** a run of zeros that is shorter stays */
  sparseBytes?: number;
  /** in PGs */
  progress?: Progress;
}

/** @throws invalid_argument; busy while the image is migrated */
export async function sparsify(
  scope: Scope,
  id: string,
  { sparseBytes = blockBytes, progress }: SparsifyOptions,
): Promise<{ freedBytes: number }> {
  const header = await scope.header(id);
  checkUnit(sparseBytes, 2 ** header.order);
  await refuseMigrating(scope, header);
  const { io } = scope;
  const device = io.openImage(layoutOf(scope, header));
  try {
    const spec = { unitBytes: sparseBytes, shownBytes: shownBytesOf(header) };
    return { freedBytes: await io.sparsifyImage(device, spec, progress) };
  } finally {
    io.closeDevice(device);
  }
}

function checkUnit(sparseBytes: number, objectBytes: number): void {
  const isPower = Number.isInteger(Math.log2(sparseBytes));
  if (isPower && sparseBytes >= blockBytes && sparseBytes <= objectBytes) return;
  throw new StorageError("invalid_argument", `runs of ${sparseBytes} bytes cannot be`, {
    remedy: `Give a power of two from ${blockBytes} to ${objectBytes}, the size of an object.`,
  });
}

/**
 * How far any layer may show a parent. Overlaps shrink, but for a rollback, which brings that of a
 * snapshot back; and a snapshot that is taken meanwhile has no more than the head.
 */
function shownBytesOf(header: ImageHeader): number {
  const { parent, snapshots } = header;
  const parents = [parent, ...snapshots.map((snapshot) => snapshot.parent), targetRecord(header)];
  return Math.max(...parents.map((record) => record?.overlapBytes ?? 0));
}
