// What holds the recovery of a PG back, by the map: flags of the operator, and OSDs without room.
// Pure. A PG that is held keeps its place in the queue; objects that clients wait for are recovered
// all the same.
import { hasFlag } from "../../proto/map-flags.js";
import { findOsd, type OsdMap } from "../../proto/osd-map.js";
import type { Interval } from "../peering/state.js";

/** What is known of the PG that wants to recover. */
export interface RecoveryNeed {
  interval: Pick<Interval, "acting" | "size">;
  /** members of the acting set that get all of their copy anew, not just what they missed */
  backfilling: readonly number[];
  /** whole copies outside of the acting set, that stay until the backfill is done */
  wholeStrays: readonly number[];
}

export type RecoveryHold =
  | "backfill_toofull"
  | "recovery_toofull"
  | "norecover"
  | "nobackfill"
  | "norebalance";

interface Rule {
  hold: RecoveryHold;
  holds(map: OsdMap, need: RecoveryNeed): boolean;
}

const levelOf = (map: OsdMap, osd: number) => findOsd(map, osd)?.fullState ?? "nearfull";
/**
 * True when there are enough copies without the backfill, which then only moves data to a better
 * place. What is written meanwhile the backfilled member has too: a write waits until its object
 * has been recovered there. An OSD that is down may not come back with its copy.
 */
const onlyRebalances = (map: OsdMap, { interval, backfilling, wholeStrays }: RecoveryNeed) => {
  const spare = wholeStrays.filter((osd) => findOsd(map, osd)?.up).length;
  return interval.acting.length - backfilling.length + spare >= interval.size;
};

const rules: readonly Rule[] = [
  {
    hold: "backfill_toofull",
    holds: (map, { backfilling }) => backfilling.some((osd) => levelOf(map, osd) !== "nearfull"),
  },
  {
    hold: "recovery_toofull",
    holds: (map, { interval }) => interval.acting.some((osd) => levelOf(map, osd) === "full"),
  },
  { hold: "norecover", holds: (map) => hasFlag(map, "norecover") },
  {
    hold: "nobackfill",
    holds: (map, { backfilling }) => backfilling.length > 0 && hasFlag(map, "nobackfill"),
  },
  {
    hold: "norebalance",
    holds: (map, need) =>
      need.backfilling.length > 0 && onlyRebalances(map, need) && hasFlag(map, "norebalance"),
  },
];

/** The first reason why the PG may not recover now; undefined: it may. */
export function recoveryHold(map: OsdMap, need: RecoveryNeed): RecoveryHold | undefined {
  return rules.find(({ holds }) => holds(map, need))?.hold;
}
