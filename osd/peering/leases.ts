// Read leases that an older primary may still believe in (native/core/pg/lease.hh): how long a new
// primary must not serve. Pure.
//
// It rests on this: peering hears at least one member of each past interval that may have been
// active. If that is the old primary, its gate refuses the old interval by then; if it is a
// replica, the old primary's lease needs its promise, which it does not renew any more.
import type { PgInfo } from "../../proto/peering.js";
import type { Gathered } from "./state.js";

/** What is left of a copy's promise. @param knownMs when the info was true */
export function leaseLeftMs(info: PgInfo, knownMs: number, now: number): number {
  return Math.max(0, Math.ceil(info.leaseMs - (now - knownMs)));
}

/** The ends of the promises, with that of one more copy. */
export function leaseEnds(
  ends: ReadonlyMap<number, number>,
  osd: number,
  info: PgInfo | undefined,
  knownMs: number,
): ReadonlyMap<number, number> {
  if (info === undefined || info.leaseMs === 0) return ends;
  return new Map(ends).set(osd, knownMs + info.leaseMs);
}

/** How long the primary waits before it serves. A promise to one that has been heard is void. */
export function leaseWaitMs({ infos, leasesEndMs }: Gathered, now: number): number {
  const ends = [...leasesEndMs]
    .filter(([osd]) => !infos.has(infos.get(osd)?.leaseHolder ?? -1))
    .map(([, end]) => end);
  return Math.max(0, Math.ceil(Math.max(0, ...ends) - now));
}
