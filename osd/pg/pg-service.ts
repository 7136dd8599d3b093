// The PGs of this OSD: one peering machine each, fed with maps, native events and messages of other
// OSDs; their effects are done on the native core.
//
// Invariants: a message of a newer map waits for that map; a message of another interval than the
// PG's is dropped; all startInterval calls of an epoch come before its setMapEpoch, and behind all
// its setPgNum calls; a PG's record is handed to the store before the map that it follows from.
import { defined } from "../../common/assert.js";
import type { Logger } from "../../common/log.js";
import { epoch as checkedEpoch, type PgId, parsePgId, pgId } from "../../common/units.js";
import type { NativeOsd, NativePgInfo, OsdEvent } from "../../native/index.js";
import type { OsdMap } from "../../proto/osd-map.js";
import {
  decodePeeringMessage,
  encodePeeringMessage,
  type PeeringBody,
  type PeeringMessage,
  type PgInfo,
} from "../../proto/peering.js";
import { encodePgRecord, type PgRecord } from "../map/pg-record.js";
import { osdViews, type PlacementTracker, recordKey } from "../map/placement-tracker.js";
import { step } from "../peering/machine.js";
import {
  initialPgState,
  type MapView,
  type MessageEvent,
  type PgEffect,
  type PgEvent,
  type PgEventKind,
  type PgState,
  type PgStateName,
  primaryOf,
  type ReadRequest,
  roleOf,
} from "../peering/state.js";
import { type RecoveryHold, recoveryHold } from "../recovery/recovery-gate.js";
import { Reservations } from "../recovery/reservations.js";
import { HeldMessages } from "./held-messages.js";
import { readFor } from "./read-requests.js";

/** PGs that recover at a time, and objects of each. */
const recoverySlots = 2;
const recoveryObjects = 4;
const maxHeldMessages = 4096;

/** What this needs of the native core. */
export type PgCore = Pick<
  NativeOsd,
  | "setPgNum"
  | "startInterval"
  | "activate"
  | "goActive"
  | "setRecovery"
  | "removePg"
  | "setMapEpoch"
  | "sendControl"
  | "setMeta"
  | "pgLog"
  | "pgHorizon"
  | "pgMissing"
  | "listObjects"
>;

export interface PgServicePorts {
  self: number;
  core: PgCore;
  log: Logger;
  /** monotonic */
  nowMs(): number;
  /** asks the monitor to record that this OSD is alive in that epoch */
  requestUpThru(epoch: number): void;
  /** asks the monitor for an acting set in place of the up set; empty: back to the up set */
  requestPgTemp(pgid: PgId, acting: readonly number[]): void;
  /** a PG of which this OSD is primary changed its state */
  onStateChanged(): void;
  /** an OSD that the native core has to be connected with */
  onContact(osd: number): void;
  /** an event was handled, which may have changed the PG's state */
  onStep?(from: PgStateName, event: PgEventKind, to: PgStateName): void;
}

const noCopy: PgInfo = {
  lastUpdate: [0, 0],
  logTail: 0,
  lastEpochStarted: 0,
  missingCount: 0,
  leaseMs: 0,
  leaseHolder: -1,
};

export class PgService {
  private readonly pgs = new Map<PgId, { state: PgState; key: string }>();
  private readonly toldPgNums = new Map<PgId, number>();
  /** what keepRecords() has handed to the store; a child may share its parent's record */
  private readonly kept = new Map<PgId, PgRecord>();
  private readonly reservations = new Reservations(
    recoverySlots,
    (pgid) => this.recoveryHold(pgid) === undefined,
  );
  private readonly held = new HeldMessages(maxHeldMessages);
  private map: MapView = { epoch: 0, osds: new Map() };
  private clusterMap: OsdMap | undefined;
  private incarnations = new Map<number, string>();
  private notifiedMs = 0;

  constructor(
    private readonly ports: PgServicePorts,
    private readonly tracker: PlacementTracker,
  ) {}

  /** The states of all PGs here. */
  states(): PgState[] {
    return [...this.pgs.values()].map(({ state }) => state);
  }

  /** Why the PG may not recover by the present map; undefined: it may. */
  recoveryHold(pgid: PgId): RecoveryHold | undefined {
    const state = this.pgs.get(pgid)?.state;
    if (state === undefined || this.clusterMap === undefined) return undefined;
    return recoveryHold(this.clusterMap, state);
  }

  /** True when the PG waits for its turn to recover. */
  waitsForRecovery(pgid: PgId): boolean {
    return this.reservations.isWaiting(pgid);
  }

  /**
   * Goes on to a map in which this OSD is up; the tracker is there already.
   * @param removed PGs whose pool has gone since the last call
   */
  apply(map: OsdMap, removed: Iterable<PgId>): void {
    this.map = { epoch: map.epoch, osds: osdViews(map) };
    this.clusterMap = map;
    this.incarnations = new Map(map.osds.map(({ id, incarnation }) => [id, incarnation]));
    for (const pgid of removed) this.remove(pgid);
    this.divide();
    const begun = this.beginIntervals();
    this.ports.core.setMapEpoch(map.epoch);
    for (const pgid of [...this.pgs.keys()]) {
      if (!begun.has(pgid)) this.handle(pgid, { kind: "mapChanged", map: this.map });
    }
    for (const { from, message } of this.held.release(map.epoch)) this.receive(from, message);
    this.followHolds();
  }

  /** Flags and levels of use may have changed: those that wait, and those under way, obey. */
  private followHolds(): void {
    for (const { state } of this.pgs.values()) {
      if (state.name === "Recovering") this.setRecovery(state);
    }
    this.grant(this.reservations.grant());
  }

  private setRecovery({ pgid, interval }: PgState): void {
    const { pool, seed } = parsePgId(pgid);
    const objects = this.recoveryHold(pgid) === undefined ? recoveryObjects : 0;
    this.ports.core.setRecovery(pool, seed, interval.first, objects);
  }

  /** Pools may have more PGs now. */
  private divide(): void {
    for (const [pgid, pgNum] of this.tracker.pgNums) {
      if (this.toldPgNums.get(pgid) === pgNum) continue;
      this.toldPgNums.set(pgid, pgNum);
      const { pool, seed } = parsePgId(pgid);
      this.ports.core.setPgNum(pool, seed, pgNum);
    }
  }

  private beginIntervals(): Set<PgId> {
    const begun = new Set<PgId>();
    for (const [pgid, record] of this.tracker.records) {
      const pg = this.pgs.get(pgid);
      if (pg !== undefined && pg.key === record.key) continue;
      const state = pg?.state ?? initialPgState(pgid, this.ports.self);
      this.pgs.set(pgid, { state, key: record.key });
      begun.add(pgid);
      const { interval, history } = record;
      this.handle(pgid, { kind: "newInterval", interval, map: this.map, history });
    }
    return begun;
  }

  /** An event of the native core about a PG. */
  onNativeEvent(event: OsdEvent): void {
    switch (event.type) {
      case "control":
        this.onControl(event.fromOsd, event.fromIncarnation, event.body);
        break;
      case "intervalStarted":
        this.onNative(event, { kind: "intervalStarted", info: infoOf(event) });
        break;
      case "activated":
        if (event.error !== undefined) {
          this.ports.log.error({ pgid: idOf(event), code: event.error.code }, "activation failed");
        } else {
          this.onNative(event, { kind: "localActivated" });
        }
        break;
      case "recoveryProgress":
        this.onNative(event, { kind: "recoveryProgress", missingCount: event.missingCount });
        break;
      case "recoveryFailed": {
        const { object, error } = event;
        this.onNative(event, { kind: "recoveryFailed", object, code: error.code });
        break;
      }
      default:
        break;
    }
  }

  /** To be called about once a second. */
  tick(): void {
    for (const pgid of [...this.pgs.keys()]) this.handle(pgid, { kind: "tick" });
    this.askForIntervals();
  }

  private onNative(about: { pool: number; seed: number; interval: number }, event: PgEvent): void {
    const pgid = idOf(about);
    if (this.pgs.get(pgid)?.state.interval.first === about.interval) this.handle(pgid, event);
  }

  private onControl(from: number, incarnation: bigint, body: Uint8Array): void {
    let message: PeeringMessage;
    try {
      message = decodePeeringMessage(body);
    } catch (thrown) {
      this.ports.log.warn({ from, reason: String(thrown) }, "peering message refused");
      return;
    }
    if (message.epoch > this.map.epoch) {
      this.held.add({ from, message });
    } else if (this.incarnations.get(from) === String(incarnation)) {
      this.receive(from, message);
    }
  }

  private receive(from: number, message: PeeringMessage): void {
    const pgid = message.pgid as PgId;
    const state = this.pgs.get(pgid)?.state;
    if (state === undefined) {
      // We hold nothing of it: that is an answer too, and it is for any interval up to our map.
      if (message.kind === "getInfo") {
        this.send(pgid, message.interval, from, { kind: "info", info: noCopy });
      }
      return;
    }
    const isTold = state.interval.first === 0 && from === primaryOf(state.interval);
    if (isTold && message.interval > 0) this.tell(pgid, message.interval);
    const first = this.pgs.get(pgid)?.state.interval.first;
    const isQuestion = message.kind === "notify" && message.interval === 0;
    if (message.interval !== first && !isQuestion) {
      this.ports.log.debug({ pgid, from, kind: message.kind }, "message of another interval");
      return;
    }
    // decodePeeringMessage() has checked that the message is of its kind.
    this.handle(pgid, { kind: message.kind, from, message } as MessageEvent);
  }

  private tell(pgid: PgId, first: number): void {
    const record = this.tracker.tell(pgid, first);
    if (record === undefined) return;
    this.handle(pgid, { kind: "intervalTold", first, history: record.history });
  }

  /** Stray copies behind a gap in the maps ask the primary for the interval. */
  private askForIntervals(): void {
    if (this.ports.nowMs() - this.notifiedMs < 5000) return;
    this.notifiedMs = this.ports.nowMs();
    for (const { state } of this.pgs.values()) {
      const primary = primaryOf(state.interval);
      if (state.interval.first !== 0 || primary === -1 || primary === this.ports.self) continue;
      this.send(state.pgid, 0, primary, { kind: "notify" });
    }
  }

  private handle(pgid: PgId, event: PgEvent): void {
    const pg = this.pgs.get(pgid);
    if (pg === undefined) return;
    const before = pg.state;
    const { state, effects } = step(before, event, this.ports.nowMs());
    pg.state = state;
    this.ports.onStep?.(before.name, event.kind, state.name);
    if (state.name !== before.name) {
      const { name, interval } = state;
      this.ports.log.debug({ pgid, from: before.name, to: name, interval: interval.first }, "PG");
    }
    for (const effect of effects) this.perform(state, effect);
    const isPrimary = primaryOf(state.interval) === this.ports.self;
    if (state.name !== before.name && isPrimary) this.ports.onStateChanged();
  }

  private perform(state: PgState, effect: PgEffect): void {
    const { pgid } = state;
    const { pool, seed } = parsePgId(pgid);
    const { core, log } = this.ports;
    const { first, acting, minSize } = state.interval;
    switch (effect.kind) {
      case "startInterval": {
        const role = roleOf(state.interval, this.ports.self);
        const pgNum = defined(this.tracker.pgNums.get(pgid), "PGs of the pool");
        const spec = { interval: first, acting: [...acting], minSize, role, pgNum };
        core.startInterval(pool, seed, spec);
        break;
      }
      case "send":
        this.send(pgid, first, effect.to, effect.message);
        break;
      case "serve":
        void this.serve(state, effect.to, effect.request);
        break;
      case "activate":
        this.activate(state, effect);
        break;
      case "goActive":
        core.goActive(pool, seed, first);
        break;
      case "requestUpThru":
        this.ports.requestUpThru(first);
        break;
      case "requestPgTemp":
        this.ports.requestPgTemp(pgid, effect.acting);
        break;
      case "requestRecovery":
        this.grant(this.reservations.request(pgid, effect.priority));
        break;
      case "releaseRecovery":
        this.grant(this.reservations.release(pgid));
        break;
      case "setRecovery":
        this.setRecovery(state);
        break;
      case "persistHistory":
        this.persist(state);
        break;
      case "removePg":
        this.remove(pgid);
        break;
      case "log":
        if (effect.level !== "silent") log[effect.level](effect.fields, effect.text);
        break;
    }
  }

  private activate(state: PgState, effect: Extract<PgEffect, { kind: "activate" }>): void {
    const { pool, seed } = parsePgId(state.pgid);
    const { plan, peerMissing, sources, otherSources, leaseWaitMs } = effect;
    const activation = {
      interval: state.interval.first,
      ...(plan.resetLogTo === undefined ? {} : { resetLogTo: plan.resetLogTo }),
      ...(plan.horizon === undefined ? {} : { horizon: plan.horizon }),
      rewindTo: plan.rewindTo,
      entries: [...plan.entries],
      missing: [...plan.missing],
      peerMissing: peerMissing.map(([osd, objects]): [number, string[]] => [osd, [...objects]]),
      sources: [...sources],
      otherSources: [...otherSources],
      leaseWaitMs,
    };
    try {
      this.ports.core.activate(pool, seed, activation);
    } catch (thrown) {
      // Log entries of another OSD that are none: the PG stays as it is until its next interval.
      this.ports.log.error({ pgid: state.pgid, reason: String(thrown) }, "activation refused");
    }
  }

  private grant(pgids: readonly PgId[]): void {
    for (const pgid of pgids) {
      queueMicrotask(() => this.handle(pgid, { kind: "recoveryGranted" }));
    }
  }

  private send(pgid: PgId, interval: number, to: number, body: PeeringBody): void {
    const message = { ...body, pgid, interval, epoch: checkedEpoch(this.map.epoch) };
    if (to === this.ports.self) {
      queueMicrotask(() => this.receive(to, message as PeeringMessage));
      return;
    }
    this.ports.onContact(to);
    this.ports.core.sendControl(to, encodePeeringMessage(message as PeeringMessage));
  }

  private async serve(state: PgState, to: number, request: ReadRequest): Promise<void> {
    const { pgid, interval } = state;
    try {
      const body = await readFor(request, this.ports.core);
      const now = this.pgs.get(pgid)?.state;
      if (now?.interval.first === interval.first) this.send(pgid, interval.first, to, body);
    } catch (thrown) {
      this.ports.log.warn({ pgid, kind: request.kind, reason: String(thrown) }, "read failed");
    }
  }

  private persist(state: PgState): void {
    const record = this.tracker.records.get(state.pgid);
    if (record === undefined) return;
    const kept = { ...record, history: state.history };
    this.tracker.records.set(state.pgid, kept);
    this.store(recordKey(state.pgid), encodePgRecord(kept));
  }

  /** Behind a map in which this OSD is not up: apply() does it for the others. */
  keepRecords(): void {
    for (const [pgid, record] of this.tracker.records) {
      if (this.kept.get(pgid) === record) continue;
      this.kept.set(pgid, record);
      this.store(recordKey(pgid), encodePgRecord(record));
    }
  }

  private remove(pgid: PgId): void {
    const { pool, seed } = parsePgId(pgid);
    this.grant(this.reservations.release(pgid));
    this.pgs.delete(pgid);
    this.toldPgNums.delete(pgid);
    this.kept.delete(pgid);
    this.tracker.forget(pgid);
    this.ports.core.removePg(pool, seed);
    this.store(recordKey(pgid), "");
  }

  private store(key: string, value: string): void {
    this.ports.core.setMeta(key, value).catch((thrown: unknown) => {
      this.ports.log.error({ key, reason: String(thrown) }, "cannot store a PG record");
    });
  }
}

function idOf({ pool, seed }: { pool: number; seed: number }): PgId {
  return pgId(pool, seed);
}

function infoOf(info: NativePgInfo): PgInfo {
  const { lastUpdate, logTail, lastEpochStarted, missingCount, leaseMs, leaseHolder } = info;
  return { lastUpdate, logTail, lastEpochStarted, missingCount, leaseMs, leaseHolder };
}
