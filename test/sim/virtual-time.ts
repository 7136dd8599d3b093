// Time of a simulated cluster: one clock for the native world and for all timers of TypeScript. One
// event at a time: between two of them everything runs that waits for nothing but a promise.
//
// Invariants: time never steps back; timers run in the order of their times, then of their making;
// a stopped process's timers wait until it goes on, a dead one's never run.
import type { CancelTimer, Clock } from "../../common/ports.js";

/** The native half: runs up to a time, or until something has come for TypeScript. */
export interface NativeTime {
  nowNs(): number;
  runUntil(limitNs: number): number;
}

interface Timer {
  atNs: number;
  rank: number;
  run: () => void;
}

const wallStartMs = 1_700_000_000_000;

/** Timers by time; those of equal time by rank. A binary heap. */
class TimerHeap {
  private readonly timers: Timer[] = [];

  first(): Timer | undefined {
    return this.timers[0];
  }

  push(timer: Timer): void {
    const { timers } = this;
    let at = timers.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(timer, timers[parent] as Timer)) break;
      timers[at] = timers[parent] as Timer;
      at = parent;
    }
    timers[at] = timer;
  }

  pop(): Timer | undefined {
    const { timers } = this;
    const first = timers[0];
    const last = timers.pop();
    if (last === undefined || last === first) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= timers.length) break;
      const right = timers[child + 1];
      if (right !== undefined && before(right, timers[child] as Timer)) child += 1;
      if (!before(timers[child] as Timer, last)) break;
      timers[at] = timers[child] as Timer;
      at = child;
    }
    timers[at] = last;
    return first;
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.atNs < b.atNs || (a.atNs === b.atNs && a.rank < b.rank);
}

export class VirtualTime {
  private readonly heap = new TimerHeap();
  private nextRank = 0;

  constructor(private readonly native: NativeTime) {}

  nowNs(): number {
    return this.native.nowNs();
  }

  /** Runs the callback after delayMs, once. */
  schedule(delayMs: number, run: () => void): void {
    const atNs = this.nowNs() + Math.max(0, Math.ceil(delayMs * 1e6));
    this.heap.push({ atNs, rank: this.nextRank++, run });
  }

  /** Lets so much time pass, or less: until the condition holds. @returns whether it does */
  async run(durationMs: number, condition: () => boolean = () => false): Promise<boolean> {
    const limitNs = this.nowNs() + Math.ceil(durationMs * 1e6);
    await settle();
    for (;;) {
      if (condition()) return true;
      const due = this.heap.first();
      if (due !== undefined && due.atNs <= this.nowNs()) {
        this.heap.pop();
        due.run();
      } else {
        if (this.nowNs() >= limitNs) return false;
        this.native.runUntil(Math.min(limitNs, due?.atNs ?? limitNs));
      }
      await settle();
    }
  }

  /** Lets everything go on that has been begun, until the promise is settled or time is up. */
  async complete<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
    let settled = false;
    const watched = promise.finally(() => {
      settled = true;
    });
    watched.catch(() => undefined);
    if (!(await this.run(limitMs, () => settled))) throw new Error(`${what}: not in ${limitMs} ms`);
    return watched;
  }
}

/** Everything runs that waits for promises alone; the monitor ends its turns by setImmediate. */
async function settle(): Promise<void> {
  await new Promise(setImmediate);
}

/** The clock of one simulated process; it may drift against that of the world. */
export class ProcessClock implements Clock {
  private stopped = false;
  private dead = false;
  private held: (() => void)[] = [];

  private readonly rate: number;

  constructor(
    private readonly time: VirtualTime,
    driftPpm = 0,
  ) {
    this.rate = 1 + driftPpm / 1e6;
  }

  nowMs(): number {
    return (this.time.nowNs() / 1e6) * this.rate;
  }

  wallMs(): number {
    return wallStartMs + Math.floor(this.nowMs());
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    let cancelled = false;
    const run = () => {
      if (cancelled || this.dead) return;
      if (this.stopped) this.held.push(run);
      else callback();
    };
    if (!this.dead) this.time.schedule(delayMs / this.rate, run);
    return () => {
      cancelled = true;
    };
  }

  stop(): void {
    this.stopped = true;
  }

  resume(): void {
    this.stopped = false;
    for (const run of this.held.splice(0)) this.time.schedule(0, run);
  }

  kill(): void {
    this.dead = true;
    this.held = [];
  }

  isDead(): boolean {
    return this.dead;
  }
}
