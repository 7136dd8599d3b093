// Which PG of this OSD is scrubbed now, and what becomes of a scrub. Pure.
//
// Invariants: one scrub at a time of those that this OSD leads (the members keep to one as well:
// busy is their answer, and the scrub is tried again later); what was asked for by hand goes first
// and is kept until it is done; a scrub that an interval interrupts goes on behind the last object
// that was compared. The bytes, and the comparison, are native.
import type { PgId } from "../../common/units.js";
import { type FinishedScrub, maxFinishedScrubs, type ScrubMode } from "../../proto/scrub.js";
import {
  countsOf,
  type Findings,
  type FoundObject,
  newScrubRecord,
  noFindings,
  type Owns,
  ownFindings,
  ownRecord,
  recordAfter,
  type ScrubRecord,
  withFound,
} from "./record.js";
import type { ScrubSettings } from "./settings.js";

/** A PG as the OSD sees it now. */
export interface ScrubCandidate {
  pgid: PgId;
  interval: number;
  /** it serves and nothing of it is missing */
  isWhole: boolean;
  /** as stored; undefined: never scrubbed */
  record: ScrubRecord | undefined;
  owns: Owns;
}

/** A scrub that has been asked for, with how far it has come. */
interface Job {
  readonly mode: ScrubMode;
  /** absent: it is due by itself */
  readonly request?: number;
  readonly after: string;
  readonly findings: Findings;
}

interface PgEntry {
  readonly interval: number;
  readonly isWhole: boolean;
  readonly record: ScrubRecord;
  readonly jobs: readonly Job[];
  /** not before this time, after a scrub that could not be done */
  readonly notBeforeMs: number;
  /** of those that were asked for, the newest last */
  readonly finished: readonly FinishedScrub[];
}

interface Running {
  readonly pgid: PgId;
  readonly scrub: number;
  readonly job: Job;
  /** the job as it goes on after an interruption: without what its last chunk will find again */
  readonly saved: Job;
}

export interface ScrubState {
  readonly pgs: ReadonlyMap<PgId, PgEntry>;
  readonly running?: Running;
  readonly nextScrub: number;
  /** none begins before this, for members were busy */
  readonly pausedUntilMs: number;
}

export type ScrubEvent =
  | { kind: "pgs"; pgs: readonly ScrubCandidate[] }
  | { kind: "command"; pgid: PgId; mode: ScrubMode; request: number }
  | { kind: "tick"; settings: ScrubSettings }
  | { kind: "object"; scrub: number; found: FoundObject }
  | { kind: "progress"; scrub: number; after: string; objects: number; bytes: number }
  | { kind: "done"; scrub: number; code?: string };

export type ScrubEffect =
  | {
      kind: "start";
      pgid: PgId;
      interval: number;
      scrub: number;
      mode: ScrubMode;
      after: string;
      bytesPerSecond: number;
    }
  | { kind: "stop"; pgid: PgId; interval: number }
  | { kind: "store"; pgid: PgId; interval: number; record: ScrubRecord }
  | { kind: "log"; level: "info" | "warn"; text: string; fields: Record<string, unknown> };

export interface ScrubStep {
  state: ScrubState;
  effects: ScrubEffect[];
}

/**
 * When a member was busy, no scrub begins for up to twice this; a failed one waits longer. Short
 * beside a scrub of a small PG: where all PGs have the same members, the OSDs take turns by this.
 */
export const busyRetryMs = 200;
export const failedRetryMs = 30_000;
/** A PG is due by up to this share of its interval later, so that not all are at once. */
const jitterShare = 0.25;

export const initialScrubState: ScrubState = { pgs: new Map(), nextScrub: 1, pausedUntilMs: 0 };

/** What an event leads to. @param now wall milliseconds */
export function step(state: ScrubState, event: ScrubEvent, now: number): ScrubStep {
  switch (event.kind) {
    case "pgs":
      return onPgs(state, event.pgs, now);
    case "command":
      return quiet(onCommand(state, event.pgid, { ...event, after: "", findings: noFindings }));
    case "tick":
      return onTick(state, event.settings, now);
    case "object":
      return onObject(state, event.scrub, event.found);
    case "progress":
      return quiet(onProgress(state, event));
    case "done":
      return onDone(state, event.scrub, event.code, now);
  }
}

const quiet = (state: ScrubState): ScrubStep => ({ state, effects: [] });

function withPg(state: ScrubState, pgid: PgId, entry: PgEntry): ScrubState {
  return { ...state, pgs: new Map(state.pgs).set(pgid, entry) };
}

/** The state without its running scrub. */
function idle({ pgs, nextScrub, pausedUntilMs }: ScrubState): ScrubState {
  return { pgs, nextScrub, pausedUntilMs };
}

function onPgs(before: ScrubState, candidates: readonly ScrubCandidate[], now: number): ScrubStep {
  const state = interrupted(before, candidates);
  const effects: ScrubEffect[] = [];
  const pgs = new Map<PgId, PgEntry>();
  for (const { pgid, interval, isWhole, record: stored, owns } of candidates) {
    const known = state.pgs.get(pgid);
    const record = ownRecord(newer(known?.record, stored) ?? newScrubRecord(now), owns);
    if (known === undefined && stored === undefined && isWhole) {
      effects.push({ kind: "store", pgid, interval, record });
    }
    const begun: Pick<PgEntry, "jobs" | "notBeforeMs" | "finished"> = known ?? {
      jobs: [],
      notBeforeMs: 0,
      finished: [],
    };
    const jobs = begun.jobs.map((job) => ({ ...job, findings: ownFindings(job.findings, owns) }));
    pgs.set(pgid, { ...begun, jobs, interval, isWhole, record });
  }
  return { state: { ...state, pgs }, effects };
}

/** The native core has dropped a scrub with its interval. */
function interrupted(state: ScrubState, candidates: readonly ScrubCandidate[]): ScrubState {
  const { running } = state;
  if (running === undefined) return state;
  const candidate = candidates.find(({ pgid }) => pgid === running.pgid);
  if (candidate === undefined) return idle(state);
  const goesOn = candidate.interval === state.pgs.get(running.pgid)?.interval;
  return goesOn ? state : putBack(idle(state), running, 0);
}

/** A primary that is new may have seen a scrub that we have not, and the other way round. */
function newer(a: ScrubRecord | undefined, b: ScrubRecord | undefined): ScrubRecord | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return b.lastMs > a.lastMs ? b : a;
}

/** The job waits again, before the others of its PG. */
function putBack(state: ScrubState, { pgid, saved }: Running, notBeforeMs: number): ScrubState {
  const entry = state.pgs.get(pgid);
  if (entry === undefined) return state;
  return withPg(state, pgid, { ...entry, jobs: [saved, ...entry.jobs], notBeforeMs });
}

function onCommand(state: ScrubState, pgid: PgId, { mode, request, ...rest }: Job): ScrubState {
  const entry = state.pgs.get(pgid);
  if (entry === undefined || request === undefined) return state;
  const { running } = state;
  const isKnown =
    entry.jobs.some((job) => job.request === request) ||
    entry.finished.some((done) => done.request === request) ||
    (running?.pgid === pgid && running.job.request === request);
  if (isKnown) return state;
  const { after, findings } = rest;
  const jobs = [...entry.jobs, { mode, request, after, findings }];
  return withPg(state, pgid, { ...entry, jobs, notBeforeMs: 0 });
}

function onTick(state: ScrubState, settings: ScrubSettings, now: number): ScrubStep {
  const { running } = state;
  if (running !== undefined) {
    const entry = state.pgs.get(running.pgid);
    const isForbidden = running.job.request === undefined && forbids(settings, running.job.mode);
    if (!isForbidden || entry === undefined) return quiet(state);
    return { state, effects: [{ kind: "stop", pgid: running.pgid, interval: entry.interval }] };
  }
  if (now < state.pausedUntilMs) return quiet(state);
  const chosen = choose(state, settings, now);
  if (chosen === undefined) return quiet(state);
  const { pgid, entry, job } = chosen;
  const scrub = state.nextScrub;
  const jobs = entry.jobs.filter((other) => other !== job);
  const { mode, after } = job;
  const { bytesPerSecond } = settings;
  const next = withPg({ ...state, nextScrub: scrub + 1 }, pgid, { ...entry, jobs });
  return {
    state: { ...next, running: { pgid, scrub, job, saved: job } },
    effects: [
      { kind: "start", pgid, interval: entry.interval, scrub, mode, after, bytesPerSecond },
    ],
  };
}

function forbids(settings: ScrubSettings, mode: ScrubMode): boolean {
  return settings.noScrub || (mode !== "scrub" && settings.noDeepScrub);
}

interface Choice {
  pgid: PgId;
  entry: PgEntry;
  job: Job;
  /** the lower one goes first */
  rank: number;
}

/** What was asked for by hand, then what was interrupted, then what is overdue most. */
function choose(state: ScrubState, settings: ScrubSettings, now: number): Choice | undefined {
  let best: Choice | undefined;
  for (const [pgid, entry] of state.pgs) {
    if (!entry.isWhole || entry.notBeforeMs > now) continue;
    const choice = choiceOf(pgid, entry, settings, now);
    if (choice !== undefined && (best === undefined || choice.rank < best.rank)) best = choice;
  }
  return best;
}

function choiceOf(pgid: PgId, entry: PgEntry, settings: ScrubSettings, now: number) {
  const asked = entry.jobs.find(({ request }) => request !== undefined);
  if (asked !== undefined) return { pgid, entry, job: asked, rank: -2 };
  const [begun] = entry.jobs.filter(({ mode }) => !forbids(settings, mode));
  if (begun !== undefined) return { pgid, entry, job: begun, rank: -1 };
  for (const mode of ["deep-scrub", "scrub"] as const) {
    const due = dueMs(pgid, entry.record, mode, settings);
    if (due > now || forbids(settings, mode)) continue;
    return { pgid, entry, job: { mode, after: "", findings: noFindings }, rank: due };
  }
  return undefined;
}

/** When a PG is to be scrubbed by itself. */
export function dueMs(
  pgid: PgId,
  { sinceMs, lastMs, lastDeepMs }: ScrubRecord,
  mode: "scrub" | "deep-scrub",
  { intervalMs, deepIntervalMs }: ScrubSettings,
): number {
  const length = mode === "scrub" ? intervalMs : deepIntervalMs;
  if (length === 0) return Number.POSITIVE_INFINITY;
  const last = mode === "scrub" ? lastMs : lastDeepMs;
  const from = Math.max(sinceMs, last);
  return from + length * (1 + jitterShare * fraction(`${pgid}/${from}`));
}

/** A number in [0, 1) that is another one for each text: FNV-1a. */
function fraction(text: string): number {
  let hash = 0x811c9dc5;
  for (const character of text) {
    hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  }
  return (hash >>> 0) / 2 ** 32;
}

function onObject(state: ScrubState, scrub: number, found: FoundObject): ScrubStep {
  const { running } = state;
  if (running?.scrub !== scrub) return quiet(state);
  const withIt = (job: Job): Job => ({ ...job, findings: withFound(job.findings, found) });
  // What has been repaired is not found again.
  const saved = found.repaired ? withIt(running.saved) : running.saved;
  const next = { ...state, running: { ...running, job: withIt(running.job), saved } };
  const { object, repaired, good } = found;
  const bad = found.bad.map(
    ({ osd, problem, badBlocks }) => `osd.${osd} ${problem}, ${badBlocks.length} bad blocks`,
  );
  const fields = { pgid: running.pgid, object, good, bad, repaired };
  const text = repaired ? "bad copies of an object replaced" : "an object has bad copies";
  return { state: next, effects: [{ kind: "log", level: "warn", text, fields }] };
}

function onProgress(
  state: ScrubState,
  { scrub, after, objects, bytes }: Extract<ScrubEvent, { kind: "progress" }>,
): ScrubState {
  const { running } = state;
  if (running?.scrub !== scrub) return state;
  const { findings } = running.job;
  const job = {
    ...running.job,
    after,
    findings: {
      ...findings,
      objects: findings.objects + objects,
      bytes: findings.bytes + bytes,
    },
  };
  return { ...state, running: { ...running, job, saved: job } };
}

/** Outcomes that say nothing about the PG: it is only not the time. */
const postponing: ReadonlySet<string> = new Set(["busy", "stale_epoch", "not_active", "canceled"]);

function onDone(
  state: ScrubState,
  scrub: number,
  code: string | undefined,
  now: number,
): ScrubStep {
  const { running } = state;
  if (running?.scrub !== scrub) return quiet(state);
  const entry = state.pgs.get(running.pgid);
  if (entry === undefined) return quiet(idle(state));
  if (code !== undefined) {
    const isPostponed = postponing.has(code);
    const next = putBack(idle(state), running, isPostponed ? 0 : now + failedRetryMs);
    if (isPostponed) {
      // Not all that were refused come back at the same time.
      const waitMs = busyRetryMs * (1 + fraction(`${running.pgid}/${scrub}`));
      return quiet({ ...next, pausedUntilMs: now + waitMs });
    }
    const fields = { pgid: running.pgid, code };
    return { state: next, effects: [{ kind: "log", level: "warn", text: "scrub failed", fields }] };
  }
  return finish(state, running, entry, now);
}

function finish(state: ScrubState, running: Running, entry: PgEntry, now: number): ScrubStep {
  const { pgid, job } = running;
  const { objects, bytes } = job.findings;
  const record = recordAfter(entry.record, job.findings, job.mode !== "scrub", now);
  const counts = { objects, bytes, ...countsOf(job.findings) };
  const done = job.request === undefined ? [] : [{ request: job.request, ...counts }];
  const finished = [...entry.finished, ...done].slice(-maxFinishedScrubs);
  const next = withPg(idle(state), pgid, { ...entry, record, finished });
  return {
    state: next,
    effects: [
      { kind: "store", pgid, interval: entry.interval, record },
      {
        kind: "log",
        level: counts.errors > counts.repaired ? "warn" : "info",
        text: `${job.mode} done`,
        fields: { pgid, ...counts },
      },
    ],
  };
}
