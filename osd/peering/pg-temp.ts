// pg_temp: another acting set than the up set, while the up primary would first have to copy much
// of the PG itself. A member with a whole copy leads meanwhile, so that clients read and write at
// once; the up primary follows it and is recovered like any member. Pure; the monitor sets pg_temp.
import type { PgInfo } from "../../proto/peering.js";
import { sameVersion } from "./merge-log.js";
import {
  type Entry,
  enter,
  type Handler,
  type PgEffect,
  type PgState,
  quiet,
  type Step,
} from "./state.js";

/** A primary that lacks more objects than this lets another one lead, if there is a whole copy. */
export const maxMissingOfPrimary = 100;
/** Without another acting set after this long the PG goes on with the one that it has. */
export const waitActingMs = 3000;

function isBehind(info: PgInfo, authority: PgInfo): boolean {
  if (sameVersion(info.lastUpdate, authority.lastUpdate)) {
    return info.missingCount > maxMissingOfPrimary;
  }
  const isEmpty = info.lastEpochStarted === 0 && authority.lastUpdate[1] > 0;
  return isEmpty || info.lastUpdate[1] < authority.logTail;
}

/** The acting set that is better than the present one; undefined: none is. */
export function betterActing(state: PgState): number[] | undefined {
  const { infos, authority: chosen } = state.gathered;
  const { up, acting, size } = state.interval;
  const [own, authority] = [infos.get(state.self), infos.get(chosen)];
  if (own === undefined || authority === undefined || !isBehind(own, authority)) return undefined;
  const isWhole = (osd: number) => {
    const info = infos.get(osd);
    if (info === undefined || info.lastEpochStarted === 0 || info.missingCount > 0) return false;
    return sameVersion(info.lastUpdate, authority.lastUpdate) && state.map.osds.get(osd)?.up;
  };
  const leader = [...up, ...infos.keys()].find(isWhole);
  // With one copy only nobody would be recovered beside the leader.
  if (leader === undefined || size < 2) return undefined;
  const better = [leader, ...up.filter((osd) => osd !== leader)].slice(0, size);
  return better.join() === acting.join() ? undefined : better;
}

/** The state in which the primary waits for the monitor to change the acting set. */
export const enterWaitActing: Entry = (state, now) => ({
  state: { ...state, progressMs: now },
  effects: askForBetter(state),
});

function askForBetter(state: PgState): PgEffect[] {
  const acting = betterActing(state);
  return acting === undefined ? [] : [{ kind: "requestPgTemp", acting }];
}

export const onTickWaitActing: Handler<"tick"> = (state, _event, now): Step =>
  now - state.progressMs < waitActingMs
    ? { state, effects: askForBetter(state) }
    : enter(state, "GetLog");

/**
 * What the acting primary wants of a temporary set: back to the up set once the up primary lacks
 * nothing; and that the up primary is a member until then, since nobody else fills it. It may come
 * up, or become the up primary, after the set was made. Asked each second until it has happened.
 */
export function nextTemp({ self, interval, missingCount }: PgState): PgEffect[] {
  const { up, acting, size } = interval;
  const [primary] = up;
  if (primary === undefined || acting.join() === up.join()) return [];
  if (!acting.includes(primary)) {
    // As many copies as before, those of the up set first.
    const wanted = [...new Set([self, ...up, ...acting])].slice(0, size);
    return [{ kind: "requestPgTemp", acting: wanted }];
  }
  const mayEnd = missingCount === 0 && up.length >= acting.length;
  return mayEnd ? [{ kind: "requestPgTemp", acting: [] }] : [];
}

export const onTickServing: Handler<"tick"> = (state) => {
  const effects = nextTemp(state);
  return effects.length === 0 ? quiet(state) : { state, effects };
};
