// Purging a trash when its schedule says so. Of all who try, one does it at a time: under a lock of
// the trash's own, which falls to another when its holder dies. A purge that was cut off is made
// again by the next who looks; what it had begun to remove is finished.

import { clearStale } from "./making.js";
import { lockForManagement } from "./management-lock.js";
import { hasCode, setStep } from "./omap-values.js";
import type { Scope } from "./scope.js";
import type { Trash } from "./trash.js";
import {
  decodePurgeRun,
  encodePurgeRun,
  type PurgeRun,
  purgeObject,
  purgeRunKey,
} from "./trash-purge-record.js";

/** undefined: there was none. @throws corrupt */
export async function lastPurge(scope: Scope): Promise<PurgeRun | undefined> {
  const { omap } = await scope.io.operate(scope.pool.id, purgeObject(scope.namespace), [
    { code: "omapList", key: purgeRunKey, value: new Uint8Array(), length: 1 },
  ]);
  const found = omap.find(([key]) => key === purgeRunKey);
  return found === undefined ? undefined : decodePurgeRun(found[1]);
}

/** Whether what was due at that moment is still to be done. */
export function isToBeDone(last: PurgeRun | undefined, dueAt: number): boolean {
  return last === undefined || last.dueAt < dueAt || last.endedAt === undefined;
}

/**
 * Makes the purge that was due at that moment, unless it has been made.
 * @returns "made": it has been made before; "busy": somebody else is at it
 */
export async function purgeByPlan(
  { scope, trash }: { scope: Scope; trash: Trash },
  dueAt: number,
): Promise<PurgeRun | "made" | "busy"> {
  if (!isToBeDone(await lastPurge(scope), dueAt)) return "made";
  const object = purgeObject(scope.namespace);
  await scope.io.operate(scope.pool.id, object, [setStep("made", Uint8Array.of(1))]);
  const address = { pool: scope.pool.id, id: "trash_purge", object };
  const lock = await lockForManagement(scope.lockPorts(), address).catch((thrown: unknown) => {
    if (hasCode(thrown, "busy")) return undefined;
    throw thrown;
  });
  if (lock === undefined) return "busy";
  try {
    // Once more: whoever had the lock before may have made it.
    return isToBeDone(await lastPurge(scope), dueAt) ? await run(scope, trash, dueAt) : "made";
  } finally {
    await lock.close();
  }
}

async function run(scope: Scope, trash: Trash, dueAt: number): Promise<PurgeRun> {
  const begun: PurgeRun = { dueAt, startedAt: scope.nowMs(), removed: 0, kept: 0 };
  await note(scope, begun);
  await clearStale(scope, ["removing"]);
  const { removed, kept } = await trash.purge();
  const ended = { removed: removed.length, kept: kept.length, endedAt: scope.nowMs() };
  const made: PurgeRun = { ...begun, ...ended };
  await note(scope, made);
  return made;
}

async function note(scope: Scope, purge: PurgeRun): Promise<void> {
  await scope.io.operate(scope.pool.id, purgeObject(scope.namespace), [
    setStep(purgeRunKey, encodePurgeRun(purge)),
  ]);
}
