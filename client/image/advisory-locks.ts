// Advisory locks of images: notes that programs leave for each other. They keep nobody from
// anything but from adding another lock; who may write is the exclusive lock's matter
// (image-lock.ts).
import { StorageError } from "../../common/errors.js";
import {
  type AdvisoryLock,
  type AdvisoryLocks,
  advisoryLockKey,
  decodeAdvisoryLocks,
  encodeAdvisoryLocks,
  withLock,
  withoutLock,
} from "./advisory-lock-record.js";
import { headerObject } from "./header.js";
import { compareStep, hasCode, removeStep, setStep } from "./omap-values.js";
import type { Scope } from "./scope.js";

const maxAttempts = 20;

interface Change {
  /** undefined: none are left */
  after: AdvisoryLocks | undefined;
  /** the lock that comes or goes */
  result: AdvisoryLock;
}

export class ImageLocks {
  constructor(private readonly scope: Scope) {}

  /** undefined: there are none. @throws not_found, corrupt */
  async list(image: string): Promise<AdvisoryLocks | undefined> {
    return decodeAdvisoryLocks(await this.stored(await this.scope.idOf(image)));
  }

  /**
   * @param tag undefined: an exclusive lock; else it is shared with all locks of the same tag
   * @throws invalid_argument, not_found; busy, naming who has a lock that excludes it
   */
  async add(image: string, id: string, tag?: string): Promise<AdvisoryLock> {
    const { clientId, description } = this.scope.cluster;
    const takenAt = this.scope.nowMs();
    const lock = { id, client: String(clientId), description, takenAt };
    return this.change(image, (before) => ({ after: withLock(before, lock, tag), result: lock }));
  }

  /** @param client whose; undefined: whoever has it. @throws not_found; busy: several have it */
  async remove(image: string, id: string, client?: string): Promise<AdvisoryLock> {
    return this.change(image, (before) => {
      const { after, removed } = withoutLock(before, id, client);
      return { after, result: removed };
    });
  }

  private async change(
    image: string,
    decide: (before: AdvisoryLocks | undefined) => Change,
  ): Promise<AdvisoryLock> {
    const id = await this.scope.idOf(image);
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const stored = await this.stored(id);
      const { after, result } = decide(decodeAdvisoryLocks(stored));
      const steps = [
        { code: "assertExists" as const },
        compareStep(advisoryLockKey, stored),
        after === undefined
          ? removeStep(advisoryLockKey)
          : setStep(advisoryLockKey, encodeAdvisoryLocks(after)),
      ];
      try {
        await this.scope.io.operate(this.scope.pool.id, headerObject(id), steps);
        return result;
      } catch (thrown) {
        if (!hasCode(thrown, "precondition_failed")) throw thrown;
      }
    }
    throw new StorageError("busy", "the locks of the image are being changed all the time");
  }

  private async stored(id: string): Promise<Uint8Array | undefined> {
    const { omap } = await this.scope.io.operate(this.scope.pool.id, headerObject(id), [
      { code: "assertExists" },
      { code: "omapList", key: advisoryLockKey, value: new Uint8Array(), length: 1 },
    ]);
    return omap.find(([key]) => key === advisoryLockKey)?.[1];
  }
}
