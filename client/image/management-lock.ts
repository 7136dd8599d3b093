// The lock for as long as a management verb takes: so that nobody opens the image for writing
// meanwhile, and what the verb writes carries a token in force. A verb never takes the lock from a
// live holder: it is refused, or sent to the holder by notify (exclusive.ts). Who begins to use the
// image meanwhile waits, and gets the lock when the verb is done or can be cut off.
import { StorageError } from "../../common/errors.js";
import type { NativeFence } from "../../native/binding.js";
import { headerObject } from "./header.js";
import { defaultWatchTimeoutMs, ImageLock, type LockPorts } from "./image-lock.js";
import { decodeReply, encodeRequest } from "./lock-record.js";
import { hasCode } from "./omap-values.js";
import { notifyWatchers, readWatchers, watcherName } from "./watchers.js";

/** Of those that are told of a change. */
const answerTimeoutMs = 2000;
const askAgainMs = 500;
/** A live client is through with what it reads of a parent by then. */
const patienceMs = 60_000;

export interface HeaderAddress {
  pool: number;
  /** of the image */
  id: string;
  /** of its data, when that is not the header's pool */
  dataPool?: number;
  /** other than the image's header: that of a group */
  object?: string;
}

export interface ManagementLock {
  token: number;
  /** aborted when another client wants the lock */
  wantedElsewhere: AbortSignal;
  close(): Promise<void>;
}

/** @throws busy, naming the live holder; not_found when there is no such header */
export async function lockForManagement(
  ports: LockPorts,
  address: HeaderAddress,
): Promise<ManagementLock> {
  const wanted = new AbortController();
  const target = { ...address, reload: async () => undefined, asked: () => wanted.abort() };
  const lock = await ImageLock.watching(ports, target, { whenHeld: "refuse" });
  try {
    const token = await lock.acquire();
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const kept = lock.keeping(token, () => ended);
    const close = async () => {
      end();
      await kept;
      await lock.close();
    };
    return { token, wantedElsewhere: wanted.signal, close };
  } catch (thrown) {
    await lock.close();
    throw thrown;
  }
}

/**
 * Runs under a lock that a live holder was asked for. Who wants it back waits until the end.
 * @throws busy when the holder keeps it exclusively; canceled; not_found; and what run throws
 */
export async function underBorrowedLock<T>(
  ports: LockPorts,
  address: HeaderAddress,
  signal: AbortSignal | undefined,
  run: (token: number) => Promise<T>,
): Promise<T> {
  const lock = await ImageLock.watching(ports, { ...address, reload: async () => undefined });
  try {
    const token = await Promise.race([lock.acquire(), untilCanceled(signal)]);
    return await lock.keeping(token, () => run(token));
  } finally {
    await lock.close();
  }
}

function untilCanceled(signal: AbortSignal | undefined): Promise<never> {
  const stopped = () => new StorageError("canceled", "stopped while it waited for the lock");
  return new Promise((_, reject) => {
    if (signal?.aborted) reject(stopped());
    signal?.addEventListener("abort", () => reject(stopped()), { once: true });
  });
}

/**
 * @param run fence undefined: there is no header, so nobody can have it open
 * @throws busy, naming the live holder; and what run throws
 */
export async function underLock<T>(
  ports: LockPorts,
  address: HeaderAddress,
  run: (fence: NativeFence | undefined) => Promise<T>,
): Promise<T> {
  let lock: ManagementLock;
  try {
    lock = await lockForManagement(ports, address);
  } catch (thrown) {
    if (hasCode(thrown, "not_found")) return run(undefined);
    throw thrown;
  }
  try {
    return await run({ key: address.id, token: lock.token });
  } finally {
    await lock.close();
  }
}

/** @throws busy when anybody but the lock of these ports has the image open */
export async function refuseWatched(ports: LockPorts, { pool, id }: HeaderAddress): Promise<void> {
  const { list } = await readWatchers(ports.io, pool, headerObject(id));
  const other = list.find(
    ({ client, cookie }) => client !== ports.clientId || cookie !== ports.cookie,
  );
  if (other === undefined) return;
  throw new StorageError("busy", `the image is in use by ${other.description}`, {
    remedy: "Stop that client first; `cairn status POOL/IMAGE` lists all that use the image.",
  });
}

/** Tells all that watch an object to read it again. @returns their answers, by watcher's name */
export function announce(
  io: Pick<LockPorts["io"], "operate">,
  place: { pool: number; object: string },
): Promise<Map<string, Uint8Array>> {
  return notifyWatchers(io, place, encodeRequest({ op: "header.changed" }), answerTimeoutMs);
}

/** Tells all that have the image open to read its header again. */
export async function announceChange(
  { io }: LockPorts,
  { pool, id }: HeaderAddress,
): Promise<void> {
  await announce(io, { pool, object: headerObject(id) });
}

/**
 * Tells all that have the image open to read its header again, until each of them has done so, or
 * is gone: its watch has lapsed.
 * @throws timed_out when one lives, but can't be brought to it; not_found when there is no header
 */
export async function announceUntilFollowed(
  { io, clock }: LockPorts,
  { pool, id }: HeaderAddress,
): Promise<void> {
  const place = { pool, object: headerObject(id) };
  const giveUpMs = clock.nowMs() + patienceMs;
  for (;;) {
    const answers = await announce(io, place);
    const { activeForMs, list } = await readWatchers(io, pool, place.object);
    const behind = list.find(({ client, cookie }) => {
      const reply = answers.get(watcherName(client, cookie));
      return reply === undefined || decodeReply(reply).answer === "failed";
    });
    // A primary that is new may not have heard of all of them yet.
    if (behind === undefined && activeForMs > defaultWatchTimeoutMs) return;
    if (clock.nowMs() >= giveUpMs) {
      const who = behind?.description ?? "somebody who may use the image";
      throw new StorageError("timed_out", `${who} does not follow the change of the image`, {
        remedy: "The image is as it should be; what it was flattened from is kept until then.",
      });
    }
    await new Promise<void>((resolve) => clock.setTimer(askAgainMs, resolve));
  }
}
