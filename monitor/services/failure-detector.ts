// The failure detector: turns reports of OSDs about each other, and the state of their connections
// to the monitor, into "down". Pure.
//
// It errs on neither side for long: a dead OSD stalls its PGs until it is shown down, a live one
// shown down costs a peering. What is proof is acted on at once (nobody listens at its address; two
// witnesses agree; a report while it has also left the monitor). What may be the reporter's own
// fault waits for a second witness on another host, and where there can be none, for a while. An
// OSD that proves that it lives, by coming back out of the same process, is not taken down again by
// one witness's refused connection alone; the OSD service makes it wait longer each time.
import { hasFlag } from "../../proto/map-flags.js";
import type { FailureReason, OsdBoot, OsdFailure, OsdRecovered } from "../../proto/messages.js";
import { findOsd, type OsdInfo, type OsdMap } from "../../proto/osd-map.js";
import { type Effect, logEffect, type MonitorEvent, type StepContext } from "./events.js";
import { changesUp, downRecord, isReturn } from "./osd-record.js";

interface Report {
  reason: FailureReason;
  firstMs: number;
  lastMs: number;
}

export interface FailureState {
  /** when this monitor started: it knows no connection from before */
  readonly startedMs: number;
  /**
   * target -> reporter -> report, about the target's present incarnation: only such reports are
   * taken, and all are dropped in the epoch that shows the target down, which every restart has
   */
  readonly reports: Map<number, Map<number, Report>>;
  /** OSDs that are connected, by incarnation */
  readonly connected: Map<number, string>;
  /** since when an OSD that was connected is not */
  readonly disconnectedMs: Map<number, number>;
  /** OSDs that were wrongly shown down, until when that is remembered */
  readonly provedAliveUntilMs: Map<number, number>;
}

/** The state of a monitor that has just started. */
export function initialFailureState(nowMs: number): FailureState {
  return {
    startedMs: nowMs,
    reports: new Map(),
    connected: new Map(),
    disconnectedMs: new Map(),
    provedAliveUntilMs: new Map(),
  };
}

/** After its start the monitor waits this long for OSDs to connect before "gone" means anything. */
export const startupGraceMs = 10_000;
/** A lone report is believed after this long where at most two OSDs could report. */
export const fewWitnessesMs = 1000;
/** The same in larger clusters, and only if its reporter reports nobody else. */
export const manyWitnessesMs = 10_000;
/** An OSD that nobody can report is down when it has been gone from the monitor for this long. */
export const loneGoneMs = 3000;
/** So is any OSD after this long: it learns no maps. */
export const goneMs = 60_000;
/** Reporters repeat a report every 5 s while it holds; older ones are void. */
export const reportValidMs = 30_000;
const provedAliveMs = 60_000;

/** @returns what has to happen because of the event; nothing for events that are not its own */
export function stepFailure(
  state: FailureState,
  event: MonitorEvent,
  context: StepContext,
): Effect[] {
  switch (event.kind) {
    case "osdFailure":
      return acceptReport(state, event, context) ? decide(state, event.target, context) : [];
    case "osdRecovered":
      takeBack(state, event);
      return [];
    case "osdConnected":
      state.connected.set(event.osd, event.incarnation);
      state.disconnectedMs.delete(event.osd);
      return [];
    case "osdDisconnected":
      return disconnected(state, event.osd, event.incarnation, context);
    case "osdBoot":
      rememberReturn(state, event, context);
      return [];
    case "tick":
      dropVoid(state, context);
      return decideOne(state, context);
    default:
      return [];
  }
}

/** When the next tick may decide something; undefined: only after another event. */
export function failureDeadlineMs(
  state: FailureState,
  map: OsdMap,
  nowMs: number,
): number | undefined {
  if (hasFlag(map, "nodown")) return undefined;
  const times: number[] = [];
  for (const byReporter of state.reports.values()) {
    for (const { firstMs, lastMs } of byReporter.values()) {
      times.push(firstMs + fewWitnessesMs, firstMs + manyWitnessesMs, lastMs + reportValidMs);
    }
  }
  for (const osd of map.osds.filter(({ up }) => up)) {
    if (state.connected.has(osd.id)) continue;
    const sinceMs = goneSinceMs(state, osd.id);
    times.push(sinceMs + loneGoneMs, sinceMs + goneMs);
  }
  const future = times.filter((timeMs) => timeMs > nowMs);
  return future.length === 0 ? undefined : Math.min(...future);
}

function acceptReport(state: FailureState, event: OsdFailure, context: StepContext): boolean {
  const target = findOsd(context.map, event.target);
  const reporter = findOsd(context.map, event.reporter);
  const current =
    target?.up && target.incarnation === event.targetIncarnation && target.id !== event.reporter;
  if (!current || !reporter?.up) return false;
  const byReporter = state.reports.get(event.target) ?? new Map<number, Report>();
  const firstMs = byReporter.get(event.reporter)?.firstMs ?? context.nowMs;
  byReporter.set(event.reporter, { reason: event.reason, firstMs, lastMs: context.nowMs });
  state.reports.set(event.target, byReporter);
  return true;
}

function takeBack(state: FailureState, event: OsdRecovered): void {
  const byReporter = state.reports.get(event.target);
  byReporter?.delete(event.reporter);
  if (byReporter?.size === 0) state.reports.delete(event.target);
}

function disconnected(
  state: FailureState,
  osd: number,
  incarnation: string,
  context: StepContext,
): Effect[] {
  // A restarted OSD may have connected before the old connection was seen to close.
  if (state.connected.get(osd) !== incarnation) return [];
  state.connected.delete(osd);
  state.disconnectedMs.set(osd, context.nowMs);
  return decide(state, osd, context);
}

function rememberReturn(state: FailureState, boot: OsdBoot, { map, nowMs }: StepContext): void {
  if (!isReturn(findOsd(map, boot.osd), boot)) return;
  state.provedAliveUntilMs.set(boot.osd, nowMs + provedAliveMs);
}

/** Removes reports that are too old, or whose reporter or target is no longer up. */
function dropVoid(state: FailureState, { map, nowMs }: StepContext): void {
  for (const [target, byReporter] of state.reports) {
    for (const [reporter, { lastMs }] of byReporter) {
      const valid = findOsd(map, reporter)?.up && nowMs - lastMs < reportValidMs;
      if (!valid) byReporter.delete(reporter);
    }
    if (byReporter.size === 0 || !findOsd(map, target)?.up) state.reports.delete(target);
  }
  for (const [osd, untilMs] of state.provedAliveUntilMs) {
    if (untilMs <= nowMs) state.provedAliveUntilMs.delete(osd);
  }
}

/** What is known about one OSD when its fate is decided. */
interface Evidence {
  /** of reporters that are up, oldest first */
  reports: (Report & { reporter: number })[];
  /** OSDs that could report it, and on how many hosts those are */
  possibleReporters: number;
  possibleHosts: number;
  /** hosts of those that do: OSDs of one host lose their network together */
  reporterHosts: number;
  /** how long it has been gone from the monitor; -1: it is connected, or nobody knows yet */
  goneForMs: number;
  provedAlive: boolean;
  /** targets that the reporters report, if these are all on one host */
  targetsOfReporter: number;
  nowMs: number;
}

interface Rule {
  because: string;
  holds(evidence: Evidence): boolean;
}

const standsMs = ({ reports: [first], nowMs }: Evidence) =>
  first === undefined ? -1 : nowMs - first.firstMs;

const rules: readonly Rule[] = [
  {
    because: "nobody listens at its address",
    holds: ({ reports, provedAlive, goneForMs }) =>
      reports.some(({ reason }) => reason === "connection_refused") &&
      (!provedAlive || goneForMs >= 0),
  },
  {
    because: "it was reported and is gone from the monitor",
    holds: ({ reports, goneForMs }) => reports.length > 0 && goneForMs >= 0,
  },
  {
    because: "OSDs on two hosts report it",
    holds: ({ reporterHosts }) => reporterHosts >= 2,
  },
  {
    because: "two OSDs report it, of the only host that could",
    holds: ({ reports, possibleHosts }) => reports.length >= 2 && possibleHosts === 1,
  },
  {
    because: "the only OSD that could report it does",
    // A reset alone is no death: such a reporter is to try again first.
    holds: ({ reports, possibleReporters, provedAlive }) =>
      possibleReporters === 1 &&
      !provedAlive &&
      reports.some(({ reason }) => reason !== "connection_reset"),
  },
  {
    because: "one of the few OSDs that could report it does",
    holds: (evidence) => evidence.possibleReporters <= 2 && standsMs(evidence) >= fewWitnessesMs,
  },
  {
    because: "OSDs of a host that reaches all others report it",
    holds: (evidence) => evidence.targetsOfReporter === 1 && standsMs(evidence) >= manyWitnessesMs,
  },
  {
    because: "it is gone from the monitor, and nobody could report it",
    holds: ({ possibleReporters, goneForMs }) => possibleReporters === 0 && goneForMs >= loneGoneMs,
  },
  { because: "it is long gone from the monitor", holds: ({ goneForMs }) => goneForMs >= goneMs },
];

function decide(state: FailureState, id: number, context: StepContext): Effect[] {
  const { map } = context;
  const osd = findOsd(map, id);
  if (osd === undefined || !osd.up || hasFlag(map, "nodown")) return [];
  const evidence = evidenceOf(state, osd, context);
  const rule = rules.find(({ holds }) => holds(evidence));
  if (rule === undefined) return [];
  if (changesUp(osd, map)) return [{ kind: "retry", event: { kind: "tick" } }];
  state.reports.delete(id);
  const fields = {
    osd: id,
    epoch: map.epoch,
    reporters: evidence.reports.map(({ reporter, reason }) => `osd.${reporter} ${reason}`),
    goneForMs: evidence.goneForMs,
  };
  return [
    { kind: "change", changes: { osds: [downRecord(osd, map.epoch)] } },
    logEffect("warn", `OSD marked down: ${rule.because}`, fields),
  ];
}

/**
 * Decides on the OSD that has been reported longest. One at a time: where two report each other,
 * the report of the one that goes down no longer counts against the other.
 */
function decideOne(state: FailureState, context: StepContext): Effect[] {
  const reportedMs = (id: number) =>
    Math.min(...[...(state.reports.get(id)?.values() ?? [])].map(({ firstMs }) => firstMs));
  const ids = context.map.osds.map(({ id }) => id);
  ids.sort((a, b) => (reportedMs(a) < reportedMs(b) ? -1 : 1));
  for (const id of ids) {
    const effects = decide(state, id, context);
    if (effects.length > 0) return [...effects, { kind: "retry", event: { kind: "tick" } }];
  }
  return [];
}

function evidenceOf(state: FailureState, osd: OsdInfo, { map, nowMs }: StepContext): Evidence {
  const byReporter = state.reports.get(osd.id) ?? new Map<number, Report>();
  const reports = [...byReporter]
    .filter(([reporter]) => findOsd(map, reporter)?.up)
    .map(([reporter, report]) => ({ reporter, ...report }))
    .sort((a, b) => a.firstMs - b.firstMs);
  const possible = map.osds.filter((other) => other.up && other.id !== osd.id);
  const hostOf = (id: number) => findOsd(map, id)?.host;
  const reporterHosts = new Set(reports.map(({ reporter }) => hostOf(reporter)));
  const targets = [...state.reports.values()].filter(
    (of) => reporterHosts.size === 1 && reports.some(({ reporter }) => of.has(reporter)),
  );
  return {
    reports,
    possibleReporters: possible.length,
    possibleHosts: new Set(possible.map(({ host }) => host)).size,
    reporterHosts: reporterHosts.size,
    goneForMs: state.connected.has(osd.id) ? -1 : nowMs - goneSinceMs(state, osd.id),
    provedAlive: (state.provedAliveUntilMs.get(osd.id) ?? 0) > nowMs,
    targetsOfReporter: targets.length,
    nowMs,
  };
}

/** Since when an OSD that is not connected counts as gone; in the future: it may yet connect. */
function goneSinceMs(state: FailureState, osd: number): number {
  return state.disconnectedMs.get(osd) ?? state.startedMs + startupGraceMs;
}
