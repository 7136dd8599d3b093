// The primary hears all who may know of writes: states GetInfo, Down, Incomplete. Pure handlers of
// the table in machine.ts.
//
// It goes on when every OSD that it asks has answered or is down, and at least one member of each
// past interval that may have been active has answered; else the PG is Down.
import type { PgHistory } from "../../proto/peering.js";
import { leaseEnds } from "./leases.js";
import { chooseAuthority } from "./merge-log.js";
import { blockingIntervals, holders, mergeHistories } from "./past-intervals.js";
import { betterActing } from "./pg-temp.js";
import { answered, request, resend, withEntry, withGathered } from "./requests.js";
import {
  type Entry,
  enter,
  type Handler,
  nothingGathered,
  type PgEffect,
  type PgState,
  quiet,
  type Step,
} from "./state.js";

/** Asks everybody, also at a later time when somebody has gone or come. */
export const enterGetInfo: Entry = (state, now) => {
  const infos = new Map(state.local === undefined ? [] : [[state.self, state.local]]);
  const leasesEndMs = leaseEnds(new Map(), state.self, state.local, state.startedMs);
  const fresh = { ...state, blockedBy: [] };
  return gather(withGathered(fresh, { ...nothingGathered, infos, leasesEndMs }), now);
};

/** The OSDs that are up, may know of writes, and have neither been asked nor heard. */
function unasked(state: PgState): number[] {
  const { infos, pending } = state.gathered;
  const { osds } = state.map;
  const wanted = [...state.interval.acting, ...holders(state.history, osds), ...state.strays];
  const asked = new Set([...pending.values()].map(({ to }) => to));
  return [...new Set(wanted)].filter(
    (osd) => osds.get(osd)?.up && !infos.has(osd) && !asked.has(osd),
  );
}

/** Asks whom it has not asked yet; goes on when all have answered. */
function gather(state: PgState, now: number): Step {
  const requests = unasked(state).map((to) => ({ to, message: { kind: "getInfo" as const } }));
  const step = request(state, requests, now);
  return step.state.gathered.pending.size > 0 ? step : judge(step.state);
}

function judge(state: PgState): Step {
  const { infos } = state.gathered;
  const blocking = blockingIntervals(state.history, state.map.osds, infos);
  const [first] = blocking;
  if (first !== undefined) {
    const blockedBy = [...new Set(blocking.flatMap(({ waitingFor }) => waitingFor))];
    const fields = { pgid: state.pgid, blockedBy, pastInterval: first.interval };
    const text = "PG is down: an interval that may have had writes has to be heard first";
    return enter({ ...state, blockedBy }, "Down", [{ kind: "log", level: "warn", text, fields }]);
  }
  if (state.interval.acting.length < state.interval.minSize) return enter(state, "Incomplete");
  const strays = [...infos]
    .filter(([osd, info]) => info.lastEpochStarted > 0 && !state.interval.acting.includes(osd))
    .map(([osd]) => osd);
  const authority = chooseAuthority(infos, state.self);
  const chosen = withGathered(state, { authority });
  const effects: PgEffect[] = [{ kind: "requestUpThru" }];
  const next = betterActing(chosen) === undefined ? "GetLog" : "WaitActing";
  return enter({ ...chosen, strays: new Set([...state.strays, ...strays]) }, next, effects);
}

export const onInfo: Handler<"info"> = (state, { from, message }, now) => {
  const histories: PgHistory[] = [state.history];
  if (message.history !== undefined) histories.push(message.history);
  const history = mergeHistories(histories, state.interval.first);
  const infos = withEntry(state.gathered.infos, from, message.info);
  const leasesEndMs = leaseEnds(state.gathered.leasesEndMs, from, message.info, now);
  const next = answered(
    withGathered({ ...state, history }, { infos, leasesEndMs }),
    from,
    "getInfo",
  );
  return gather(next, now);
};

/** A stray copy makes itself known: what it knows may help. */
export const onNotifyGathering: Handler<"notify"> = (state, { from }, now) =>
  gather({ ...state, strays: new Set(state.strays).add(from) }, now);

export const onNotifyDown: Handler<"notify"> = (state, { from }) => {
  const next = { ...state, strays: new Set(state.strays).add(from) };
  return unasked(next).length > 0 ? enter(next, "GetInfo") : quiet(next);
};

export const onMapGathering: Handler<"mapChanged"> = (state, { map }, now) => {
  const gone = [...state.gathered.pending.values()].filter(({ to }) => !map.osds.get(to)?.up);
  const kept = gone.reduce<PgState>((next, { to }) => answered(next, to), { ...state, map });
  return gather(kept, now);
};

export const onMapDown: Handler<"mapChanged"> = (state, { map }) => {
  const next = { ...state, map };
  return unasked(next).length > 0 ? enter(next, "GetInfo") : quiet(next);
};

export const onTickResend: Handler<"tick"> = (state, _event, now) => resend(state, now);
