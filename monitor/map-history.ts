// The recent epochs in memory: what subscribers that are behind get. Bounded in number and bytes:
// older epochs are folded into the base map.
import { defined } from "../common/assert.js";
import { StorageError } from "../common/errors.js";
import type { Epoch } from "../common/units.js";
import { encodeValue } from "../proto/encoding.js";
import { checkFollows } from "../proto/generation.js";
import type { Maps } from "../proto/messages.js";
import { applyIncremental, type Incremental, type OsdMap } from "../proto/osd-map.js";
import { type MapHistory, mapAt, newestOf } from "./store/map-store.js";

/** Epochs in memory, and how many bytes they may have in a message. */
const keptEpochs = 500;
const keptBytes = 64 << 20;
/** Incrementals of one message; one that is larger goes alone. Below a frame's maxMetaBytes. */
const messageBytes = 4 << 20;
/** A subscriber that is further behind gets the newest map in full: that is shorter. */
const maxIncrementals = 100;

interface Step {
  incremental: Incremental;
  bytes: number;
}

export class RecentMaps {
  private base: OsdMap;
  private readonly steps: Step[] = [];
  private stepBytes = 0;
  private last: OsdMap;

  constructor(history: MapHistory) {
    this.base = history.base;
    this.last = newestOf(history);
    for (const incremental of history.incrementals) this.push(incremental);
  }

  newest(): OsdMap {
    return this.last;
  }

  /** Adds the next epoch. */
  add(incremental: Incremental, map: OsdMap): void {
    this.last = map;
    this.push(incremental);
  }

  /** @throws not_found when that epoch is not in memory any more, or not made yet */
  at(epoch: Epoch): OsdMap {
    if (epoch === this.last.epoch) return this.last;
    const incrementals = this.steps.map(({ incremental }) => incremental);
    return mapAt({ base: this.base, incrementals }, epoch);
  }

  /**
   * What a subscriber that has all epochs below `fromEpoch` needs next; undefined: nothing. There
   * may be more after it.
   * @param haveHash the hash of its newest map, if it has one
   * @throws corrupt, wrong_cluster when its history is not ours: it is ahead, or forked
   */
  since(fromEpoch: number, haveHash?: string): Maps | undefined {
    const have = fromEpoch - 1;
    if (fromEpoch <= 0) return { kind: "maps", full: this.last, incrementals: [] };
    if (have > this.last.epoch) {
      throw historyError(`it has map epoch ${have}, this monitor ends at ${this.last.epoch}`);
    }
    checkFollows(this.last, { epoch: have, hash: haveHash });
    const first = have - this.base.epoch;
    if (haveHash !== undefined && first >= 0 && haveHash !== this.hashAt(first)) {
      throw historyError(`its map epoch ${have} is another one than this monitor's`);
    }
    const missing = this.last.epoch - have;
    if (missing === 0) return undefined;
    if (first < 0 || missing > maxIncrementals) {
      return { kind: "maps", full: this.last, incrementals: [] };
    }
    return { kind: "maps", incrementals: messageful(this.steps.slice(first)) };
  }

  /** The hash of epoch base.epoch + steps. */
  private hashAt(steps: number): string {
    if (steps === 0) return this.base.hash;
    return defined(this.steps[steps - 1], "a step of the history").incremental.hash;
  }

  private push(incremental: Incremental): void {
    const bytes = encodeValue(incremental).length;
    this.steps.push({ incremental, bytes });
    this.stepBytes += bytes;
    while (this.steps.length > keptEpochs || this.stepBytes > keptBytes) {
      const oldest = defined(this.steps.shift(), "the oldest step");
      this.stepBytes -= oldest.bytes;
      this.base = applyIncremental(this.base, oldest.incremental);
    }
  }
}

/** The first incrementals, as many as go into one message; at least one. */
function messageful(steps: readonly Step[]): Incremental[] {
  let bytes = 0;
  const fits = (step: Step, index: number) => {
    bytes += step.bytes;
    return index === 0 || bytes <= messageBytes;
  };
  const end = steps.findIndex((step, index) => !fits(step, index));
  return steps.slice(0, end === -1 ? steps.length : end).map(({ incremental }) => incremental);
}

function historyError(why: string): StorageError {
  return new StorageError("corrupt", `this daemon followed another history of the map: ${why}`, {
    remedy:
      "The monitor's folder was replaced by an older or foreign one. Put back the newest one; " +
      "daemons that saw more must not follow it.",
  });
}
