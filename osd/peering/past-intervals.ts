// Past intervals of a PG: which of them may have acknowledged writes, and from whom peering must
// hear before it may believe that it knows all of those. Pure.
//
// Invariant of a history: its intervals are sorted, and cover every epoch from `since` up to the
// present interval without a hole; epochs in which nobody knows who acted are an unknown range.
import { maxPastIntervals, type PastInterval, type PgHistory } from "../../proto/peering.js";

/** What peering looks at in the map, per OSD. */
export interface OsdView {
  up: boolean;
  /** the OSD is known to have been alive, and its PGs maybe active, until this epoch */
  upThru: number;
}
export type OsdViews = ReadonlyMap<number, OsdView>;

/** The history of a PG that nobody here has seen before the present interval. */
export function historySince(since: number, presentFirst: number): PgHistory {
  return mergeHistories([{ since, intervals: [] }], presentFirst);
}

/** A range of epochs of which nothing is known. */
export function unknownRange(first: number, last: number): PastInterval {
  return { first, last, acting: [], maybeActive: true, unknown: true };
}

/**
 * The interval [first, last] as it goes into a history.
 * @param osds by the map of epoch last + 1, or a later one
 */
export function finishedInterval(
  first: number,
  last: number,
  acting: readonly number[],
  minSize: number,
  osds: OsdViews,
): PastInterval {
  const primary = acting[0];
  const upThru = primary === undefined ? 0 : (osds.get(primary)?.upThru ?? 0);
  const maybeActive = acting.length > 0 && acting.length >= minSize && upThru >= first;
  return { first, last, acting: [...acting], maybeActive };
}

/**
 * What several OSDs know together: the newest time at which the PG was clean, and all that any of
 * them knows of the intervals since.
 * @param presentFirst first epoch of the present interval
 */
export function mergeHistories(histories: readonly PgHistory[], presentFirst: number): PgHistory {
  const since = Math.max(...histories.map((history) => history.since));
  const known = new Map<string, PastInterval>();
  for (const interval of histories.flatMap((history) => history.intervals)) {
    if (interval.unknown || interval.last < since || interval.first >= presentFirst) continue;
    known.set(`${interval.first}-${interval.last}:${interval.acting}`, interval);
  }
  const sorted = [...known.values()].sort((a, b) => a.first - b.first || a.last - b.last);
  const intervals: PastInterval[] = [];
  let next = since;
  for (const interval of sorted) {
    if (interval.first > next) intervals.push(unknownRange(next, interval.first - 1));
    intervals.push(interval);
    next = Math.max(next, interval.last + 1);
  }
  if (next < presentFirst) intervals.push(unknownRange(next, presentFirst - 1));
  return { since, intervals: bounded(intervals) };
}

/** Folds the oldest intervals into one unknown range: that demands more, never less. */
function bounded(intervals: PastInterval[]): PastInterval[] {
  const excess = intervals.length - maxPastIntervals;
  if (excess <= 0) return intervals;
  const folded = intervals.slice(0, excess + 1);
  const first = Math.min(...folded.map((interval) => interval.first));
  const last = Math.max(...folded.map((interval) => interval.last));
  return [unknownRange(first, last), ...intervals.slice(excess + 1)];
}

/** The history with one more interval at its end. */
export function appended(history: PgHistory, interval: PastInterval): PgHistory {
  return { ...history, intervals: bounded([...history.intervals, interval]) };
}

/** The intervals from which at least one member has to be heard. */
function demanding(history: PgHistory): PastInterval[] {
  return history.intervals.filter((interval) => interval.maybeActive);
}

/**
 * Who could have been the primary of an interval in an unknown range: all whose up_thru reaches
 * it. To hear all of them is to hear the primary of each interval in it that may have been active.
 */
function possiblePrimaries(range: PastInterval, osds: OsdViews): number[] {
  return [...osds].filter(([, view]) => view.upThru >= range.first).map(([osd]) => osd);
}

/** The OSDs, up or not, that may know of writes in the past intervals. */
export function holders(history: PgHistory, osds: OsdViews): Set<number> {
  return new Set(
    demanding(history).flatMap((interval) =>
      interval.unknown ? possiblePrimaries(interval, osds) : interval.acting,
    ),
  );
}

/**
 * The past intervals that forbid to go on, with the OSDs of which one (all of them, for an unknown
 * range) has to come back.
 * @param heard the OSDs whose info is known
 */
export function blockingIntervals(
  history: PgHistory,
  osds: OsdViews,
  heard: { has(osd: number): boolean },
): { interval: PastInterval; waitingFor: number[] }[] {
  return demanding(history)
    .map((interval) => {
      if (interval.unknown) {
        const silent = possiblePrimaries(interval, osds).filter((osd) => !heard.has(osd));
        return { interval, waitingFor: silent };
      }
      const anyHeard = interval.acting.some((osd) => heard.has(osd));
      return { interval, waitingFor: anyHeard ? [] : interval.acting };
    })
    .filter(({ waitingFor }) => waitingFor.length > 0);
}
