// The slow-OSD service: finds OSDs whose disk takes far longer to commit than those of their
// peers, and marks them slow in the map, which moves the PGs that they lead to others
// (proto/placement.ts). Pure.
//
// What is compared is the mean time of a store commit over the last seconds, from the histograms
// that OSDs report. An OSD is slow when its mean is above a bound in milliseconds AND several times
// the median of the others: load alone makes all of them slow, and moves nothing. Marked and
// unmarked with delay, since each change is a new interval for its PGs. An OSD that commits nothing
// stays what it is for ten minutes; a restart clears the mark. At most half of the OSDs that are up
// are marked.
import type { OsdStats } from "../../proto/messages.js";
import { findOsd, type OsdInfo, type OsdMap } from "../../proto/osd-map.js";
import { limitMs } from "../../proto/settings.js";
import { type Effect, logEffect, type MonitorEvent, type StepContext } from "./events.js";

interface Sample {
  atMs: number;
  /** commits since the OSD's start, and the time that they took together */
  commits: number;
  sumNs: number;
}

interface Watched {
  /** oldest first; they reach back one sample over the window */
  samples: Sample[];
  /** since when each report has said the same: slow, or quick enough to lose the mark */
  slowSinceMs: number | undefined;
  quickSinceMs: number | undefined;
  /** since when there have been too few commits to say anything */
  idleSinceMs: number | undefined;
}

export interface SlowState {
  readonly watched: Map<number, Watched>;
}

/** The state of a monitor that has just started. */
export function initialSlowState(): SlowState {
  return { watched: new Map() };
}

/** An OSD's mean commit time, and the median of its peers'. */
export interface CommitLatency {
  commitMs: number;
  peersMs: number;
}

export const latencyWindowMs = 10_000;
/** A mean over fewer commits says nothing. */
export const minCommits = 20;
/** How many times its peers' median a slow OSD takes. */
export const slowFactor = 4;
export const markAfterMs = 6000;
export const clearAfterMs = 60_000;
/** A mark goes when there has been nothing to judge by for so long. */
export const forgetAfterMs = 600_000;
/** A mark goes when the mean is below this share of the bound. */
const clearShare = 0.5;

/** @returns the change, when a report shows an OSD slow for long, or no longer */
export function stepSlow(state: SlowState, event: MonitorEvent, context: StepContext): Effect[] {
  switch (event.kind) {
    case "osdBoot":
    case "osdDisconnected":
      state.watched.delete(event.osd);
      return [];
    case "osdStats":
      return judge(state, event, context);
    default:
      return [];
  }
}

/** The figures of an OSD; undefined: too few commits of it, or of its peers. */
export function commitLatency(
  state: SlowState,
  map: OsdMap,
  id: number,
): CommitLatency | undefined {
  const commitMs = meanMs(state.watched.get(id));
  const peers = map.osds
    .filter((osd) => osd.up && osd.id !== id)
    .map((osd) => meanMs(state.watched.get(osd.id)))
    .filter((mean) => mean !== undefined)
    .sort((a, b) => a - b);
  const peersMs = peers[Math.floor((peers.length - 1) / 2)];
  return commitMs === undefined || peersMs === undefined ? undefined : { commitMs, peersMs };
}

function judge(state: SlowState, stats: OsdStats, { map, nowMs }: StepContext): Effect[] {
  const osd = findOsd(map, stats.osd);
  if (osd === undefined || !osd.up) return [];
  const watched = observe(state, stats, nowMs);
  const latency = commitLatency(state, map, osd.id);
  if (latency === undefined) return judgeIdle(watched, osd, nowMs);
  watched.idleSinceMs = undefined;
  const boundMs = Math.max(limitMs(map, "mon.slow_osd_latency_ms"), slowFactor * latency.peersMs);
  const { commitMs } = latency;
  watched.slowSinceMs = commitMs >= boundMs ? (watched.slowSinceMs ?? nowMs) : undefined;
  const isQuick = commitMs < clearShare * boundMs;
  watched.quickSinceMs = isQuick ? (watched.quickSinceMs ?? nowMs) : undefined;
  if (osd.slow) {
    const lasts = nowMs - (watched.quickSinceMs ?? nowMs) >= clearAfterMs;
    return lasts
      ? [mark(osd, false), logEffect("info", "OSD no longer slow", fieldsOf(osd, latency))]
      : [];
  }
  const lasts = nowMs - (watched.slowSinceMs ?? nowMs) >= markAfterMs;
  if (!lasts || !mayMarkAnother(map)) return [];
  return [mark(osd, true), logEffect("warn", "OSD marked slow", fieldsOf(osd, latency))];
}

/** Nothing is known: a mark does not stay for ever, and comes back soon when there is load. */
function judgeIdle(watched: Watched, osd: OsdInfo, nowMs: number): Effect[] {
  watched.slowSinceMs = undefined;
  watched.quickSinceMs = undefined;
  watched.idleSinceMs ??= nowMs;
  if (!osd.slow || nowMs - watched.idleSinceMs < forgetAfterMs) return [];
  return [mark(osd, false), logEffect("info", "OSD no longer shown slow: idle", { osd: osd.id })];
}

function fieldsOf(osd: OsdInfo, latency: CommitLatency): Record<string, unknown> {
  return { osd: osd.id, ...latency };
}

function mayMarkAnother(map: OsdMap): boolean {
  const up = map.osds.filter((osd) => osd.up);
  return 2 * (up.filter(({ slow }) => slow).length + 1) <= up.length;
}

function mark(osd: OsdInfo, slow: boolean): Effect {
  const { slow: _, ...rest } = osd;
  return { kind: "change", changes: { osds: [slow ? { ...rest, slow } : rest] } };
}

/** Takes the report's commits into the OSD's window. */
function observe(state: SlowState, stats: OsdStats, nowMs: number): Watched {
  const watched: Watched = state.watched.get(stats.osd) ?? {
    samples: [],
    slowSinceMs: undefined,
    quickSinceMs: undefined,
    idleSinceMs: undefined,
  };
  state.watched.set(stats.osd, watched);
  const histogram = stats.histograms.store_commit;
  if (histogram === undefined) return watched;
  const commits = histogram.counts.reduce((sum, count) => sum + count, 0);
  const last = watched.samples.at(-1);
  // Counters that step back are those of another life of the OSD.
  if (last !== undefined && commits < last.commits) watched.samples = [];
  watched.samples.push({ atMs: nowMs, commits, sumNs: histogram.sumNs });
  const isOutside = (sample: Sample | undefined) =>
    sample !== undefined && nowMs - sample.atMs >= latencyWindowMs;
  while (isOutside(watched.samples[1])) watched.samples.shift();
  return watched;
}

function meanMs(watched: Watched | undefined): number | undefined {
  const first = watched?.samples[0];
  const last = watched?.samples.at(-1);
  if (first === undefined || last === undefined) return undefined;
  const commits = last.commits - first.commits;
  return commits < minCommits ? undefined : (last.sumNs - first.sumNs) / commits / 1e6;
}
