// The primary activates its members, serves, and has the PG recovered: states WaitUpThru,
// Activating, Active, Recovering, Clean. Pure handlers of the table in machine.ts.
import { defined } from "../../common/assert.js";
import {
  logPageEntries,
  objectPageNames,
  type PeeringBodyOf,
  pageBytes,
} from "../../proto/peering.js";
import { leaseWaitMs } from "./leases.js";
import { otherSourcesOf, sourcesOf, wholeStraysOf } from "./merge.js";
import { nextTemp } from "./pg-temp.js";
import { answered, request, withGathered } from "./requests.js";
import {
  type Entry,
  enter,
  type Handler,
  type MemberPlan,
  nothingGathered,
  type PgEffect,
  type PgState,
  quiet,
  type Step,
} from "./state.js";

/** Priorities of a recovery: the higher one goes first. */
export const recoveryPriority = { undersized: 2, degraded: 1, stuck: 0 } as const;
/** A recovery that does not get on for this long lets others go first. */
export const stuckRecoveryMs = 30_000;

/** The PG serves only when the monitor has recorded that it may have been active. */
export const enterWaitUpThru: Entry = (state) => {
  const upThru = state.map.osds.get(state.self)?.upThru ?? 0;
  return upThru >= state.interval.first ? enter(state, "Activating") : quiet(state);
};

export const onMapWaitUpThru: Handler<"mapChanged"> = (state, { map }, now) =>
  enterWaitUpThru({ ...state, map }, now);

/** Asks again: the request or the map that answers it may be lost with a connection. */
export const onTickWaitUpThru: Handler<"tick"> = (state) => ({
  state,
  effects: [{ kind: "requestUpThru" }],
});

export const enterActivating: Entry = (state, now) => {
  const { plans } = state.gathered;
  const replicas = state.interval.acting.filter((osd) => osd !== state.self);
  const planOf = (osd: number) => defined(plans.get(osd), `the plan of osd.${osd}`);
  const local: PgEffect = {
    kind: "activate",
    plan: planOf(state.self),
    peerMissing: replicas.map((osd) => [osd, planOf(osd).missing.map(([name]) => name)] as const),
    sources: sourcesOf(state),
    otherSources: otherSourcesOf(state),
    leaseWaitMs: leaseWaitMs(state.gathered, now),
  };
  const requests = replicas.flatMap((to) =>
    activationParts(state, planOf(to)).map((message) => ({ to, message })),
  );
  const { state: next, effects } = request(state, requests, now);
  return { state: next, effects: [...effects, local, { kind: "persistHistory" }] };
};

/** A plan as messages of bounded size. */
export function activationParts(state: PgState, plan: MemberPlan): PeeringBodyOf<"activate">[] {
  const entries = pages(plan.entries, logPageEntries, (entry) => entry.length);
  const missing = pages(plan.missing, objectPageNames, ([name]) => name.length);
  const parts = Math.max(1, entries.length, missing.length);
  return Array.from({ length: parts }, (_, part) => ({
    kind: "activate",
    part,
    parts,
    ...(plan.resetLogTo === undefined ? {} : { resetLogTo: plan.resetLogTo }),
    ...(plan.horizon === undefined || part > 0 ? {} : { horizon: plan.horizon }),
    rewindTo: plan.rewindTo,
    entries: entries[part] ?? [],
    missing: missing[part] ?? [],
    history: state.history,
  }));
}

/** Splits a list so that no page has more than maxItems, or much more than pageBytes. */
export function pages<T>(
  items: readonly T[],
  maxItems: number,
  bytesOf: (item: T) => number,
): T[][] {
  const result: T[][] = [];
  let page: T[] = [];
  let bytes = 0;
  for (const item of items) {
    if (page.length === 0) result.push(page);
    page.push(item);
    bytes += bytesOf(item);
    if (page.length >= maxItems || bytes >= pageBytes) {
      page = [];
      bytes = 0;
    }
  }
  return result;
}

export const onActivated: Handler<"activated"> = (state, { from }) => {
  const activated = new Set(state.gathered.activated).add(from);
  return goActiveWhenAll(withGathered(answered(state, from), { activated }));
};

export const onLocalActivated: Handler<"localActivated"> = (state) => {
  const activated = new Set(state.gathered.activated).add(state.self);
  return goActiveWhenAll(withGathered(state, { activated }));
};

function goActiveWhenAll(state: PgState): Step {
  const { activated } = state.gathered;
  if (!state.interval.acting.every((osd) => activated.has(osd))) return quiet(state);
  const missingCount = [...state.gathered.plans.values()].reduce(
    (sum, plan) => sum + plan.missing.length,
    0,
  );
  const backfilling = [...state.gathered.plans]
    .filter(([, plan]) => plan.resetLogTo !== undefined && plan.missing.length > 0)
    .map(([osd]) => osd);
  const wholeStrays = wholeStraysOf(state);
  const active = { ...state, gathered: nothingGathered, missingCount, backfilling, wholeStrays };
  return enter(active, "Active", [{ kind: "goActive" }]);
}

/** True when the acting set is all that the pool and CRUSH want. */
function isComplete({ interval }: PgState): boolean {
  return (
    interval.acting.length >= interval.size &&
    interval.up.every((osd) => interval.acting.includes(osd))
  );
}

export const onRecoveryProgress: Handler<"recoveryProgress"> = (state, { missingCount }, now) => {
  const next = { ...state, missingCount, progressMs: now };
  if (missingCount === 0) return recovered(next);
  if (state.name === "Recovering") return quiet(next);
  const undersized = state.interval.acting.length < state.interval.size;
  const priority = recoveryPriority[undersized ? "undersized" : "degraded"];
  return {
    state: { ...next, name: "Active" },
    effects: [{ kind: "requestRecovery", priority }],
  };
};

function recovered(state: PgState): Step {
  const next = { ...state, unfound: new Set<string>(), backfilling: [], wholeStrays: [] };
  const effects: PgEffect[] = [{ kind: "releaseRecovery" }, ...nextTemp(next)];
  if (!isComplete(state)) return { state: { ...next, name: "Active" }, effects };
  if (state.name === "Clean") return quiet(next);
  const others = state.interval.acting.filter((osd) => osd !== state.self);
  for (const to of others) effects.push({ kind: "send", to, message: { kind: "clean" } });
  for (const to of state.strays) {
    effects.push({ kind: "send", to, message: { kind: "removeStray" } });
  }
  effects.push({ kind: "persistHistory" });
  const history = { since: state.interval.first, intervals: [] };
  return { state: { ...next, name: "Clean", history, strays: new Set() }, effects };
}

export const onRecoveryGranted: Handler<"recoveryGranted"> = (state, _event, now) =>
  enter({ ...state, progressMs: now }, "Recovering", [{ kind: "setRecovery" }]);

/** What it has begun goes on; it only gives its place to another PG and queues again. */
export const onTickRecovering: Handler<"tick"> = (state, _event, now) => {
  if (now - state.progressMs < stuckRecoveryMs) return quiet(state);
  return enter(state, "Active", [
    { kind: "releaseRecovery" },
    { kind: "requestRecovery", priority: recoveryPriority.stuck },
  ]);
};

const maxUnfoundKnown = 1000;

export const onRecoveryFailed: Handler<"recoveryFailed"> = (state, { object, code }) => {
  if (state.unfound.has(object) || state.unfound.size >= maxUnfoundKnown) return quiet(state);
  const fields = { pgid: state.pgid, object, code };
  const text = "an object cannot be recovered at the moment";
  const unfound = code === "unfound" ? new Set(state.unfound).add(object) : state.unfound;
  return { state: { ...state, unfound }, effects: [{ kind: "log", level: "warn", text, fields }] };
};

/** A stray copy appears: it goes when all members are whole. */
export const onNotifyActive: Handler<"notify"> = (state, { from }) =>
  quiet({ ...state, strays: new Set(state.strays).add(from) });

export const onNotifyClean: Handler<"notify"> = (state, { from }) => ({
  state,
  effects: [{ kind: "send", to: from, message: { kind: "removeStray" } }],
});

export const onMapActive: Handler<"mapChanged"> = (state, { map }) => quiet({ ...state, map });
