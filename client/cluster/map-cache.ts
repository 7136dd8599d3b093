// The newest cluster map that the monitor has sent, built from full maps and incrementals. Pure.
//
// Invariants: epochs only grow; an incremental is applied only to the map that it was made from
// (epoch and hash), else the caller has to fetch a full map: nothing is guessed. A map of an older
// generation than one seen before is never taken, not even after forget(). To go on to a newer
// generation is always right here: a client's map only says whom to ask.
import { toStorageError } from "../../common/errors.js";
import { generationOf } from "../../proto/generation.js";
import type { Maps, Subscribe } from "../../proto/messages.js";
import { applyIncremental, checkHash, type OsdMap } from "../../proto/osd-map.js";

export type MapUpdate =
  /** there is a newer map */
  | { kind: "newer"; map: OsdMap }
  /** nothing new in it */
  | { kind: "unchanged" }
  /** gap, fork or damage: subscribe again as `subscription()` says now */
  | { kind: "refetch"; reason: string };

export class MapCache {
  private map: OsdMap | undefined;
  private generation = 0;

  /** undefined: none has come yet */
  newest(): OsdMap | undefined {
    return this.map;
  }

  /** What to send to the monitor to get what lacks. */
  subscription(): Subscribe {
    if (this.map === undefined)
      return { kind: "subscribe", fromEpoch: 0 as Subscribe["fromEpoch"] };
    const fromEpoch = (this.map.epoch + 1) as Subscribe["fromEpoch"];
    return { kind: "subscribe", fromEpoch, haveHash: this.map.hash };
  }

  /** Takes what the monitor sent. */
  take(maps: Maps): MapUpdate {
    const before = this.map;
    if (maps.full !== undefined && generationOf(maps.full.epoch) < this.generation) {
      return { kind: "unchanged" };
    }
    try {
      this.map = newestOf(before, maps);
    } catch (thrown) {
      this.map = undefined;
      return { kind: "refetch", reason: toStorageError(thrown).message };
    }
    if (this.map === undefined || this.map === before) return { kind: "unchanged" };
    this.generation = generationOf(this.map.epoch);
    return { kind: "newer", map: this.map };
  }

  /** The monitor refuses the history that we have: begin anew with a full map. */
  forget(): void {
    this.map = undefined;
  }
}

function newestOf(before: OsdMap | undefined, { full, incrementals }: Maps): OsdMap | undefined {
  let map = before;
  if (full !== undefined && (map === undefined || full.epoch > map.epoch)) {
    checkHash(full);
    map = full;
  }
  for (const incremental of incrementals) {
    if (map === undefined) break;
    if (incremental.epoch > map.epoch) map = applyIncremental(map, incremental);
  }
  return map;
}
