// Changes that only the holder of an image's lock may make, asked for by any client: sent to the
// holder where there is one, else made here under the lock.
import { StorageError } from "../../common/errors.js";
import type { ImageAccess } from "./access.js";
import { carryOutChange } from "./carry-out.js";
import { headerObject } from "./header.js";
import type { ChangeOf, ImageChange } from "./image-change.js";
import { heldBy } from "./image-lock.js";
import {
  decodeLock,
  decodeReply,
  encodeRequest,
  type LockRecord,
  type LockReply,
  watchCookieOf,
} from "./lock-record.js";
import {
  announceChange,
  type HeaderAddress,
  lockForManagement,
  type ManagementLock,
  underBorrowedLock,
} from "./management-lock.js";
import { hasCode } from "./omap-values.js";
import { noProgress, type Progress, type Scope } from "./scope.js";
import { finishBeforeUse, finishLater } from "./unfinished.js";
import { lifeOf, notifyWatchers, readWatchers, watcherName } from "./watchers.js";

/** A holder that is well answers at once, if only that it is at work. */
const answerTimeoutMs = 10_000;
const pollMs = 500;
/** For so long we look for somebody who does it, or for the lock. */
const patienceMs = 60_000;
const maxAttempts = 5;
/** Whoever the lock was given up for gets this time to take it. */
const yieldMs = 1000;

/** What the group verbs and the others can have done: pauses are for live images only. */
export type OwnChange = Exclude<ImageChange, ChangeOf<"pause"> | ChangeOf<"resume">>;

/**
 * Copying that is cut off for somebody who wants the lock goes on there.
 * @throws the error of whoever carries it out; timed_out when the holder does not answer
 */
export async function makeChange(
  scope: Scope,
  id: string,
  change: OwnChange,
  progress: Progress = noProgress,
): Promise<void> {
  const request = scope.newId();
  for (let attempt = 1; ; attempt += 1) {
    if (await sendToHolder(scope, id, change, progress, request)) break;
    const taken = await takeAccess(scope, id, progress).catch((thrown: unknown) => {
      // Somebody has taken the lock since we looked.
      if (!hasCode(thrown, "busy") || attempt === maxAttempts) throw thrown;
      return undefined;
    });
    if (taken === undefined) continue;
    if (await carriedOut(taken, request, change)) break;
    await new Promise<void>((resolve) => scope.ports.clock.setTimer(yieldMs, resolve));
    attempt -= 1;
  }
  await announceChange(scope.lockPorts(), { pool: scope.pool.id, id });
}

/** Lets the lock go afterwards. @returns false when it was cut off: somebody wants the lock */
async function carriedOut(
  { access, lock }: { access: ImageAccess; lock: ManagementLock },
  request: string,
  change: OwnChange,
): Promise<boolean> {
  const { wantedElsewhere } = lock;
  try {
    await carryOutChange({ ...access, request, wantedElsewhere }, change);
    return true;
  } catch (thrown) {
    if (wantedElsewhere.aborted && hasCode(thrown, "canceled")) return false;
    throw thrown;
  } finally {
    await lock.close();
  }
}

/** Takes the lock of an image that nobody holds. @throws busy, naming the live holder */
export async function withAccess<T>(
  scope: Scope,
  id: string,
  run: (access: ImageAccess) => Promise<T>,
  progress: Progress = noProgress,
): Promise<T> {
  const { access, lock } = await takeAccess(scope, id, progress);
  try {
    return await run(access);
  } finally {
    await lock.close();
  }
}

/**
 * As withAccess(), but a live holder is asked for the lock. It can have it back afterwards: its
 * front ends wait until then.
 * @throws busy when the holder keeps it exclusively; canceled
 */
export async function withBorrowedAccess<T>(
  scope: Scope,
  id: string,
  signal: AbortSignal | undefined,
  run: (access: ImageAccess) => Promise<T>,
): Promise<T> {
  const address = await addressOf(scope, id);
  const result = await underBorrowedLock(scope.lockPorts(), address, signal, async (token) =>
    run(await accessUnder(scope, id, token)),
  );
  await announceChange(scope.lockPorts(), address);
  return result;
}

/** @throws busy, naming the live holder; not_found when there is no such image */
export async function takeAccess(
  scope: Scope,
  id: string,
  progress: Progress = noProgress,
): Promise<{ access: ImageAccess; lock: ManagementLock }> {
  const lock = await lockForManagement(scope.lockPorts(), await addressOf(scope, id));
  try {
    return { access: await accessUnder(scope, id, lock.token, progress), lock };
  } catch (thrown) {
    await lock.close();
    throw thrown;
  }
}

async function addressOf(scope: Scope, id: string): Promise<HeaderAddress> {
  const header = await scope.header(id);
  return { pool: scope.pool.id, id, dataPool: scope.dataPoolOf(header).id };
}

async function accessUnder(
  scope: Scope,
  id: string,
  token: number,
  progress: Progress = noProgress,
): Promise<ImageAccess> {
  const fence = { key: id, token };
  const access: ImageAccess = { scope, id, fence, progress, quiesced: (change) => change() };
  await finishBeforeUse(access);
  await finishLater(access).catch(() => undefined);
  return access;
}

/**
 * Has a live holder carry a change out.
 * @returns false when nobody holds the lock
 * @throws the holder's error; timed_out when it does not answer
 */
export async function sendToHolder(
  scope: Scope,
  id: string,
  change: ImageChange,
  progress: Progress = noProgress,
  request = scope.newId(),
): Promise<boolean> {
  const payload = encodeRequest({ op: "change", request, change });
  const { clock } = scope.ports;
  let giveUpMs = clock.nowMs() + patienceMs;
  for (;;) {
    const holder = await liveHolder(scope, id);
    if (holder === undefined) return false;
    const reply = await askHolder(scope, id, holder, payload);
    if (reply?.answer === "done") return true;
    if (reply?.answer === "failed" && reply.code !== "fenced") throw failureOf(reply);
    if (reply?.answer === "working") {
      progress(reply.doneBytes ?? 0, reply.totalBytes ?? 0);
      giveUpMs = clock.nowMs() + patienceMs;
    }
    // None, fenced, or no answer: it has just let the lock go, or is not well; the next look tells.
    if (clock.nowMs() >= giveUpMs) throw silent(holder, reply);
    await new Promise<void>((resolve) => clock.setTimer(pollMs, resolve));
  }
}

async function liveHolder(scope: Scope, id: string): Promise<LockRecord | undefined> {
  const [pool, object] = [scope.pool.id, headerObject(id)];
  const { omap } = await scope.io.operate(pool, object, [
    { code: "omapList", key: "lock", value: new Uint8Array(), length: 16 },
  ]);
  const { holder } = decodeLock(omap);
  if (holder === undefined) return undefined;
  return lifeOf(holder, await readWatchers(scope.io, pool, object)) === "dead" ? undefined : holder;
}

async function askHolder(
  { io, pool }: Scope,
  id: string,
  holder: LockRecord,
  payload: Uint8Array,
): Promise<LockReply | undefined> {
  const place = { pool: pool.id, object: headerObject(id) };
  const answers = await notifyWatchers(io, place, payload, answerTimeoutMs);
  const bytes = answers.get(watcherName(BigInt(holder.client), watchCookieOf(holder)));
  return bytes === undefined ? undefined : decodeReply(bytes);
}

function failureOf({ code, message, remedy }: LockReply): StorageError {
  return StorageError.fromBody({
    code: (code ?? "io_error") as StorageError["code"],
    message: message ?? "the holder of the lock could not do it",
    ...(remedy === undefined ? {} : { remedy }),
  });
}

function silent(holder: LockRecord, reply: LockReply | undefined): StorageError {
  if (reply !== undefined) return heldBy(holder);
  const who = `${holder.description}, who has the lock, did not answer`;
  return new StorageError("timed_out", who, {
    remedy: "If it is gone, its lock is free within seconds: try again.",
  });
}
