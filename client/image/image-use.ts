// Who uses an image: its lock's holder and its watchers; and breaking a lock.
import { StorageError } from "../../common/errors.js";
import { headerObject } from "./header.js";
import type { LockPorts } from "./image-lock.js";
import { decodeLock, type LockRecord, releaseSteps } from "./lock-record.js";
import { readWatchers } from "./watchers.js";

export interface ImageUse {
  holder: LockRecord | undefined;
  watchers: { client: string; description: string; idleMs: number }[];
}

interface ImageAddress {
  pool: number;
  id: string;
}

/** @throws corrupt */
export async function imageUse({ io }: LockPorts, { pool, id }: ImageAddress): Promise<ImageUse> {
  const object = headerObject(id);
  const { omap } = await io.operate(pool, object, [
    { code: "omapList", key: "lock", value: new Uint8Array(), length: 16 },
  ]);
  const { list } = await readWatchers(io, pool, object);
  return {
    holder: decodeLock(omap).holder,
    watchers: list.map(({ client, description, idleMs }) => ({
      client: String(client),
      description,
      idleMs,
    })),
  };
}

/**
 * Takes the lock away from whoever holds it under that id.
 * @param shutOut called with the holder's client id before: what it sends is refused afterwards
 * @throws not_found when the lock is not held under that id (any more)
 */
export async function breakLock(
  ports: LockPorts,
  address: ImageAddress,
  lockId: string,
  shutOut: (client: string) => Promise<void>,
): Promise<void> {
  const gone = new StorageError("not_found", `no lock with the id ${lockId} is held`, {
    remedy: "`cairn lock ls POOL/IMAGE` shows the lock.",
  });
  const { holder } = await imageUse(ports, address);
  if (holder?.id !== lockId) throw gone;
  await shutOut(holder.client);
  try {
    await ports.io.operate(address.pool, headerObject(address.id), releaseSteps(holder));
  } catch (thrown) {
    if ((thrown as { code?: unknown }).code !== "precondition_failed") throw thrown;
    throw gone;
  }
}
