// The lock for as long as a management verb takes (rm, resize): so that nobody opens the image for
// writing meanwhile, and what the verb discards carries a token in force. A verb never takes the
// lock from a live holder: it is refused, or sent to the holder by notify.
import { StorageError } from "../../common/errors.js";
import type { NativeFence } from "../../native/binding.js";
import { headerObject } from "./header.js";
import { heldBy, ImageLock, type LockPorts } from "./image-lock.js";
import {
  decodeLock,
  decodeReply,
  encodeRequest,
  type LockRequest,
  watchCookie,
} from "./lock-record.js";
import { lifeOf, notifyWatchers, readWatchers, watcherName } from "./watchers.js";

interface HeaderAddress {
  pool: number;
  /** of the image */
  id: string;
}

/**
 * @param run fence undefined: there is no header, so nobody can have it open
 * @throws busy, naming the live holder; and what run throws
 */
export async function underLock<T>(
  ports: LockPorts,
  { pool, id }: HeaderAddress,
  run: (fence: NativeFence | undefined) => Promise<T>,
): Promise<T> {
  const options = { whenHeld: "refuse", exclusive: true } as const;
  let lock: ImageLock;
  try {
    lock = await ImageLock.watching(ports, { pool, id, reload: async () => undefined }, options);
  } catch (thrown) {
    if ((thrown as { code?: unknown }).code === "not_found") return run(undefined);
    throw thrown;
  }
  try {
    return await run({ key: id, token: await lock.acquire() });
  } finally {
    await lock.close();
  }
}

/** @throws busy when any other client has the image open */
export async function refuseWatched(ports: LockPorts, { pool, id }: HeaderAddress): Promise<void> {
  const { list } = await readWatchers(ports.io, pool, headerObject(id));
  const other = list.find(({ client }) => client !== ports.clientId);
  if (other === undefined) return;
  throw new StorageError("busy", `the image is in use by ${other.description}`, {
    remedy: "Stop that client first; `cairn status POOL/IMAGE` lists all that use the image.",
  });
}

/** Its verb may take that long: a shrink discards. */
const holderTimeoutMs = 120_000;

/**
 * Has a live holder carry a request out.
 * @returns false when nobody holds the lock
 * @throws the holder's error; timed_out when it does not answer
 */
export async function sendToHolder(
  { io }: LockPorts,
  { pool, id }: HeaderAddress,
  request: LockRequest,
): Promise<boolean> {
  const object = headerObject(id);
  const { omap } = await io.operate(pool, object, [
    { code: "omapList", key: "lock", value: new Uint8Array(), length: 16 },
  ]);
  const { holder } = decodeLock(omap);
  if (holder === undefined) return false;
  if (lifeOf(holder, await readWatchers(io, pool, object)) === "dead") return false;
  const payload = encodeRequest(request);
  const answers = await notifyWatchers(io, { pool, object }, payload, holderTimeoutMs);
  const bytes = answers.get(watcherName(BigInt(holder.client), watchCookie));
  if (bytes === undefined) {
    throw new StorageError("timed_out", `${holder.description}, who has the lock, did not answer`, {
      remedy: "If it is gone, its lock is free within seconds: try again.",
    });
  }
  const { answer, code, message } = decodeReply(bytes);
  if (answer === "done") return true;
  if (answer !== "failed") throw heldBy(holder);
  throw StorageError.fromBody({
    code: (code ?? "io_error") as StorageError["code"],
    message: message ?? "the holder of the lock could not do it",
  });
}

/** Tells all that have the image open to read its header again. */
export async function announceChange(
  { io }: LockPorts,
  { pool, id }: HeaderAddress,
): Promise<void> {
  const payload = encodeRequest({ op: "header.changed" });
  await notifyWatchers(io, { pool, object: headerObject(id) }, payload, 2000);
}
