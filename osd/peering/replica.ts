// What a copy does that is not the primary's: states Reset (of any role), Stray, ReplicaActive.
// Pure handlers of the table in machine.ts.
//
// A copy answers nothing about an interval before its native gate has started it: only then does
// its last_update not change any more.
import { leaseLeftMs } from "./leases.js";
import {
  enter,
  type Handler,
  type PgEffect,
  type PgState,
  primaryOf,
  quiet,
  roleOf,
  type Step,
} from "./state.js";

/** A stray copy tells the primary of itself again after this long. */
export const notifyAgainMs = 10_000;

export const onIntervalStarted: Handler<"intervalStarted"> = (state, { info }, now) => {
  const started: PgState = { ...state, local: info, startedMs: now };
  const role = roleOf(state.interval, state.self);
  if (role === "primary") return enter(started, "GetInfo");
  const stray: PgState = { ...started, name: "Stray", askedBy: [] };
  const isUseless = role === "stray" && info.lastEpochStarted === 0;
  if (isUseless && state.askedBy.length === 0 && !state.interval.up.includes(state.self)) {
    return { state: stray, effects: [{ kind: "removePg" }] };
  }
  const answers = state.askedBy.map((to) => infoTo(stray, to, now));
  const { state: next, effects } = role === "stray" ? notifyPrimary(stray, now) : quiet(stray);
  return { state: next, effects: [...answers, ...effects] };
};

function infoTo(state: PgState, to: number, now: number): PgEffect {
  const { local, startedMs } = state;
  if (local === undefined) return { kind: "log", level: "debug", text: "no info yet", fields: {} };
  const info = { ...local, leaseMs: leaseLeftMs(local, startedMs, now) };
  return { kind: "send", to, message: { kind: "info", info, history: state.history } };
}

function notifyPrimary(state: PgState, now: number): Step {
  const to = primaryOf(state.interval);
  if (to === -1) return quiet(state);
  return {
    state: { ...state, notifiedMs: now },
    effects: [{ kind: "send", to, message: { kind: "notify" } }],
  };
}

/** Answered when our info is fixed. */
export const onGetInfoEarly: Handler<"getInfo"> = (state, { from }) =>
  quiet({ ...state, askedBy: [...state.askedBy.filter((osd) => osd !== from), from] });

export const onGetInfo: Handler<"getInfo"> = (state, { from }, now) => ({
  state,
  effects: [infoTo(state, from, now)],
});

export const onTickStray: Handler<"tick"> = (state, _event, now) => {
  const isStray = roleOf(state.interval, state.self) === "stray";
  const isDue = now - state.notifiedMs >= notifyAgainMs;
  return isStray && isDue ? notifyPrimary(state, now) : quiet(state);
};

/** The log, missing list or object list is read natively, and sent by the OSD. */
export const onRead = (
  state: PgState,
  { from, message }: Parameters<Handler<"getLog" | "getMissing" | "listObjects">>[1],
): Step => ({ state, effects: [{ kind: "serve", to: from, request: message }] });

export const onActivate: Handler<"activate"> = (state, { from, message }) => {
  const isReplica = roleOf(state.interval, state.self) === "replica";
  if (!isReplica || from !== primaryOf(state.interval) || state.activating) return quiet(state);
  const others = state.parts.filter(
    ({ part, parts }) => part !== message.part && parts === message.parts,
  );
  const parts = [...others, message].sort((a, b) => a.part - b.part);
  if (parts.length < message.parts) return quiet({ ...state, parts });
  const horizon = parts[0]?.horizon;
  const plan = {
    ...(horizon === undefined ? {} : { horizon }),
    ...(message.resetLogTo === undefined ? {} : { resetLogTo: message.resetLogTo }),
    rewindTo: message.rewindTo,
    entries: parts.flatMap(({ entries }) => entries),
    missing: parts.flatMap(({ missing }) => missing),
  };
  return {
    state: { ...state, parts: [], activating: true, history: message.history },
    effects: [
      { kind: "activate", plan, peerMissing: [], sources: [], otherSources: [], leaseWaitMs: 0 },
      { kind: "persistHistory" },
    ],
  };
};

export const onLocalActivatedReplica: Handler<"localActivated"> = (state) => ({
  state: { ...state, name: "ReplicaActive", activating: false },
  effects: [{ kind: "send", to: primaryOf(state.interval), message: { kind: "activated" } }],
});

/** Our answer was lost: the activation itself happens once. */
export const onActivateAgain: Handler<"activate"> = (state, { from }) => ({
  state,
  effects: [{ kind: "send", to: from, message: { kind: "activated" } }],
});

export const onClean: Handler<"clean"> = (state, { from }) => {
  if (from !== primaryOf(state.interval)) return quiet(state);
  const history = { since: state.interval.first, intervals: [] };
  return { state: { ...state, history }, effects: [{ kind: "persistHistory" }] };
};

export const onRemoveStray: Handler<"removeStray"> = (state, { from }) => {
  const { interval, self, pgid } = state;
  const wanted = interval.up.includes(self) || interval.acting.includes(self);
  if (wanted || from !== primaryOf(interval)) return quiet(state);
  const fields = { pgid, primary: from };
  return {
    state,
    effects: [
      { kind: "log", level: "info", text: "stray copy removed: the PG is clean", fields },
      { kind: "removePg" },
    ],
  };
};

export const onMapQuiet: Handler<"mapChanged"> = (state, { map }) => quiet({ ...state, map });

/** A stray copy behind a gap in the maps learns when the interval began. */
export const onIntervalTold: Handler<"intervalTold"> = (state, { first, history }) => {
  if (state.interval.first !== 0) return quiet(state);
  return {
    state: { ...state, history, interval: { ...state.interval, first } },
    effects: [{ kind: "startInterval" }, { kind: "persistHistory" }],
  };
};
