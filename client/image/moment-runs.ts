// Which parts of an image are the same over which of its moments: so that what is copied once can
// be shared by all of them. Pure.

/** Sorted, apart from each other. */
export type Ranges = readonly (readonly [begin: number, end: number])[];

/** Moments [first, last] have the same in the ranges. */
export interface Run {
  first: number;
  last: number;
  ranges: [begin: number, end: number][];
}

/** Sorts ranges, and joins those that meet. */
export function merged(ranges: readonly (readonly [number, number])[]): [number, number][] {
  const found: [number, number][] = [];
  for (const [begin, end] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = found.at(-1);
    if (last !== undefined && begin <= last[1]) last[1] = Math.max(last[1], end);
    else if (begin < end) found.push([begin, end]);
  }
  return found;
}

/**
 * Takes [0, endBytes) of all moments apart into runs.
 * @param changes of each moment but the first: what may differ from the moment before
 */
export function runsOf(changes: readonly Ranges[], endBytes: number): Run[] {
  const places = new Set([0, endBytes]);
  for (const ranges of changes) {
    for (const range of ranges) for (const place of range) places.add(Math.min(place, endBytes));
  }
  const sorted = [...places].sort((a, b) => a - b);
  const next = changes.map(() => 0);
  const runs = new Map<string, Run>();
  for (const [index, begin] of sorted.entries()) {
    const end = sorted[index + 1];
    if (end === undefined) break;
    let first = 0;
    for (let moment = 1; moment <= changes.length; moment += 1) {
      if (!differs(changes[moment - 1] ?? [], moment - 1, next, begin)) continue;
      add(runs, first, moment - 1, begin, end);
      first = moment;
    }
    add(runs, first, changes.length, begin, end);
  }
  return [...runs.values()].sort((a, b) => a.first - b.first || a.last - b.last);
}

/** next: of each list the first range that does not end before the place. */
function differs(ranges: Ranges, list: number, next: number[], place: number): boolean {
  let at = next[list] ?? 0;
  while (at < ranges.length && (ranges[at]?.[1] ?? 0) <= place) at += 1;
  next[list] = at;
  const range = ranges[at];
  return range !== undefined && range[0] <= place;
}

function add(
  runs: Map<string, Run>,
  first: number,
  last: number,
  begin: number,
  end: number,
): void {
  const key = `${first}-${last}`;
  const run = runs.get(key) ?? { first, last, ranges: [] };
  runs.set(key, run);
  const before = run.ranges.at(-1);
  if (before?.[1] === begin) before[1] = end;
  else run.ranges.push([begin, end]);
}
