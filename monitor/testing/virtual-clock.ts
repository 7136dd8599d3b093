// A clock for tests: time passes only when advance() says so.
import type { Clock } from "../../common/ports.js";

interface Timer {
  atMs: number;
  callback: () => void;
}

export class VirtualClock implements Clock {
  private currentMs = 0;
  private timers: Timer[] = [];

  nowMs(): number {
    return this.currentMs;
  }

  wallMs(): number {
    return 1_700_000_000_000 + Math.floor(this.currentMs);
  }

  setTimer(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.currentMs + delayMs, callback };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  /** How many timers are armed. */
  armed(): number {
    return this.timers.length;
  }

  /** Lets time pass and runs what is due, in order; between two timers the event loop turns. */
  async advance(durationMs: number): Promise<void> {
    const endMs = this.currentMs + durationMs;
    for (;;) {
      await settle();
      const next = this.timers
        .filter(({ atMs }) => atMs <= endMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.timers = this.timers.filter((other) => other !== next);
      this.currentMs = Math.max(this.currentMs, next.atMs);
      next.callback();
    }
    this.currentMs = endMs;
    await settle();
  }
}

/** Lets everything run that waits for no timer. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
}
