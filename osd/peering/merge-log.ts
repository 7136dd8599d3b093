// Comparing logs: which copy is the authoritative one, where another copy's log leaves it, and what
// that copy needs to become equal. Pure; docs/protocol/peering.md.
//
// It rests on this: entries are numbered by one primary per interval, behind a history that all
// members agreed on. So two logs with an equal entry (epoch and number) are equal up to it.
import { defined } from "../../common/assert.js";
import type { LogEntry, LogVersion, MissingObject, PgInfo } from "../../proto/peering.js";
import type { LogCopy, MemberPlan } from "./state.js";

/** Negative, 0 or positive: a is older than, equal to, or newer than b. */
export function compareVersions(a: LogVersion, b: LogVersion): number {
  return a[0] - b[0] || a[1] - b[1];
}

export function sameVersion(a: LogVersion, b: LogVersion): boolean {
  return compareVersions(a, b) === 0;
}

/**
 * Who has the authoritative log: the newest activation, then the newest update; of equal copies
 * one that lacks no object, then the longest log, then ourselves.
 */
export function chooseAuthority(infos: ReadonlyMap<number, PgInfo>, self: number): number {
  const order = ([osdA, a]: [number, PgInfo], [osdB, b]: [number, PgInfo]) =>
    b.lastEpochStarted - a.lastEpochStarted ||
    compareVersions(b.lastUpdate, a.lastUpdate) ||
    Number(a.missingCount > 0) - Number(b.missingCount > 0) ||
    a.logTail - b.logTail ||
    Number(osdB === self) - Number(osdA === self) ||
    osdA - osdB;
  return defined([...infos].sort(order)[0], "our own info")[0];
}

/** How a copy's log relates to the authoritative one. */
export type Relation =
  /** equal up to `common`; the entries of its own behind that are divergent */
  | { kind: "joins"; common: number; divergent: readonly LogEntry[] }
  /** its log does not reach the authoritative one: backfill */
  | { kind: "apart" }
  /** more of the authoritative log is needed to tell */
  | { kind: "needsAuthority"; after: number }
  /** its own log is needed to tell */
  | { kind: "needsLog"; after: number };

/**
 * @param authority info of the authoritative copy
 * @param log what is known of its log, up to its head
 * @param member info of the other copy
 * @param own its log, if known
 */
export function relate(
  authority: PgInfo,
  log: LogCopy | undefined,
  member: PgInfo,
  own: LogCopy | undefined,
): Relation {
  const [, number] = member.lastUpdate;
  if (sameVersion(member.lastUpdate, authority.lastUpdate)) {
    return { kind: "joins", common: number, divergent: [] };
  }
  if (number === 0 && authority.logTail === 0) {
    return log?.after === 0
      ? { kind: "joins", common: 0, divergent: [] }
      : { kind: "needsAuthority", after: 0 };
  }
  // The epoch of the entry at the tail is not known any more, so the tail itself joins nothing.
  if (number <= authority.logTail) return { kind: "apart" };
  const head = authority.lastUpdate[1];
  if (number <= head) {
    if (log === undefined || log.after >= number) {
      return { kind: "needsAuthority", after: number - 1 };
    }
    if (hasVersion(authority, log, member.lastUpdate)) {
      return { kind: "joins", common: number, divergent: [] };
    }
  }
  return relateDiverged(authority, log, member, own);
}

function relateDiverged(
  authority: PgInfo,
  log: LogCopy | undefined,
  member: PgInfo,
  own: LogCopy | undefined,
): Relation {
  if (log === undefined || log.after > authority.logTail) {
    return { kind: "needsAuthority", after: authority.logTail };
  }
  if (own === undefined) return { kind: "needsLog", after: member.logTail };
  const versions: readonly LogVersion[] = own.entries.map(({ epoch, number }) => [epoch, number]);
  const common = versions.findLast((version) => hasVersion(authority, log, version))?.[1];
  if (common !== undefined) {
    const divergent = own.entries.filter(({ number }) => number > common);
    return { kind: "joins", common, divergent };
  }
  const bothFromStart = authority.logTail === 0 && member.logTail === 0;
  return bothFromStart ? { kind: "joins", common: 0, divergent: own.entries } : { kind: "apart" };
}

function hasVersion(authority: PgInfo, log: LogCopy, version: LogVersion): boolean {
  if (sameVersion(authority.lastUpdate, version)) return true;
  return log.entries[version[1] - log.after - 1]?.epoch === version[0];
}

/** The version is not known: as a copy with the authoritative log has it. */
const unknownVersion: LogVersion = [0, 0];

function isKnown([, number]: LogVersion): boolean {
  return number !== 0;
}

/** Entries about objects that a split has given to another PG name none; they only count. */
function isOwn({ object }: LogEntry): boolean {
  return object !== "";
}

/** What a copy that joins needs. @param lacks objects that it already lacks */
export function joiningPlan(
  log: LogCopy | undefined,
  { common, divergent }: Extract<Relation, { kind: "joins" }>,
  lacks: readonly MissingObject[],
): MemberPlan {
  const appended = log?.entries.filter(({ number }) => number > common) ?? [];
  const missing = new Map<string, MissingObject>();
  for (const { object } of divergent.filter(isOwn))
    missing.set(object, [object, unknownVersion, false]);
  for (const [name, need, removed] of lacks) {
    // What it needed of a divergent entry is nothing that anybody has.
    const isDivergent = need[1] > common;
    missing.set(name, isDivergent ? [name, unknownVersion, false] : [name, need, removed]);
  }
  for (const { object, epoch, number, removes } of appended.filter(isOwn)) {
    missing.set(object, [object, [epoch, number], removes]);
  }
  return {
    rewindTo: common,
    entries: appended.map(({ bytes }) => bytes),
    missing: [...missing.values()],
  };
}

/** What a backfill compares. */
export interface BackfillInput {
  authority: PgInfo;
  /** the whole log of the authority */
  log: LogCopy;
  /** objects of the authority's copy, and those of them that it lacks itself */
  source: ReadonlyMap<string, LogVersion>;
  sourceLacks: readonly MissingObject[];
  /** objects of the other copy, and those that it already lacks */
  target: ReadonlyMap<string, LogVersion>;
  targetLacks: readonly MissingObject[];
}

/**
 * What a copy needs whose log does not reach: the whole log, and every object that is not the
 * same on both; an object that only it has is missing too, to be removed.
 */
export function backfillPlan(input: BackfillInput): MemberPlan {
  const { authority, log, target } = input;
  const lacked = new Set(input.targetLacks.map(([name]) => name));
  const missing = [...wantedStates(input).values()].filter(([name, need, removed]) => {
    const has = target.get(name);
    if (lacked.has(name) || !isKnown(need)) return true;
    return removed ? has !== undefined : has === undefined || !sameVersion(has, need);
  });
  const base: LogVersion = log.entries.length === 0 ? authority.lastUpdate : [0, authority.logTail];
  return {
    resetLogTo: base,
    horizon: defined(log.horizon, "the horizon of the authority's log"),
    rewindTo: base[1],
    entries: log.entries.map(({ bytes }) => bytes),
    missing,
  };
}

/** The state that each object has to be in, of all objects that either copy knows of. */
function wantedStates(input: BackfillInput): Map<string, MissingObject> {
  const { authority, log, source, target } = input;
  const wanted = new Map<string, MissingObject>();
  const known = [...target.keys(), ...input.targetLacks.map(([name]) => name)];
  for (const name of known) wanted.set(name, [name, authority.lastUpdate, true]);
  for (const [name, version] of source) wanted.set(name, [name, version, false]);
  const newest = new Map(log.entries.map((entry) => [entry.object, entry]));
  for (const lack of input.sourceLacks) {
    // The source's own version of it means nothing: what it needs itself counts, or its log.
    const [name, need] = lack;
    const entry = newest.get(name);
    const byLog: MissingObject =
      entry === undefined
        ? [name, unknownVersion, false]
        : [name, [entry.epoch, entry.number], entry.removes];
    wanted.set(name, isKnown(need) ? lack : byLog);
  }
  return wanted;
}
