// OSDs that could not start: a process that was refused its store says so before it ends, and then
// nobody is there who would report it. Kept in memory: counted for /metrics since this monitor's
// start, and shown in health until the OSD runs again, or for a day.
import type { ErrorBody, ErrorCode } from "../../common/errors.js";
import type { OsdStartRefused } from "../../proto/messages.js";
import { findOsd, type OsdMap } from "../../proto/osd-map.js";

export interface StartRefusal {
  host: string;
  error: ErrorBody;
  /** monotonic */
  atMs: number;
  /** that the map had then */
  incarnation: string;
}

export interface StartRefusalState {
  /** OSD -> code -> how often */
  readonly counts: Map<number, Map<ErrorCode, number>>;
  /** of OSDs of the map; the newest of each */
  readonly current: Map<number, StartRefusal>;
}

/** The state of a monitor that has just started. */
export function initialStartRefusalState(): StartRefusalState {
  return { counts: new Map(), current: new Map() };
}

/** An OSD that nobody tries to start any more is not warned of for longer. */
export const startRefusalShownMs = 24 * 3600 * 1000;

/**
 * Takes note of a start that was refused.
 * @param isServed the OSD itself runs meanwhile: a second process was started beside it, which
 *   says nothing about the first
 * @returns true when this is news: another reason than before
 */
export function noteStartRefused(
  state: StartRefusalState,
  { osd, host, error }: OsdStartRefused,
  { map, nowMs, isServed }: { map: OsdMap; nowMs: number; isServed: boolean },
): boolean {
  const byCode = state.counts.get(osd) ?? new Map<ErrorCode, number>();
  const count = (byCode.get(error.code) ?? 0) + 1;
  byCode.set(error.code, count);
  state.counts.set(osd, byCode);
  if (isServed) return false;
  const known = findOsd(map, osd);
  // The cluster has lost nothing by one that it never had.
  if (known === undefined) return count === 1;
  const before = state.current.get(osd)?.error;
  state.current.set(osd, { host, error, atMs: nowMs, incarnation: known.incarnation });
  return before?.code !== error.code || before.message !== error.message;
}

/** Forgets OSDs that have come up since, or are gone. To be called with each new map. */
export function observeStarts(state: StartRefusalState, map: OsdMap): void {
  for (const [id, { incarnation }] of state.current) {
    const osd = findOsd(map, id);
    const hasBooted = osd?.up === true && osd.incarnation !== incarnation;
    if (hasBooted || osd === undefined) state.current.delete(id);
  }
}

/** What health shows: the OSDs that do not run because of that. */
export function shownStartRefusals(
  state: StartRefusalState,
  map: OsdMap,
  nowMs: number,
): [number, StartRefusal][] {
  return [...state.current]
    .filter(([id, { atMs }]) => !findOsd(map, id)?.up && nowMs - atMs < startRefusalShownMs)
    .sort(([a], [b]) => a - b);
}
