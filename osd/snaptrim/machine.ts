// Which PGs of this OSD are rid of removed snapshots now. Pure.
//
// Invariants: only so many PGs at a time, so that clients and recovery keep their share of the
// disk; a PG is trimmed when all its copies are whole, or when space is short; what is known of how
// far it has come ends with its interval, and a new one looks for everything again: what is gone
// already costs it one look at the names. The scan and the changes are native.
import type { PgId } from "../../common/units.js";
import { parsePgId } from "../../common/units.js";
import { type PoolSnaps, removedAfter } from "../../proto/pool-snaps.js";
import type { TrimSettings } from "./settings.js";

/** A PG that this OSD leads. */
export interface TrimCandidate {
  pgid: PgId;
  interval: number;
  /** it may be trimmed now */
  isReady: boolean;
}

interface PgEntry extends TrimCandidate {
  /** number of the newest removal that it is through with */
  readonly trimmedTo: number;
  /** not before this time, after a trim that could not be done */
  readonly notBeforeMs: number;
}

interface Running {
  readonly pgid: PgId;
  /** it has been told to stop */
  readonly isStopping: boolean;
  /** number of the newest removal that it is about */
  readonly upTo: number;
  readonly removed: readonly number[];
  readonly objectsPerSecond: number;
}

export interface TrimState {
  readonly pgs: ReadonlyMap<PgId, PgEntry>;
  /** by the id of the trim */
  readonly running: ReadonlyMap<number, Running>;
  readonly nextTrim: number;
  /** of the pools in which snapshots are being removed */
  readonly pools: ReadonlyMap<number, PoolSnaps>;
  readonly settings: TrimSettings;
  /** of this OSD, in the last second or so */
  readonly clientOpsPerSecond: number;
}

export type TrimEvent =
  | { kind: "map"; pools: ReadonlyMap<number, PoolSnaps>; settings: TrimSettings }
  | { kind: "pgs"; pgs: readonly TrimCandidate[] }
  | { kind: "done"; trim: number; code?: string }
  | { kind: "load"; clientOpsPerSecond: number }
  | { kind: "tick" };

export type TrimEffect =
  /** of a trim that runs: it goes on at this rate */
  | {
      kind: "start";
      pgid: PgId;
      interval: number;
      trim: number;
      removed: readonly number[];
      objectsPerSecond: number;
    }
  | { kind: "stop"; pgid: PgId; interval: number }
  /** what reportOf() says of a PG has changed */
  | { kind: "changed" }
  | { kind: "log"; level: "info" | "warn"; text: string; fields: Record<string, unknown> };

export interface TrimStep {
  state: TrimState;
  effects: TrimEffect[];
}

/** PGs that are trimmed at a time. */
export const maxTrims = 2;
/** Of the rate, that is kept however much clients do: what they make is to be rid of some day. */
export const leastShare = 0.1;
/** A PG whose trim has failed waits for so long. */
export const failedRetryMs = 10_000;

export const initialTrimState: TrimState = {
  pgs: new Map(),
  running: new Map(),
  nextTrim: 1,
  pools: new Map(),
  settings: { objectsPerSecond: 0, isPaused: true, isUrgent: false },
  clientOpsPerSecond: 0,
};

/** What an event leads to. @param now monotonic milliseconds */
export function step(state: TrimState, event: TrimEvent, now: number): TrimStep {
  switch (event.kind) {
    case "map":
      return follow({ ...state, pools: event.pools, settings: event.settings }, [], now);
    case "pgs":
      return follow(withPgs(state, event.pgs), [], now);
    case "load":
      return paced({ ...state, clientOpsPerSecond: event.clientOpsPerSecond });
    case "tick":
      return follow(state, [], now);
    case "done":
      return onDone(state, event.trim, event.code, now);
  }
}

/** What the primary reports of a PG; undefined: nothing is known of it. */
export function reportOf(
  state: TrimState,
  pgid: PgId,
): { trimmedTo: number; text: "snaptrim" | "snaptrim_wait" | undefined } | undefined {
  const entry = state.pgs.get(pgid);
  if (entry === undefined) return undefined;
  const isRunning = [...state.running.values()].some((running) => running.pgid === pgid);
  const text = isRunning ? "snaptrim" : "snaptrim_wait";
  return { trimmedTo: entry.trimmedTo, text: isBehind(state, entry) ? text : undefined };
}

const snapsOfPg = (state: TrimState, pgid: PgId) => state.pools.get(parsePgId(pgid).pool);

function isBehind(state: TrimState, { pgid, trimmedTo }: PgEntry): boolean {
  return trimmedTo < (snapsOfPg(state, pgid)?.removals ?? 0);
}

/** A PG that goes on in its interval keeps what is known of it; the trims of others are over. */
function withPgs(state: TrimState, candidates: readonly TrimCandidate[]): TrimState {
  const pgs = new Map<PgId, PgEntry>();
  for (const candidate of candidates) {
    const known = state.pgs.get(candidate.pgid);
    const begun = { trimmedTo: 0, notBeforeMs: 0 };
    const isSame = known?.interval === candidate.interval;
    pgs.set(candidate.pgid, { ...(isSame ? known : begun), ...candidate });
  }
  const goesOn = ({ pgid }: Running) =>
    pgs.has(pgid) && pgs.get(pgid)?.interval === state.pgs.get(pgid)?.interval;
  const running = new Map([...state.running].filter(([, one]) => goesOn(one)));
  return { ...state, pgs, running };
}

function onDone(state: TrimState, trim: number, code: string | undefined, now: number): TrimStep {
  const done = state.running.get(trim);
  const entry = done === undefined ? undefined : state.pgs.get(done.pgid);
  if (done === undefined || entry === undefined) return { state, effects: [] };
  const running = new Map(state.running);
  running.delete(trim);
  const isStopped = done.isStopping && code !== undefined;
  const after: PgEntry =
    code === undefined
      ? { ...entry, trimmedTo: done.upTo }
      : { ...entry, notBeforeMs: isStopped ? 0 : now + failedRetryMs };
  const pgs = new Map(state.pgs).set(entry.pgid, after);
  const effects: TrimEffect[] = [{ kind: "changed" }];
  if (code !== undefined && !isStopped) {
    const fields = { pgid: entry.pgid, code };
    effects.push({
      kind: "log",
      level: "warn",
      text: "a trim of removed snapshots failed",
      fields,
    });
  }
  return follow({ ...state, pgs, running }, effects, now);
}

/** Stops what may not go on, and begins what may. */
function follow(before: TrimState, effects: TrimEffect[], now: number): TrimStep {
  let state = caughtUp(before);
  for (const [trim, one] of state.running) {
    const entry = state.pgs.get(one.pgid);
    if (entry === undefined || one.isStopping) continue;
    if (entry.isReady && !state.settings.isPaused) continue;
    effects.push({ kind: "stop", pgid: one.pgid, interval: entry.interval });
    state = withRunning(state, trim, { ...one, isStopping: true });
  }
  const busy = new Set([...state.running.values()].map(({ pgid }) => pgid));
  for (const entry of state.pgs.values()) {
    if (state.running.size >= maxTrims) break;
    const snaps = snapsOfPg(state, entry.pgid);
    if (state.settings.isPaused || !entry.isReady || busy.has(entry.pgid)) continue;
    if (snaps === undefined || !isBehind(state, entry) || now < entry.notBeforeMs) continue;
    const { pgid, interval } = entry;
    const trim = state.nextTrim;
    const removed = removedAfter(snaps, entry.trimmedTo);
    const objectsPerSecond = rateOf(state);
    effects.push({ kind: "start", pgid, interval, trim, removed, objectsPerSecond });
    const upTo = snaps.removals;
    const begun = { pgid, isStopping: false, upTo, removed, objectsPerSecond };
    state = { ...withRunning(state, trim, begun), nextTrim: trim + 1 };
  }
  return { state, effects };
}

/** Of one PG. Each operation of a client takes the place of an object, up to a part of them. */
function rateOf({ settings, clientOpsPerSecond }: TrimState): number {
  const most = settings.objectsPerSecond;
  const left = settings.isUrgent ? most : Math.max(most - clientOpsPerSecond, most * leastShare);
  return Math.ceil(left / maxTrims);
}

/** Those that run go on at the rate of now, when that is quite another one. */
function paced(before: TrimState): TrimStep {
  let state = before;
  const effects: TrimEffect[] = [];
  const wanted = rateOf(state);
  for (const [trim, one] of state.running) {
    const interval = state.pgs.get(one.pgid)?.interval;
    const isNear = Math.abs(wanted - one.objectsPerSecond) <= one.objectsPerSecond / 4;
    if (interval === undefined || one.isStopping || isNear) continue;
    const { pgid, removed } = one;
    effects.push({ kind: "start", pgid, interval, trim, removed, objectsPerSecond: wanted });
    state = withRunning(state, trim, { ...one, objectsPerSecond: wanted });
  }
  return { state, effects };
}

function withRunning(state: TrimState, trim: number, running: Running): TrimState {
  return { ...state, running: new Map(state.running).set(trim, running) };
}

/** Removals that the map does not list any more are done everywhere. */
function caughtUp(state: TrimState): TrimState {
  const pgs = new Map<PgId, PgEntry>();
  for (const [pgid, entry] of state.pgs) {
    const { removals = 0, removed = [] } = snapsOfPg(state, pgid) ?? {};
    const trimmedTo = Math.max(entry.trimmedTo, removals - removed.length);
    pgs.set(pgid, trimmedTo === entry.trimmedTo ? entry : { ...entry, trimmedTo });
  }
  return { ...state, pgs };
}
