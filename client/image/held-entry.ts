// A pending entry that is renewed now and then, so that nobody takes it for left over.
import type { PendingEntry } from "./directory.js";
import { renew } from "./making.js";
import type { Scope } from "./scope.js";

/** Whoever works on a pending image renews its entry this often. */
export const pendingRenewMs = 20_000;

/** Starts a periodic task; returns its end. */
export type Every = (periodMs: number, task: () => void) => () => void;

export class HeldEntry {
  private readonly loss = new AbortController();
  private readonly stop: () => void;
  private renewing: Promise<void> = Promise.resolve();

  constructor(
    private readonly scope: Scope,
    /** as it is stored now */
    public entry: PendingEntry,
    every: Every,
  ) {
    this.stop = every(pendingRenewMs, () => {
      this.renewing = this.renewing.then(() => this.renew());
    });
  }

  /** Aborts when somebody else has taken the entry. */
  get lost(): AbortSignal {
    return this.loss.signal;
  }

  /** Ends the renewals; the entry stays as it is. */
  async release(): Promise<void> {
    this.stop();
    await this.renewing;
  }

  private async renew(): Promise<void> {
    try {
      this.entry = await renew(this.scope, this.entry);
    } catch (thrown) {
      this.loss.abort(thrown);
    }
  }
}

/** By the clock of the scope. */
export function everyByClock({ ports }: Scope): Every {
  return (periodMs, task) => {
    let cancel = () => {};
    const arm = () => {
      cancel = ports.clock.setTimer(periodMs, () => {
        task();
        arm();
      });
    };
    arm();
    return () => cancel();
  };
}
