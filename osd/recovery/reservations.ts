// Which PGs of this OSD may recover now: at most `slots` at a time, those with the highest priority
// first, then those that came first. Pure.
import type { PgId } from "../../common/units.js";

export class Reservations {
  private readonly holding = new Set<PgId>();
  private readonly waiting = new Map<PgId, number>();

  /** @param mayRecover false: the PG waits on, others go first */
  constructor(
    private readonly slots: number,
    private readonly mayRecover: (pgid: PgId) => boolean = () => true,
  ) {}

  /** Queues a PG; one that is queued or holds a slot stays where it is. @returns PGs granted now */
  request(pgid: PgId, priority: number): PgId[] {
    if (this.holding.has(pgid)) return [];
    this.waiting.set(pgid, priority);
    return this.grant();
  }

  /** The PG recovers no more, or will not. @returns PGs granted now */
  release(pgid: PgId): PgId[] {
    this.waiting.delete(pgid);
    this.holding.delete(pgid);
    return this.grant();
  }

  /** True when the PG waits for a slot. */
  isWaiting(pgid: PgId): boolean {
    return this.waiting.has(pgid);
  }

  /** To be called when mayRecover may answer otherwise. @returns PGs granted now */
  grant(): PgId[] {
    const granted: PgId[] = [];
    while (this.holding.size < this.slots) {
      // Map keeps the order of arrival; a stable sort keeps it within a priority.
      const next = [...this.waiting]
        .sort(([, a], [, b]) => b - a)
        .find(([pgid]) => this.mayRecover(pgid));
      if (next === undefined) break;
      this.waiting.delete(next[0]);
      this.holding.add(next[0]);
      granted.push(next[0]);
    }
    return granted;
  }
}
