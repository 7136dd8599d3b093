// The values of the peering machine: its states, events and effects. No behaviour.

import type { LogLevel } from "../../common/config.js";
import type { PgId } from "../../common/units.js";
import type {
  LogEntry,
  LogVersion,
  MissingObject,
  PeeringBody,
  PeeringKind,
  PeeringMessage,
  PeeringMessageOf,
  PgHistory,
  PgInfo,
} from "../../proto/peering.js";
import type { OsdViews } from "./past-intervals.js";

/** Ceph's names; docs/protocol/peering.md tells what each waits for. */
export const pgStateNames = [
  "Reset",
  "Stray",
  "ReplicaActive",
  "GetInfo",
  "Down",
  "Incomplete",
  "WaitActing",
  "GetLog",
  "GetMissing",
  "WaitUpThru",
  "Activating",
  "Active",
  "Recovering",
  "Clean",
] as const;
export type PgStateName = (typeof pgStateNames)[number];

/** An interval: as long as it lasts, nothing changes in who serves the PG. */
export interface Interval {
  /** its first epoch; 0: not known (a stray copy behind a gap in the maps), so it is told */
  first: number;
  up: readonly number[];
  /** primary first; empty: nobody serves the PG */
  acting: readonly number[];
  /** copies that the pool wants */
  size: number;
  /** copies without which nothing is served */
  minSize: number;
}

/** The map as a PG sees it. */
export interface MapView {
  epoch: number;
  osds: OsdViews;
}

/** Part of the log of one copy. */
export interface LogCopy {
  /** number of the entry before the first one asked for */
  after: number;
  entries: readonly LogEntry[];
  /** what the copy knows of requests older than its log; undefined: not fetched to the end yet */
  horizon?: Uint8Array;
}

/** A request that waits for its answer, and is sent again until then. */
export interface Pending {
  to: number;
  message: PeeringBody;
  sentMs: number;
}

/** How one copy becomes the authoritative one. */
export interface MemberPlan {
  resetLogTo?: LogVersion;
  /** with resetLogTo */
  horizon?: Uint8Array;
  rewindTo: number;
  entries: readonly Uint8Array[];
  missing: readonly MissingObject[];
}

/** What the primary learns while it peers. Dropped when the PG is active. */
export interface Gathered {
  /** infos by OSD, our own among them; strays too */
  infos: ReadonlyMap<number, PgInfo>;
  /** when the read lease that a copy has granted in an older interval is over, by OSD */
  leasesEndMs: ReadonlyMap<number, number>;
  /** key: receiver and kind */
  pending: ReadonlyMap<string, Pending>;
  /** who has the authoritative log; -1: not chosen yet */
  authority: number;
  logs: ReadonlyMap<number, LogCopy>;
  /** objects that each copy says it lacks */
  missing: ReadonlyMap<number, readonly MissingObject[]>;
  /** object listings for a backfill: name -> version */
  listings: ReadonlyMap<number, ReadonlyMap<string, LogVersion>>;
  plans: ReadonlyMap<number, MemberPlan>;
  /** members that have activated, we among them */
  activated: ReadonlySet<number>;
}

export const nothingGathered: Gathered = {
  infos: new Map(),
  leasesEndMs: new Map(),
  pending: new Map(),
  authority: -1,
  logs: new Map(),
  missing: new Map(),
  listings: new Map(),
  plans: new Map(),
  activated: new Set(),
};

export interface PgState {
  readonly name: PgStateName;
  readonly pgid: PgId;
  /** this OSD */
  readonly self: number;
  readonly interval: Interval;
  readonly map: MapView;
  readonly history: PgHistory;
  /** our copy as it was when the interval started; undefined before that */
  readonly local: PgInfo | undefined;
  /** when that was */
  readonly startedMs: number;
  readonly gathered: Gathered;
  /** replica: parts of the activation so far; complete when activating is true */
  readonly parts: readonly PeeringMessageOf<"activate">[];
  readonly activating: boolean;
  /** who asked for our info before it was fixed */
  readonly askedBy: readonly number[];
  /** copies outside the acting set, to be removed when the PG is clean */
  readonly strays: ReadonlySet<number>;
  /** objects that are missing anywhere in the acting set, as the native core counts them */
  readonly missingCount: number;
  readonly unfound: ReadonlySet<string>;
  /** active: members whose log did not reach, so that all of their copy is made anew */
  readonly backfilling: readonly number[];
  /** active: copies outside the acting set that lacked nothing when the interval went active */
  readonly wholeStrays: readonly number[];
  /** Recovering: when it last got on; WaitActing: when it began */
  readonly progressMs: number;
  /** stray: when it last told the primary about itself */
  readonly notifiedMs: number;
  /** Down: the OSDs that it waits for */
  readonly blockedBy: readonly number[];
}

/** A message of another OSD (or of ourselves), as the event of its kind. */
export type MessageEvent = {
  [Kind in PeeringKind]: { kind: Kind; from: number; message: PeeringMessageOf<Kind> };
}[PeeringKind];

export type PgEvent =
  | MessageEvent
  /** the map shows a new interval */
  | { kind: "newInterval"; interval: Interval; map: MapView; history: PgHistory }
  /** a map that goes on with the interval */
  | { kind: "mapChanged"; map: MapView }
  /** a stray copy learns its interval's first epoch from the primary */
  | { kind: "intervalTold"; first: number; history: PgHistory }
  /** the native gate refuses older intervals from now on, and our copy does not change */
  | { kind: "intervalStarted"; info: PgInfo }
  /** our own activation is durable */
  | { kind: "localActivated" }
  | { kind: "recoveryGranted" }
  | { kind: "recoveryProgress"; missingCount: number }
  | { kind: "recoveryFailed"; object: string; code: string }
  /** about once a second, in states that wait */
  | { kind: "tick" };
export type PgEventKind = PgEvent["kind"];
export type PgEventOf<Kind extends PgEventKind> = Extract<PgEvent, { kind: Kind }>;

/** A request that the OSD answers from its native core. */
export type ReadRequest = Extract<
  PeeringMessage,
  { kind: "getLog" | "getMissing" | "listObjects" }
>;

export type PgEffect =
  /** native startInterval with the state's interval and role */
  | { kind: "startInterval" }
  | { kind: "send"; to: number; message: PeeringBody }
  | { kind: "serve"; to: number; request: ReadRequest }
  /** native activate */
  | {
      kind: "activate";
      plan: MemberPlan;
      peerMissing: readonly (readonly [osd: number, objects: readonly string[]])[];
      sources: readonly number[];
      /** who may have a version that is known by number */
      otherSources: readonly number[];
      /** for so long nothing is served: an older primary may hold a read lease */
      leaseWaitMs: number;
    }
  | { kind: "goActive" }
  /** ask the monitor to record that this OSD is alive in the interval */
  | { kind: "requestUpThru" }
  /** ask the monitor for an acting set in place of the up set; empty: back to the up set */
  | { kind: "requestPgTemp"; acting: readonly number[] }
  | { kind: "requestRecovery"; priority: number }
  | { kind: "releaseRecovery" }
  | { kind: "setRecovery" }
  | { kind: "persistHistory" }
  /** remove our copy: it is of no use */
  | { kind: "removePg" }
  | { kind: "log"; level: LogLevel; text: string; fields: Record<string, unknown> };

/** What an event leads to. */
export interface Step {
  state: PgState;
  effects: PgEffect[];
}

/** The primary of an interval; -1: none. */
export function primaryOf(interval: Interval): number {
  return interval.acting[0] ?? -1;
}

/** What this OSD is in an interval. */
export function roleOf(interval: Interval, self: number): "primary" | "replica" | "stray" {
  if (primaryOf(interval) === self) return "primary";
  return interval.acting.includes(self) ? "replica" : "stray";
}

/** The state of a PG before its first interval here. */
export function initialPgState(pgid: PgId, self: number): PgState {
  return {
    name: "Reset",
    pgid,
    self,
    interval: { first: 0, up: [], acting: [], size: 0, minSize: 1 },
    map: { epoch: 0, osds: new Map() },
    history: { since: 0, intervals: [] },
    local: undefined,
    startedMs: 0,
    gathered: nothingGathered,
    parts: [],
    activating: false,
    askedBy: [],
    strays: new Set(),
    missingCount: 0,
    unfound: new Set(),
    backfilling: [],
    wholeStrays: [],
    progressMs: 0,
    notifiedMs: Number.NEGATIVE_INFINITY,
    blockedBy: [],
  };
}

/** What a state does with an event of a kind. */
export type Handler<Kind extends PgEventKind> = (
  state: PgState,
  event: PgEventOf<Kind>,
  now: number,
) => Step;

/** Nothing happens but, maybe, the change of state. */
export function quiet(state: PgState): Step {
  return { state, effects: [] };
}

/** What is done when a state is entered from another one. */
export type Entry = (state: PgState, now: number) => Step;

/** The change to another state; the machine runs what is done on entering it. */
export function enter(state: PgState, name: PgStateName, effects: PgEffect[] = []): Step {
  return { state: { ...state, name }, effects };
}
