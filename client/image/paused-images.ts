// Several images at once with no request in flight: those that are in use are paused by the holders
// of their locks, of the others we take the locks.
import type { ImageAccess } from "./access.js";
import { carryOutChange } from "./carry-out.js";
import { makeChange, type OwnChange, sendToHolder, takeAccess } from "./exclusive.js";
import type { ManagementLock } from "./management-lock.js";
import { hasCode } from "./omap-values.js";
import type { ImageRef } from "./references.js";
import type { Scope } from "./scope.js";

/** For so long a holder waits for us; then it goes on, and refuses what hangs on the pause. */
const leaseMs = 30_000;
const maxAttempts = 5;

export interface PausedImage {
  ref: ImageRef;
  scope: Scope;
  /** set: its holder has paused it under this id; else we hold its lock */
  pause: string | undefined;
  change(change: OwnChange): Promise<void>;
  resume(): Promise<void>;
}

/** Runs something while all these images are paused at the same time. @throws busy */
export async function whilePaused<T>(
  scope: Scope,
  images: readonly ImageRef[],
  run: (paused: PausedImage[]) => Promise<T>,
): Promise<T> {
  const paused: PausedImage[] = [];
  try {
    // In one order for everybody: two who want the same images don't wait for each other.
    const sorted = [...images].sort((a, b) => (a.imageId < b.imageId ? -1 : 1));
    for (const ref of sorted) paused.push(await pauseImage(scope, ref));
    return await run(paused);
  } finally {
    for (const image of paused) await image.resume().catch(() => undefined);
  }
}

async function pauseImage(from: Scope, ref: ImageRef): Promise<PausedImage> {
  const scope = from.elsewhere(ref.pool, ref.namespace);
  const pause = from.newId();
  for (let attempt = 1; ; attempt += 1) {
    if (await sendToHolder(scope, ref.imageId, { kind: "pause", pause, leaseMs })) {
      const change = (wanted: OwnChange) => makeChange(scope, ref.imageId, wanted);
      const resume = async () => {
        await sendToHolder(scope, ref.imageId, { kind: "resume", pause });
      };
      return { ref, scope, pause, change, resume };
    }
    try {
      return ours(ref, await takeAccess(scope, ref.imageId));
    } catch (thrown) {
      // Somebody has taken the lock since we looked.
      if (!hasCode(thrown, "busy") || attempt === maxAttempts) throw thrown;
    }
  }
}

function ours(
  ref: ImageRef,
  { access, lock }: { access: ImageAccess; lock: ManagementLock },
): PausedImage {
  return {
    ref,
    scope: access.scope,
    pause: undefined,
    change: (wanted) => carryOutChange(access, wanted),
    resume: () => lock.close(),
  };
}
