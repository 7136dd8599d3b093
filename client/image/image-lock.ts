// The exclusive lock of one image, as this client holds or wants it: carries out what the machine
// (lock-machine.ts) decides. The lock lives in the image's header and is changed by compare-and-set
// there; the watch on the header shows others that we live; the token fences.
//
// Invariants
//  - The watch stands before the lock is asked for: a holder without one would count as dead.
//  - One step of the machine at a time; its effects are started in order.
import { StorageError, toStorageError } from "../../common/errors.js";
import type { Clock } from "../../common/ports.js";
import type { ClientEvent, DeviceHandle, NativeClient } from "../../native/binding.js";
import { headerObject } from "./header.js";
import {
  initialLock,
  type LockEffect,
  type LockEvent,
  type LockOptions,
  type LockState,
  step,
} from "./lock-machine.js";
import {
  type ChangeRequest,
  decodeLock,
  decodeReply,
  decodeRequest,
  encodeReply,
  encodeRequest,
  type InspectRequest,
  type LockRecord,
  type LockReply,
  type LockRequest,
  type LockView,
  releaseSteps,
  takeSteps,
  watchCookieOf,
} from "./lock-record.js";
import { endWatch, lifeOf, notifyWatchers, readWatchers, watcherName } from "./watchers.js";

export type LockIo = Pick<
  NativeClient,
  | "operate"
  | "watch"
  | "unwatch"
  | "answerNotify"
  | "sweepFence"
  | "openGate"
  | "drainGate"
  | "failGate"
  | "released"
  | "setImageSize"
>;

/** What a lock needs of the client around it. */
export interface LockPorts {
  io: LockIo;
  clock: Clock;
  clientId: bigint;
  /** of the watch: what else this client has open has others */
  cookie: string;
  /** "host1 pid 7": for people */
  description: string;
  /** Calls listener with each event of the native client. Returns its end. */
  onEvent(listener: (event: ClientEvent) => void): () => void;
}

export interface LockTarget {
  pool: number;
  /** of the image */
  id: string;
  /** undefined: only the lock is wanted (management) */
  device?: DeviceHandle | undefined;
  /** other than the image's header: that of a group */
  object?: string | undefined;
  /** of the image's data, when that is not the header's pool */
  dataPool?: number | undefined;
  /**
   * Reads the header again; requests flow only when it has.
   * @param token of the lock that is being taken; undefined: it is not ours, the header has changed
   */
  reload(token: number | undefined): Promise<void>;
  /** A change that another client wants of the holder. Does not throw. */
  carryOut?(request: ChangeRequest, token: number): Promise<LockReply>;
  /** Another client wants the lock. */
  asked?(): void;
  /** What the device does: told whether the lock is held or not. */
  inspect?(request: InspectRequest): Promise<LockReply>;
}

/** Without renewal for so long, a holder counts as dead. */
export const defaultWatchTimeoutMs = 10_000;
/** An answer to a request for the lock comes at once, or the holder is not well. */
const askTimeoutMs = 3000;
/** PGs that do not answer a sweep serve nobody at the moment: fenced when they do. */
const sweepTimeoutMs = 3000;

const takenOver = "another client has taken the image over";

const defaultOptions: LockOptions = {
  whenHeld: "ask",
  exclusive: false,
  retryMs: 250,
  yieldMs: 1000,
  minHoldMs: 500,
};

export class ImageLock {
  /** Resolves with the reason when the lock is lost or refused: the image can't be used on. */
  readonly ended: Promise<StorageError>;
  private state: LockState;
  private record: LockRecord | undefined;
  private watch: number | undefined;
  private answering: number[] = [];
  private acquirers: { resolve(token: number): void; reject(error: StorageError): void }[] = [];
  private idleWaiters: (() => void)[] = [];
  private end: (error: StorageError) => void = () => undefined;
  private leave: () => void = () => undefined;
  private readonly left: Promise<void>;
  private readonly replies = new Set<Promise<void>>();
  private stopEvents: () => void = () => undefined;
  private failure: StorageError | undefined;
  private readonly object: string;
  /** undefined: only the lock is wanted, or the device is another image's by now */
  private device: DeviceHandle | undefined;

  private constructor(
    private readonly ports: LockPorts,
    private readonly target: LockTarget,
    options: Partial<LockOptions>,
    private readonly watchTimeoutMs: number,
  ) {
    this.state = initialLock({ ...defaultOptions, ...options });
    this.object = target.object ?? headerObject(target.id);
    this.device = target.device;
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
    this.left = new Promise((resolve) => {
      this.leave = resolve;
    });
  }

  /** Watches the header; takes no lock yet. @throws not_found when there is no such header */
  static async watching(
    ports: LockPorts,
    target: LockTarget,
    options: Partial<LockOptions> = {},
    watchTimeoutMs = defaultWatchTimeoutMs,
  ): Promise<ImageLock> {
    const lock = new ImageLock(ports, target, options, watchTimeoutMs);
    lock.stopEvents = ports.onEvent((event) => lock.take(event));
    try {
      lock.watch = await ports.io.watch(target.pool, lock.object, {
        cookie: ports.cookie,
        description: ports.description,
        timeoutMs: watchTimeoutMs,
      });
    } catch (thrown) {
      lock.stopEvents();
      throw toStorageError(thrown);
    }
    return lock;
  }

  /** The device is in use. */
  use(): void {
    this.handle({ kind: "use" });
  }

  /** Takes the lock. @returns its token. @throws busy (naming the holder), fenced, ... */
  acquire(): Promise<number> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    if (this.state.phase === "held") return Promise.resolve(this.state.token);
    return new Promise((resolve, reject) => {
      this.acquirers.push({ resolve, reject });
      this.use();
    });
  }

  /** Before the users of the device are stopped: what waits for a lock that we don't have fails. */
  giveUp(): void {
    if (this.device === undefined || this.state.phase === "held") return;
    this.ports.io.failGate(this.device, "the export is being stopped", false);
  }

  /** Drains, frees the lock if we hold it, and ends the watch. */
  async close(): Promise<void> {
    const idle = ["idle", "lost"].includes(this.state.phase);
    const settled = idle
      ? Promise.resolve()
      : new Promise<void>((resolve) => this.idleWaiters.push(resolve));
    this.giveUp();
    this.handle({ kind: "unuse" });
    await settled;
    // Who waits for an answer would wait in vain once the watch is gone.
    this.leave();
    await Promise.all(this.replies);
    this.stopEvents();
    if (this.watch !== undefined) await endWatch(this.ports, this.watch);
    this.watch = undefined;
  }

  private take(event: ClientEvent): void {
    const { device } = this;
    if (event.type === "device" && event.device === device) {
      if (event.state === "wanted") this.use();
      else if (event.state === "unused") this.handle({ kind: "unuse" });
      else this.handle({ kind: "lost", reason: takenOver });
    } else if (event.type === "notify" && event.watch === this.watch) {
      const replied = this.notified(event.answer, event.payload).finally(() =>
        this.replies.delete(replied),
      );
      this.replies.add(replied);
    } else if (event.type === "watchLapsed" && event.watch === this.watch) {
      void this.lapsed(event.error);
    }
  }

  private handle(event: LockEvent): void {
    const { state, effects } = step(this.state, event, this.ports.clock.nowMs());
    this.state = state;
    for (const effect of effects) this.carryOut(effect);
  }

  private carryOut(effect: LockEffect): void {
    const { io, clock } = this.ports;
    const { device } = this;
    switch (effect.kind) {
      case "look":
        this.run(() => this.look());
        break;
      case "ask":
        this.run(() => this.ask());
        break;
      case "take":
        this.run(() => this.takeLock(effect.seen));
        break;
      case "sweep":
        this.run(() => this.sweep(effect.token));
        break;
      case "load":
        this.run(async () => {
          await this.target.reload(this.state.token);
          return { kind: "loaded" };
        });
        break;
      case "openGate":
        if (device !== undefined) io.openGate(device, { key: this.target.id, token: effect.token });
        for (const { resolve } of this.acquirers.splice(0)) resolve(effect.token);
        break;
      case "drain":
        this.run(async () => {
          if (device !== undefined) await io.drainGate(device);
          return { kind: "drained" };
        });
        break;
      case "release":
        this.run(() => this.release());
        break;
      case "letGo":
        if (device !== undefined) io.released(device);
        for (const resolve of this.idleWaiters.splice(0)) resolve();
        break;
      case "timer":
        clock.setTimer(effect.afterMs, () => this.handle({ kind: "timer" }));
        break;
      case "reply":
        this.reply({ answer: effect.answer });
        break;
      case "refused":
        this.refused(heldBy(effect.holder));
        break;
      case "fail":
        this.fail(effect.reason);
        break;
    }
  }

  /** Runs an operation whose outcome is the machine's next event. */
  private run(operation: () => Promise<LockEvent>): void {
    operation().then(
      (event) => this.handle(event),
      (thrown: unknown) => this.handle({ kind: "lost", reason: toStorageError(thrown).message }),
    );
  }

  private async look(): Promise<LockEvent> {
    const { io, clientId, cookie } = this.ports;
    const { pool } = this.target;
    const view = await this.view();
    const { holder } = view;
    if (holder === undefined) return { kind: "looked", view, mine: false, life: "dead" };
    const mine = holder.client === String(clientId) && watchCookieOf(holder) === cookie;
    const life = mine ? "alive" : lifeOf(holder, await readWatchers(io, pool, this.object));
    return { kind: "looked", view, mine, life };
  }

  private async view(): Promise<LockView> {
    const { omap } = await this.ports.io.operate(this.target.pool, this.object, [
      { code: "assertExists" },
      { code: "omapList", key: "lock", value: new Uint8Array(), length: 16 },
    ]);
    return decodeLock(omap);
  }

  private async ask(): Promise<LockEvent> {
    const { holder } = await this.view();
    const answers = await notifyWatchers(
      this.ports.io,
      { pool: this.target.pool, object: this.object },
      encodeRequest({ op: "lock.request" }),
      askTimeoutMs,
    );
    const bytes = holder && answers.get(watcherName(BigInt(holder.client), watchCookieOf(holder)));
    const answer = bytes === undefined ? "none" : decodeReply(bytes).answer;
    if (answer === "exclusive" && holder !== undefined) this.refused(heldBy(holder, "exclusively"));
    return { kind: "asked", answer };
  }

  private async takeLock(seen: LockView): Promise<LockEvent> {
    const { io, clock, clientId, cookie, description } = this.ports;
    const token = seen.token + 1;
    const record: LockRecord = {
      id: `${clientId}.${token}`,
      client: String(clientId),
      cookie,
      description,
      token,
      takenAt: clock.wallMs(),
      watchTimeoutMs: this.watchTimeoutMs,
    };
    try {
      await io.operate(this.target.pool, this.object, takeSteps(seen, record));
    } catch (thrown) {
      if ((thrown as { code?: unknown }).code === "precondition_failed")
        return { kind: "conflict" };
      throw thrown;
    }
    this.record = record;
    const tookOver = seen.holder !== undefined && seen.holder.client !== record.client;
    return { kind: "taken", token, tookOver };
  }

  private async sweep(token: number): Promise<LockEvent> {
    const fence = { key: this.target.id, token };
    const { pool, dataPool = pool } = this.target;
    await this.ports.io.sweepFence(dataPool, fence, sweepTimeoutMs);
    return { kind: "swept" };
  }

  private async release(): Promise<LockEvent> {
    const { record } = this;
    this.record = undefined;
    if (record === undefined) return { kind: "released" };
    try {
      await this.ports.io.operate(this.target.pool, this.object, releaseSteps(record));
    } catch (thrown) {
      const { code } = toStorageError(thrown);
      if (code !== "precondition_failed" && code !== "not_found") throw thrown;
      // Somebody has taken us for dead. Whoever uses the device here knows nothing of what that one
      // has written, and must not go on as if it had been asked for the lock.
      if (this.state.wanted) return { kind: "lost", reason: takenOver };
    }
    return { kind: "released" };
  }

  private async notified(answer: number, payload: Uint8Array): Promise<void> {
    let request: LockRequest;
    try {
      request = decodeRequest(payload);
    } catch {
      this.ports.io.answerNotify(answer, encodeReply({ answer: "none" }));
      return;
    }
    if (request.op === "lock.request") {
      this.answering.push(answer);
      this.handle({ kind: "requested" });
      this.target.asked?.();
      return;
    }
    const reply = await Promise.race([
      this.replyTo(request),
      this.left.then(() => leaving(request)),
    ]);
    this.ports.io.answerNotify(answer, encodeReply(reply));
  }

  private async replyTo(request: LockRequest): Promise<LockReply> {
    try {
      if (request.op === "header.changed") {
        // A holder knows what it has changed itself; what it need not be asked for, it hears here.
        await this.target.reload(undefined);
        return { answer: "done" };
      }
      if (request.op === "device.stats" || request.op === "device.trace") {
        return (await this.target.inspect?.(request)) ?? { answer: "none" };
      }
      const held = this.state.phase === "held" && this.target.carryOut !== undefined;
      if (!held || request.op !== "change") return { answer: "none" };
      return (await this.target.carryOut?.(request, this.state.token)) ?? { answer: "none" };
    } catch (thrown) {
      return failedReply(thrown);
    }
  }

  /**
   * Runs a change of the image that must not lose the lock in its middle: who asks for it meanwhile
   * gets it afterwards.
   * @throws fenced when the lock is not held (any more); what run throws
   */
  async keeping<T>(token: number, run: () => Promise<T>): Promise<T> {
    if (!this.holds(token)) throw new StorageError("fenced", "the lock has been handed over");
    this.handle({ kind: "changeBegun" });
    try {
      return await run();
    } finally {
      if (this.holds(token)) this.handle({ kind: "changeEnded" });
    }
  }

  /** The image can't be used on here. */
  lose(reason: string): void {
    this.handle({ kind: "lost", reason });
  }

  /** The device is not this image's any more. @returns whether it is in use */
  leaveDevice(): boolean {
    this.device = undefined;
    return this.state.wanted;
  }

  /** Whether requests may go under this token. */
  holds(token: number): boolean {
    return this.state.phase === "held" && this.state.token === token;
  }

  private reply(reply: LockReply): void {
    for (const answer of this.answering.splice(0)) {
      this.ports.io.answerNotify(answer, encodeReply(reply));
    }
  }

  /** Others may have taken us for dead: the header says whether they did. */
  private async lapsed(error: unknown): Promise<void> {
    if (error !== undefined) {
      this.handle({ kind: "lost", reason: toStorageError(error).message });
      return;
    }
    if (this.state.phase !== "held") return;
    try {
      const { holder } = await this.view();
      if (holder?.id === this.record?.id) return;
    } catch {
      return; // unreachable: the tokens decide
    }
    this.handle({ kind: "lost", reason: takenOver });
  }

  private refused(error: StorageError): void {
    const acquirers = this.acquirers.splice(0);
    for (const { reject } of acquirers) reject(error);
    if (acquirers.length === 0) this.end(error);
  }

  private fail(reason: string): void {
    const error = new StorageError("fenced", `the lock of the image is lost: ${reason}`, {
      remedy:
        reason === takenOver
          ? "Attach it again when the other client has let it go; `cairn lock ls` names it."
          : "Attach it again when `cairn info` shows the image and `cairn health` is well.",
    });
    this.failure = error;
    if (this.device !== undefined) {
      this.ports.io.failGate(this.device, error.message, true);
    }
    this.refused(error);
    this.end(error);
  }
}

/** Who wants something of the image looks again who has it. */
function leaving({ op }: LockRequest): LockReply {
  if (op !== "change" && op !== "header.changed") return { answer: "none" };
  return failedReply(new StorageError("fenced", "the image is being closed"));
}

/** What says to another client that its request has failed. */
export function failedReply(thrown: unknown): LockReply {
  const { code, message, remedy } = toStorageError(thrown);
  const reply: LockReply = { answer: "failed", code, message: message.slice(0, 1024) };
  return remedy === undefined ? reply : { ...reply, remedy: remedy.slice(0, 1024) };
}

/** The error that names who has the lock. */
export function heldBy(holder: LockRecord, how = "now"): StorageError {
  const since = new Date(holder.takenAt).toISOString();
  return new StorageError(
    "busy",
    `the image is locked ${how} by ${holder.description} (client ${holder.client}, since ${since})`,
    { remedy: "Stop that client, or break its lock with `cairn lock rm POOL/IMAGE LOCKID`." },
  );
}
