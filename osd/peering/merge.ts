// The primary finds out what each member lacks: states GetLog and GetMissing. Pure handlers of the
// table in machine.ts; the comparison itself is in merge-log.ts.
import { assert, defined } from "../../common/assert.js";
import type { LogVersion, PeeringBody, PgInfo } from "../../proto/peering.js";
import { backfillPlan, joiningPlan, type Relation, relate, sameVersion } from "./merge-log.js";
import { answered, pendingTo, request, withEntry, withGathered } from "./requests.js";
import {
  type Entry,
  enter,
  type Handler,
  type LogCopy,
  type MemberPlan,
  type PgState,
  quiet,
  type Step,
} from "./state.js";

function infoOf(state: PgState, osd: number): PgInfo {
  return defined(state.gathered.infos.get(osd), `info of osd.${osd}`);
}

function relationOf(state: PgState, osd: number): Relation {
  const { authority, logs } = state.gathered;
  return relate(infoOf(state, authority), logs.get(authority), infoOf(state, osd), logs.get(osd));
}

function relations(state: PgState): [osd: number, relation: Relation][] {
  return state.interval.acting.map((osd) => [osd, relationOf(state, osd)]);
}

/** Fetches of the logs what is needed to tell where each member's log leaves the authority's. */
export const enterGetLog: Entry = (state, now) => {
  const { authority, logs } = state.gathered;
  const found = relations(state);
  const authorityInfo = infoOf(state, authority);
  const afters = found.flatMap(([, relation]) =>
    relation.kind === "needsAuthority" ? [relation.after] : [],
  );
  const known = logs.get(authority);
  const backfills = found.some(([, relation]) => relation.kind === "apart");
  if (backfills && (known === undefined || known.after > authorityInfo.logTail)) {
    afters.push(authorityInfo.logTail);
  }
  const wanted = new Map<number, number>();
  if (afters.length > 0) wanted.set(authority, Math.min(...afters));
  for (const [osd, relation] of found) {
    if (relation.kind === "needsLog") wanted.set(osd, relation.after);
  }
  if (wanted.size === 0) return enter(state, "GetMissing");
  const empty = [...wanted].map(([osd, after]) => [osd, { after, entries: [] }] as const);
  const fetching = withGathered(state, {
    logs: new Map<number, LogCopy>([...logs, ...empty]),
  });
  const requests = [...wanted].map(([to, after]) => ({
    to,
    message: { kind: "getLog" as const, after },
  }));
  return request(fetching, requests, now);
};

export const onLog: Handler<"log"> = (state, { from, message }, now) => {
  if (pendingTo(state, from, "getLog")?.after !== message.after) return quiet(state);
  const before = defined(state.gathered.logs.get(from), "the log that is fetched");
  const { horizon } = message;
  const copy: LogCopy = {
    after: before.after,
    entries: [...before.entries, ...message.entries],
    ...(horizon === undefined ? {} : { horizon }),
  };
  const logs = withEntry(state.gathered.logs, from, copy);
  const next = answered(withGathered(state, { logs }), from, "getLog");
  const last = message.entries.at(-1)?.number;
  if (message.more && last !== undefined) {
    return request(next, [{ to: from, message: { kind: "getLog", after: last } }], now);
  }
  return next.gathered.pending.size > 0 ? quiet(next) : enterGetLog(next, now);
};

/** Fetches what members lack already, and what there is to compare where a log does not reach. */
export const enterGetMissing: Entry = (state, now) => {
  const { authority } = state.gathered;
  const apart = relations(state)
    .filter(([, { kind }]) => kind === "apart")
    .map(([osd]) => osd);
  const asked = new Set(state.interval.acting);
  if (apart.length > 0) asked.add(authority);
  const lacking = [...asked].filter((osd) => infoOf(state, osd).missingCount > 0);
  const listed = apart.length > 0 ? [authority, ...apart] : [];
  const requests: { to: number; message: PeeringBody }[] = [
    ...lacking.map((to) => ({ to, message: { kind: "getMissing" as const, after: null } })),
    ...listed.map((to) => ({ to, message: { kind: "listObjects" as const, after: null } })),
  ];
  return requests.length > 0 ? request(state, requests, now) : planAll(state);
};

export const onMissing: Handler<"missing"> = (state, { from, message }, now) => {
  if (pendingTo(state, from, "getMissing")?.after !== message.after) return quiet(state);
  const objects = [...(state.gathered.missing.get(from) ?? []), ...message.objects];
  const missing = withEntry(state.gathered.missing, from, objects);
  const next = answered(withGathered(state, { missing }), from, "getMissing");
  const last = message.objects.at(-1)?.[0];
  if (message.more && last !== undefined) {
    return request(next, [{ to: from, message: { kind: "getMissing", after: last } }], now);
  }
  return next.gathered.pending.size > 0 ? quiet(next) : planAll(next);
};

export const onObjects: Handler<"objects"> = (state, { from, message }, now) => {
  if (pendingTo(state, from, "listObjects")?.after !== message.after) return quiet(state);
  const listing = new Map<string, LogVersion>(state.gathered.listings.get(from));
  for (const [name, version] of message.objects) listing.set(name, version);
  const listings = withEntry(state.gathered.listings, from, listing);
  const next = answered(withGathered(state, { listings }), from, "listObjects");
  const last = message.objects.at(-1)?.[0];
  if (message.more && last !== undefined) {
    return request(next, [{ to: from, message: { kind: "listObjects", after: last } }], now);
  }
  return next.gathered.pending.size > 0 ? quiet(next) : planAll(next);
};

function planAll(state: PgState): Step {
  const plans = new Map(
    relations(state).map(([osd, relation]) => [osd, planOf(state, osd, relation)]),
  );
  // Only the plans are needed from here on; the rest may be large.
  const next = withGathered(state, {
    plans,
    logs: new Map(),
    missing: new Map(),
    listings: new Map(),
  });
  return enter(next, "WaitUpThru");
}

function planOf(state: PgState, osd: number, relation: Relation): MemberPlan {
  const { authority, logs, missing, listings } = state.gathered;
  const lacks = missing.get(osd) ?? [];
  const log = logs.get(authority);
  if (relation.kind === "joins") return joiningPlan(log, relation, lacks);
  assert(relation.kind === "apart", "all logs that were needed have been fetched");
  return backfillPlan({
    authority: infoOf(state, authority),
    log: defined(log, "the whole log of the authority"),
    source: listings.get(authority) ?? new Map(),
    sourceLacks: missing.get(authority) ?? [],
    target: listings.get(osd) ?? new Map(),
    targetLacks: lacks,
  });
}

/** A stray that has the authoritative log may go down while we fetch from it. */
export const onMapMerging: Handler<"mapChanged"> = (state, { map }) => {
  const next = { ...state, map };
  return map.osds.get(state.gathered.authority)?.up ? quiet(next) : enter(next, "GetInfo");
};

/** Strays that have all of the authoritative log and lack none of its objects. */
export function wholeStraysOf(state: PgState): number[] {
  const { infos, authority } = state.gathered;
  const head = infoOf(state, authority).lastUpdate;
  return [...infos]
    .filter(([osd]) => !state.interval.acting.includes(osd))
    .filter(([, { lastEpochStarted, lastUpdate, missingCount }]) => {
      return lastEpochStarted > 0 && missingCount === 0 && sameVersion(lastUpdate, head);
    })
    .map(([osd]) => osd);
}

/** Members of the acting set, and strays, that can give whatever `lacking` does not name. */
export function sourcesOf(state: PgState): number[] {
  const { infos, authority, plans } = state.gathered;
  const head = infoOf(state, authority).lastUpdate;
  const members = state.interval.acting.filter((osd) => osd !== state.self);
  const lackCount = (osd: number) => plans.get(osd)?.missing.length ?? 0;
  const strays = [...infos]
    .filter(([osd]) => !state.interval.acting.includes(osd))
    .filter(([, info]) => info.lastEpochStarted > 0 && sameVersion(info.lastUpdate, head))
    .map(([osd]) => osd);
  return [...members.sort((a, b) => lackCount(a) - lackCount(b)), ...strays];
}

/**
 * All others who hold something: an object that is needed in a known version may be had from a copy
 * that is old in everything else. The native core checks the version that it gets.
 */
export function otherSourcesOf(state: PgState): number[] {
  const known = new Set([state.self, ...sourcesOf(state)]);
  return [...state.gathered.infos]
    .filter(([osd, { lastEpochStarted }]) => lastEpochStarted > 0 && !known.has(osd))
    .map(([osd]) => osd);
}
