// Making an image that is filled before it gets its name: a copy, an image that is provisioned.
//
// Invariant: the image has no name until all of its data is durable; whatever fails before that
// takes away what was written, and what a client that died has left is a pending entry.
import { StorageError, toStorageError } from "../../common/errors.js";
import type { ImageAccess } from "./access.js";
import { withAccess } from "./exclusive.js";
import { type Every, everyByClock, HeldEntry } from "./held-entry.js";
import { begin, clear, clearStale, type MadeImage, type NewImage } from "./making.js";
import { type ImageInfo, noProgress, type Progress, type Scope } from "./scope.js";
import { discardFrom } from "./size.js";

export interface FillOptions {
  progress?: Progress | undefined;
  /** stops it; nothing of the image stays */
  signal?: AbortSignal | undefined;
  every?: Every | undefined;
}

export interface FilledImage {
  scope: Scope;
  name: string;
  image: NewImage;
  /** beside the header: a clone is noted in its parent */
  join?: ((id: string) => Promise<void>) | undefined;
}

/**
 * @param fill under the new image's lock; stop aborts when nothing is to come of it any more
 * @throws already_exists; canceled by the signal; and what fill throws
 */
export async function makeFilled(
  { scope, name, image, join }: FilledImage,
  fill: (access: ImageAccess, stop: AbortSignal) => Promise<void>,
  { progress = noProgress, signal, every = everyByClock(scope) }: FillOptions,
): Promise<ImageInfo> {
  await clearStale(scope, ["creating", "importing", "removing"]);
  const { entry, header } = await begin(scope, "importing", name, image, join);
  const held = new HeldEntry(scope, entry, every);
  try {
    const stop = AbortSignal.any(signal === undefined ? [held.lost] : [held.lost, signal]);
    throwIfStopped(stop);
    await withAccess(scope, entry.id, (access) => fill(access, stop), progress);
    throwIfStopped(stop);
    // No renewal may run beside the publication, which compares the entry's bytes.
    await held.release();
    await scope.directory.publish(held.entry);
  } catch (thrown) {
    await held.release();
    await clearFailed(scope, { entry: held.entry, header }, thrown);
    throw toStorageError(thrown);
  }
  return scope.infoOf(name, await scope.header(entry.id));
}

/** @throws what stopped it */
export function throwIfStopped(stop: AbortSignal): void {
  if (!stop.aborted) return;
  const reason: unknown = stop.reason;
  if (reason instanceof StorageError) throw reason;
  throw new StorageError("canceled", "stopped before it was done; nothing of it is left");
}

/**
 * Takes away what was made before `thrown`, also what was written after somebody else had taken
 * the header away: nobody would find that any more.
 * @throws that, when something stays, saying so
 */
export async function clearFailed(
  scope: Scope,
  { entry, header }: MadeImage,
  thrown: unknown,
): Promise<void> {
  try {
    if ((await scope.headerValues(entry.id)) === undefined) {
      await discardFrom(scope, header, 0, noProgress, undefined);
    }
    await clear(scope, entry);
  } catch (second) {
    const [why, first] = [toStorageError(second).message, toStorageError(thrown)];
    throw new StorageError(first.code, `${first.message}; its data is still there: ${why}`, {
      remedy: "The next `cairn rm` or `cairn import` in this pool clears it away.",
      cause: thrown,
    });
  }
}
