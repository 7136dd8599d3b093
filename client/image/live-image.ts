// An image whose lock this client holds, with a device that front ends use: carries out changes
// that others ask for, and lets the device follow the header.
//
// Invariants
//  - The gate opens only when the device knows what the change before has made of the header; where
//    that cannot be found out, the lock is given up as lost.
//  - A request is carried out once, however often it comes.
//  - Of the changes but flatten's copying, one at a time.
import { StorageError, toStorageError } from "../../common/errors.js";
import type { DeviceHandle } from "../../native/binding.js";
import type { ContextChange, ImageAccess } from "./access.js";
import { carryOutChange } from "./carry-out.js";
import { DeviceFollower } from "./device-follower.js";
import type { ImageChange } from "./image-change.js";
import { failedReply, type ImageLock } from "./image-lock.js";
import type { ChangeRequest, LockReply } from "./lock-record.js";
import type { ImageRef } from "./references.js";
import type { Scope } from "./scope.js";
import type { SnapshotInfo } from "./snapshots.js";
import { finishBeforeUse, finishLater } from "./unfinished.js";

/** A change that takes longer is told of as "working"; whoever waits for it asks again. */
const answerAfterMs = 1500;
const rememberedRequests = 64;
/** After the lock was taken, what an earlier holder has left undone is done. */
const finishAfterMs = 1000;

interface Running {
  change: ImageChange;
  done: Promise<LockReply>;
  doneBytes: number;
  totalBytes: number;
}

const isCopying = ({ kind }: ImageChange): boolean =>
  kind === "flatten" || kind === "migrationExecute";

interface Pause {
  end: () => void;
  ended: Promise<void>;
}

export class LiveImage {
  private lock: ImageLock | undefined;
  private readonly follower: DeviceFollower;
  /** the last of the changes that go one after the other */
  private last: Promise<unknown> = Promise.resolve();
  /** flattens and the like under way */
  private copyings = 0;
  /** how many want the gate closed */
  private closings = 0;
  private readonly requests = new Map<string, Running>();
  private readonly pauses = new Map<string, Pause>();
  private finishing = false;

  constructor(
    private readonly scope: Scope,
    private readonly id: string,
    private readonly device: DeviceHandle,
    /** The image is used as another one from here on: the device becomes that. */
    private readonly moved: (target: ImageRef) => Promise<void>,
    onSnapshots?: (snapshots: SnapshotInfo[]) => void,
  ) {
    this.follower = new DeviceFollower(scope, id, device, { onSnapshots });
  }

  attach(lock: ImageLock): void {
    this.lock = lock;
  }

  /** What ImageLock asks for: LockTarget.reload. */
  async reload(token: number | undefined): Promise<void> {
    if (token === undefined) {
      const target = await this.follower.follow();
      // Whoever has told us of a change may take away what it has made needless.
      return target === undefined ? this.follower.untilLeft() : this.moved(target);
    }
    // The gate is closed, and opens only after this.
    const access = this.access(token, (change) => change());
    await finishBeforeUse(access);
    const target = await this.follower.follow();
    if (target !== undefined) {
      await this.moved(target);
      throw new StorageError("busy", "the image has been migrated");
    }
    // What takes no part in what the image shows must not keep it from being used.
    this.scope.ports.clock.setTimer(finishAfterMs, () => void this.finishRest(token));
  }

  private async finishRest(token: number): Promise<void> {
    if (this.lock?.holds(token) !== true) return;
    const access = this.access(token, (...change) => this.quiesced(token, ...change));
    // What fails stays noted in the header: the next one who takes the lock tries again.
    await this.serially(() => finishLater(access)).catch(() => undefined);
  }

  /**
   * Before the lock is let go: what others have asked for is carried through, and no more begun but
   * what ends a pause. Copying, which may take hours, goes on at the next holder.
   */
  async finish(): Promise<void> {
    this.finishing = true;
    const begun = [...this.requests.values()].filter(({ change }) => !isCopying(change));
    await Promise.all(begun.map(({ done }) => done));
  }

  async carryOut({ request, change }: ChangeRequest, token: number): Promise<LockReply> {
    const known = this.requests.get(request);
    if (known === undefined && this.finishing && this.pauses.size === 0) return { answer: "none" };
    const running = known ?? this.begin(request, change, token);
    const { clock } = this.scope.ports;
    return new Promise((resolve) => {
      const cancel = clock.setTimer(answerAfterMs, () => {
        const { doneBytes, totalBytes } = running;
        resolve({ answer: "working", doneBytes, totalBytes });
      });
      void running.done.then((reply) => {
        cancel();
        resolve(reply);
      });
    });
  }

  private begin(request: string, change: ImageChange, token: number): Running {
    const running: Running = {
      change,
      done: Promise.resolve({ answer: "done" }),
      doneBytes: 0,
      totalBytes: 0,
    };
    running.done = this.run(request, change, token, (doneBytes, totalBytes) => {
      running.doneBytes = doneBytes;
      running.totalBytes = totalBytes;
    }).then(
      () => ({ answer: "done" }),
      (thrown) => {
        const reply = failedReply(thrown);
        // Not for want of the change: whoever holds the lock next is asked again, maybe us.
        if (reply.code === "fenced" && this.requests.get(request) === running) {
          this.requests.delete(request);
        }
        return reply;
      },
    );
    this.requests.set(request, running);
    const [oldest] = this.requests.keys();
    if (this.requests.size > rememberedRequests && oldest !== undefined) {
      this.requests.delete(oldest);
    }
    return running;
  }

  private async run(
    request: string,
    change: ImageChange,
    token: number,
    progress: (doneBytes: number, totalBytes: number) => void,
  ): Promise<void> {
    if (change.kind === "pause") return this.pause(change.pause, change.leaseMs, token);
    if (change.kind === "resume") return this.resume(change.pause);
    const access = this.access(
      token,
      (quietly, contextChange) => {
        const work = async () => {
          if (change.kind === "snapCreate") this.requirePause(change.pause);
          return quietly();
        };
        return this.quiesced(token, work, contextChange);
      },
      progress,
    );
    const work = () => carryOutChange({ ...access, request }, change);
    if (!isCopying(change)) {
      return this.serially(async () => {
        await this.refuseBesideCopying(change);
        await work();
      });
    }
    // Copying may take hours, and replaces nothing: neither others nor a hand-over wait for it.
    await this.serially(async () => {
      this.copyings += 1;
    });
    try {
      await work();
    } finally {
      this.copyings -= 1;
    }
  }

  /** What takes blocks away that have been copied already: they would show nothing afterwards. */
  private async refuseBesideCopying(change: ImageChange): Promise<void> {
    if (this.copyings === 0) return;
    const { kind } = change;
    const shrinks =
      kind === "resize" && change.sizeBytes < (await this.scope.header(this.id)).sizeBytes;
    const takesAway = shrinks || kind === "rollback" || kind === "rollbackMark";
    // What is copied comes from the parent, which the end of the flatten lets go of.
    if (!takesAway && kind !== "relink") return;
    throw new StorageError("busy", "the image is being flattened", {
      remedy: "Wait for the end of `cairn flatten`, or stop it by closing the image.",
    });
  }

  private access(
    token: number,
    quiesced: ImageAccess["quiesced"],
    progress: ImageAccess["progress"] = () => undefined,
  ): ImageAccess {
    return { scope: this.scope, id: this.id, fence: { key: this.id, token }, progress, quiesced };
  }

  private serially<T>(run: () => Promise<T>): Promise<T> {
    const next = this.last.then(run, run);
    this.last = next.catch(() => undefined);
    return next;
  }

  private quiesced<T>(
    token: number,
    change: () => Promise<T>,
    contextChange?: (made: T) => ContextChange | undefined,
  ): Promise<T> {
    const lock = this.held();
    return lock.keeping(token, async () => {
      this.closings += 1;
      let known: ContextChange | undefined;
      try {
        await this.scope.io.drainGate(this.device);
        const made = await change();
        known = contextChange?.(made);
        return made;
      } finally {
        await this.reopen(lock, token, known);
      }
    });
  }

  /**
   * After a change, whether it has succeeded or not: nobody may know how far it came.
   * @param known what it has made of the device, when that is all that it can have done
   */
  private async reopen(lock: ImageLock, token: number, known?: ContextChange): Promise<void> {
    if (known !== undefined) {
      await this.follower.followChange(known);
      this.openUnlessClosed(lock, token);
    }
    let target: ImageRef | undefined;
    try {
      target = await this.follower.follow();
      if (target !== undefined) await this.moved(target);
    } catch (thrown) {
      lock.lose(`the header can't be read after a change: ${toStorageError(thrown).message}`);
    }
    if (known !== undefined) return;
    if (target === undefined) this.openUnlessClosed(lock, token);
    else this.closings -= 1;
  }

  /** One who has closed the gate needs it no more. */
  private openUnlessClosed(lock: ImageLock, token: number): void {
    this.closings -= 1;
    if (this.closings > 0 || !lock.holds(token)) return;
    this.scope.io.openGate(this.device, { key: this.id, token });
  }

  private async pause(pause: string, leaseMs: number, token: number): Promise<void> {
    if (this.pauses.has(pause)) return;
    const lock = this.held();
    let end: () => void = () => undefined;
    const over = new Promise<void>((resolve) => {
      end = resolve;
    });
    await new Promise<void>((begun, failed) => {
      const cancel = this.scope.ports.clock.setTimer(leaseMs, end);
      const ended = lock
        .keeping(token, async () => {
          this.closings += 1;
          try {
            await this.scope.io.drainGate(this.device);
            begun();
            await over;
          } finally {
            cancel();
            this.pauses.delete(pause);
            await this.reopen(lock, token);
          }
        })
        .catch(failed);
      this.pauses.set(pause, { end, ended });
    });
  }

  private async resume(pause: string): Promise<void> {
    const found = this.pauses.get(pause);
    found?.end();
    await found?.ended;
  }

  private requirePause(pause: string | undefined): void {
    if (pause === undefined || this.pauses.has(pause)) return;
    throw new StorageError("timed_out", "the pause of the image was over before its snapshot");
  }

  private held(): ImageLock {
    if (this.lock !== undefined) return this.lock;
    throw new StorageError("not_active", "the image is just being opened");
  }
}
