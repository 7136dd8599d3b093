// A second client that takes the lock of an image over from its living holder, as one would that
// takes the holder for dead: it sets the lock's record to its own and has every PG refuse the old
// token. (ImageLock never takes a living holder's lock: it asks for it.)

import { headerObject } from "../../client/image/header.js";
import {
  decodeLock,
  type LockRecord,
  releaseSteps,
  takeSteps,
} from "../../client/image/lock-record.js";
import { type ClusterClient, Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";

const sweepTimeoutMs = 10_000;

/** @returns lets the lock go again */
export async function stealLock(
  thief: ClusterClient,
  pool: string,
  name: string,
): Promise<() => Promise<void>> {
  const images = new Images(thief, pool, { clock: systemClock, random: systemRandom });
  const { id } = await images.info(name);
  const object = headerObject(id);
  const { omap } = await thief.io.operate(images.poolId, object, [
    { code: "omapList", key: "lock", value: new Uint8Array(), length: 16 },
  ]);
  const seen = decodeLock(omap);
  if (seen.holder === undefined) throw new Error("nobody holds the lock that is to be stolen");
  const token = seen.token + 1;
  const record: LockRecord = {
    id: `${thief.clientId}.${token}`,
    client: String(thief.clientId),
    description: thief.description,
    token,
    takenAt: systemClock.wallMs(),
    watchTimeoutMs: sweepTimeoutMs,
  };
  await thief.io.operate(images.poolId, object, takeSteps(seen, record));
  const { silent } = await thief.io.sweepFence(images.poolId, { key: id, token }, sweepTimeoutMs);
  if (silent > 0) throw new Error(`${silent} PGs did not hear of the new token`);
  return async () => {
    await thief.io.operate(images.poolId, object, releaseSteps(record));
  };
}
