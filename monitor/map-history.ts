// The recent epochs in memory: what subscribers that are behind get. Bounded: older epochs are
// folded into the base map.
import { defined } from "../common/assert.js";
import { StorageError } from "../common/errors.js";
import type { Epoch } from "../common/units.js";
import type { Maps } from "../proto/messages.js";
import { applyIncremental, type Incremental, type OsdMap } from "../proto/osd-map.js";
import { mapAt, type MapHistory, newestOf } from "./store/map-store.js";

/** Epochs in memory. */
const keptEpochs = 500;
/** A subscriber that is further behind gets the newest map in full: that is shorter. */
const maxIncrementals = 100;

export class RecentMaps {
  private base: OsdMap;
  private readonly incrementals: Incremental[];
  private last: OsdMap;

  constructor(history: MapHistory) {
    this.base = history.base;
    this.incrementals = [...history.incrementals];
    this.last = newestOf(history);
    this.fold();
  }

  newest(): OsdMap {
    return this.last;
  }

  /** Adds the next epoch. */
  add(incremental: Incremental, map: OsdMap): void {
    this.incrementals.push(incremental);
    this.last = map;
    this.fold();
  }

  /** @throws not_found when that epoch is not in memory any more, or not made yet */
  at(epoch: Epoch): OsdMap {
    if (epoch === this.last.epoch) return this.last;
    return mapAt({ base: this.base, incrementals: this.incrementals }, epoch);
  }

  /**
   * What a subscriber that has all epochs below `fromEpoch` needs; undefined: nothing.
   * @param haveHash the hash of its newest map, if it has one
   * @throws corrupt when its history is not ours: it is ahead, or forked
   */
  since(fromEpoch: number, haveHash?: string): Maps | undefined {
    const have = fromEpoch - 1;
    if (fromEpoch <= 0) return { kind: "maps", full: this.last, incrementals: [] };
    if (have > this.last.epoch) {
      throw historyError(`it has map epoch ${have}, this monitor ends at ${this.last.epoch}`);
    }
    const first = have - this.base.epoch;
    if (haveHash !== undefined && first >= 0 && haveHash !== this.hashAt(first)) {
      throw historyError(`its map epoch ${have} is another one than this monitor's`);
    }
    const missing = this.last.epoch - have;
    if (missing === 0) return undefined;
    if (first < 0 || missing > maxIncrementals) {
      return { kind: "maps", full: this.last, incrementals: [] };
    }
    return { kind: "maps", incrementals: this.incrementals.slice(first) };
  }

  /** The hash of epoch base.epoch + steps. */
  private hashAt(steps: number): string {
    if (steps === 0) return this.base.hash;
    return defined(this.incrementals[steps - 1], "an incremental of the history").hash;
  }

  private fold(): void {
    while (this.incrementals.length > keptEpochs) {
      const oldest = defined(this.incrementals.shift(), "the oldest incremental");
      this.base = applyIncremental(this.base, oldest);
    }
  }
}

function historyError(why: string): StorageError {
  return new StorageError("corrupt", `this daemon followed another history of the map: ${why}`, {
    remedy:
      "The monitor's folder was replaced by an older or foreign one. Put back the newest one; " +
      "daemons that saw more must not follow it.",
  });
}
