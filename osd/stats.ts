// The OSD's report to the monitor: the state of each PG in Ceph's words, and the counters of the
// native core. Pure.
import type { Epoch } from "../common/units.js";
import { type PgId, pgId } from "../common/units.js";
import type { OsdStats as CoreStats, NativeHistogram, NativePgStatus } from "../native/index.js";
import { type Histogram, maxUnfoundNames, type OsdStats, type PgStats } from "../proto/messages.js";
import type { PgScrub } from "../proto/scrub.js";
import { type Interval, type PgState, type PgStateName, primaryOf } from "./peering/state.js";
import type { RecoveryHold } from "./recovery/recovery-gate.js";

const peeringTexts: { readonly [Name in PgStateName]?: string } = {
  Reset: "peering",
  GetInfo: "peering",
  WaitActing: "peering",
  GetLog: "peering",
  GetMissing: "peering",
  WaitUpThru: "peering",
  Activating: "activating",
  Down: "down",
  Incomplete: "undersized+degraded+peered",
  Clean: "active+clean",
};

/**
 * The states of a PG, joined by "+".
 * @param waits it is queued for recovery
 * @param hold why it may not recover even if it is its turn
 */
export function pgStateText(state: PgState, waits: boolean, hold?: RecoveryHold): string {
  const fixed = peeringTexts[state.name];
  if (fixed !== undefined) return fixed;
  const isUndersized = state.interval.acting.length < state.interval.size;
  const texts = ["active"];
  if (state.name === "Recovering") texts.push("recovering");
  else if (waits) texts.push(waitText(state, hold));
  if (state.unfound.size > 0) texts.push("recovery_unfound");
  if (isUndersized) texts.push("undersized");
  if (isUndersized || state.missingCount > 0) texts.push("degraded");
  return texts.join("+");
}

function waitText({ backfilling }: PgState, hold: RecoveryHold | undefined): string {
  if (hold === "backfill_toofull" || hold === "recovery_toofull") return hold;
  return backfilling.length > 0 ? "backfill_wait" : "recovery_wait";
}

export interface ReportInput {
  osd: number;
  epoch: Epoch;
  states: readonly PgState[];
  waitsForRecovery(pgid: PgId): boolean;
  scrubOf(pgid: PgId): PgScrub | undefined;
  /** how far removed snapshots are trimmed, and what that adds to its state */
  snapTrimOf(pgid: PgId): { trimmedTo: number; text: string | undefined } | undefined;
  recoveryHold(pgid: PgId): RecoveryHold | undefined;
  /** an operation older than this is reported by name */
  opComplaintMs: number;
  statuses: readonly NativePgStatus[];
  core: CoreStats;
  /** counters, by their names in the report */
  refusedMaps: Readonly<Record<string, number>>;
  rssBytes: number;
  cpuSeconds: number;
}

/** The report. Only the PGs whose primary this OSD is are in it. */
export function reportOf(input: ReportInput): OsdStats {
  const { core } = input;
  const statuses = new Map(
    input.statuses.map((status) => [pgId(status.pool, status.seed), status]),
  );
  const isSlow = core.oldestOperationMs >= input.opComplaintMs;
  const slowOp = { description: "client operation", ageMs: core.oldestOperationMs };
  return {
    kind: "osdStats",
    osd: input.osd,
    epoch: input.epoch,
    usedBytes: core.usedBytes,
    totalBytes: core.totalBytes,
    counters: { ...renamed(core.counters), ...input.refusedMaps },
    histograms: Object.fromEntries(
      Object.entries(core.histograms).map(([name, value]) => [snakeCase(name), histogram(value)]),
    ),
    rssBytes: input.rssBytes,
    cpuSeconds: input.cpuSeconds,
    slowOps: isSlow ? [slowOp] : [],
    slowOpCount: isSlow ? 1 : 0,
    pgs: input.states
      .filter((state) => primaryOf(state.interval) === input.osd)
      .map((state) => {
        const { pgid } = state;
        const stats = pgStatsOf(state, statuses.get(pgid), textOf(input, state));
        const scrub = input.scrubOf(pgid);
        const trim = input.snapTrimOf(pgid);
        return {
          ...stats,
          ...(scrub && { scrub }),
          ...(trim && { snapTrimmed: trim.trimmedTo }),
        };
      }),
    heartbeats: [],
  };
}

function textOf(input: ReportInput, state: PgState): string {
  const { pgid } = state;
  const text = pgStateText(state, input.waitsForRecovery(pgid), input.recoveryHold(pgid));
  const trim = serves(state) ? input.snapTrimOf(pgid)?.text : undefined;
  const texts = [text, ...scrubTexts(state, input.scrubOf(pgid))];
  return (trim === undefined ? texts : [...texts, trim]).join("+");
}

function pgStatsOf(state: PgState, status: NativePgStatus | undefined, text: string): PgStats {
  const [epoch, number] = status?.lastUpdate ?? [0, 0];
  const missing = status?.missingCount ?? 0;
  return {
    pgid: state.pgid,
    state: text,
    epoch: state.map.epoch as Epoch,
    up: [...state.interval.up],
    acting: [...state.interval.acting],
    lastUpdate: { epoch: epoch as Epoch, number },
    objects: status?.objectCount ?? 0,
    bytes: status?.storedBytes ?? 0,
    missing,
    degraded: missing + (status?.peerMissingCount ?? 0),
    misplaced: isMisplaced(state.interval) ? (status?.objectCount ?? 0) : 0,
    unfound: state.unfound.size,
    ...(state.unfound.size > 0 && {
      unfoundObjects: [...state.unfound].sort().slice(0, maxUnfoundNames),
    }),
  };
}

function serves({ name }: PgState): boolean {
  return name === "Clean" || peeringTexts[name] === undefined;
}

/** A member of the acting set serves in place of one that is up. */
function isMisplaced({ up, acting }: Interval): boolean {
  return acting.some((osd) => !up.includes(osd));
}

/** What a PG's scrubs add to its state; of PGs that serve only. */
function scrubTexts(state: PgState, scrub: PgScrub | undefined): string[] {
  if (scrub === undefined || !serves(state)) return [];
  const running = { scrub: ["scrubbing"], "deep-scrub": ["scrubbing", "deep"], repair: ["repair"] };
  return [
    ...(scrub.errors > 0 ? ["inconsistent"] : []),
    ...(scrub.running === undefined ? [] : running[scrub.running]),
  ];
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function renamed(counters: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(counters).map(([name, value]) => [snakeCase(name), value]),
  );
}

/** The native core has no values above its last bound. */
function histogram({ boundsNs, counts, sumNs }: NativeHistogram): Histogram {
  return { boundsNs, counts: [...counts, 0], sumNs };
}
