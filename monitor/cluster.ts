// The cluster as its monitor sees it: feeds events to the services, makes their changes durable
// epoch by epoch, and tells listeners. The only place where the services' effects happen.
//
// Invariants: epochs become durable one after the other; nobody outside sees an epoch before it
// is durable; a failed append ends the monitor (the store decides at the next start what there is).
// Timers run only while a service has a deadline: an idle cluster costs nothing.
import type { LogLevel } from "../common/config.js";
import { StorageError, toStorageError } from "../common/errors.js";
import type { Logger } from "../common/log.js";
import type { CancelTimer, Clock } from "../common/ports.js";
import type { Epoch, PgId } from "../common/units.js";
import type {
  ClientStats,
  Maps,
  MessageFromMonitor,
  OsdStartRefused,
  OsdStats,
} from "../proto/messages.js";
import type { MapChanges, OsdMap } from "../proto/osd-map.js";
import type { PgPlacement } from "../proto/placement.js";
import { numberSetting } from "../proto/settings.js";
import type { CrushPort } from "./crush-port.js";
import { EventLog } from "./event-log.js";
import { requireReadable } from "./map-check.js";
import { MapDraft } from "./map-draft.js";
import { RecentMaps } from "./map-history.js";
import { PlacementCache } from "./placements.js";
import { blocklistDeadlineMs, expireBlocklist } from "./services/blocklist-service.js";
import { mapEvents } from "./services/cluster-events.js";
import type { Effect, MonitorEvent, StepContext } from "./services/events.js";
import {
  failureDeadlineMs,
  initialFailureState,
  stepFailure,
} from "./services/failure-detector.js";
import { stepFull } from "./services/full-service.js";
import {
  initialOsdState,
  type OsdServiceOptions,
  observeDown,
  osdDeadlineMs,
  stepOsd,
} from "./services/osd-service.js";
import { initialStatsState, observeUp, pgRows } from "./services/pg-stats.js";
import { staleTemps, stepPgTemp } from "./services/pg-temp-service.js";
import { initialSlowState, stepSlow } from "./services/slow-service.js";
import { planSnapForget } from "./services/snapshot-service.js";
import { planAutoSpread, poolsToSpread } from "./services/split-service.js";
import {
  initialStartRefusalState,
  noteStartRefused,
  observeStarts,
} from "./services/start-refusals.js";
import type { MapStore } from "./store/map-store.js";

export interface ClusterOptions {
  statsStaleMs: number;
}

export interface ClusterPorts {
  store: MapStore;
  crush: CrushPort;
  clock: Clock;
  log: Logger;
  /** default: kept in memory only */
  events?: EventLog;
}

/** Who wants to know; all optional, called in the order of events. */
export interface ClusterListener {
  /** a new epoch is durable */
  onMap?(map: OsdMap, previous: OsdMap): void;
  /** this OSD must not run */
  onRefuse?(osd: number, error: StorageError): void;
  /** this OSD needs the newest maps again */
  onResend?(osd: number): void;
  /** an OSD has reported */
  onReport?(): void;
  /** something rare has come that health shows */
  onNews?(): void;
  /** something that this OSD is to do, if it is connected */
  onTell?(osd: number, message: MessageFromMonitor): void;
  /** the store failed: the monitor must end */
  onFatal?(error: StorageError): void;
}

interface Waiter {
  epoch: Epoch;
  resolve(map: OsdMap): void;
  reject(error: StorageError): void;
}

export class Cluster {
  readonly stats = initialStatsState();
  readonly slow = initialSlowState();
  readonly startRefusals = initialStartRefusalState();
  readonly crush: CrushPort;
  /** the cluster log */
  readonly events: EventLog;
  private readonly placementCache: PlacementCache;
  private readonly osdState = initialOsdState();
  private readonly failureState;
  private readonly draft: MapDraft;
  private readonly listeners: ClusterListener[] = [];
  private waiters: Waiter[] = [];
  private retries: MonitorEvent[] = [];
  private committing: Promise<void> | undefined;
  private timer: { atMs: number; cancel: CancelTimer } | undefined;
  private ended: StorageError | undefined;

  private constructor(
    private readonly ports: ClusterPorts,
    readonly options: ClusterOptions,
    private readonly recent: RecentMaps,
  ) {
    this.crush = ports.crush;
    this.events = ports.events ?? new EventLog(ports.clock);
    this.placementCache = new PlacementCache(ports.crush);
    this.draft = new MapDraft(recent.newest());
    this.failureState = initialFailureState(ports.clock.nowMs());
    this.observe();
    this.armTimer();
  }

  /** Starts from what the store holds. @throws corrupt */
  static async open(ports: ClusterPorts, options: ClusterOptions): Promise<Cluster> {
    return new Cluster(ports, options, new RecentMaps(await ports.store.load()));
  }

  /** The newest durable map. */
  map(): OsdMap {
    return this.recent.newest();
  }

  /** The map being made: for plans of changes. */
  draftMap(): OsdMap {
    return this.draft.view();
  }

  /** @throws not_found */
  mapAt(epoch: Epoch): OsdMap {
    return this.recent.at(epoch);
  }

  /** @see RecentMaps.since */
  mapsSince(fromEpoch: number, haveHash?: string): Maps | undefined {
    return this.recent.since(fromEpoch, haveHash);
  }

  /** Where the PGs are by the newest durable map. */
  placements(): ReadonlyMap<PgId, PgPlacement> {
    return this.placementCache.of(this.map());
  }

  nowMs(): number {
    return this.ports.clock.nowMs();
  }

  wallMs(): number {
    return this.ports.clock.wallMs();
  }

  addListener(listener: ClusterListener): void {
    this.listeners.push(listener);
  }

  /** Feeds an event to all services. */
  handle(event: MonitorEvent): void {
    if (this.ended !== undefined) return;
    // The failure detector first: it looks at the OSD as it was before it boots.
    this.run((context) => stepFailure(this.failureState, event, context));
    this.run((context) => stepOsd(this.osdState, event, context, this.osdOptions()));
    this.run((context) => stepPgTemp(event, context));
    this.run((context) => stepFull(event, context));
    this.run((context) => stepSlow(this.slow, event, context));
    const expired = expireBlocklist(this.draft.view(), this.wallMs());
    if (expired !== undefined) this.draft.add(expired);
    this.commit();
    this.armTimer();
  }

  /** Sends a message to an OSD; lost when it is not connected. */
  tell(osd: number, message: MessageFromMonitor): void {
    for (const listener of this.listeners) listener.onTell?.(osd, message);
  }

  /** Takes an OSD's report. */
  reportOsd(stats: OsdStats): void {
    this.stats.osds.set(stats.osd, { stats, atMs: this.nowMs() });
    this.handle(stats);
    for (const listener of this.listeners) listener.onReport?.();
    this.followPgs();
  }

  /** Looks at the PGs only while snapshots are being removed, or a split pool is to be spread. */
  private followPgs(): void {
    const draft = this.draft.view();
    const waitsForPgs =
      draft.pools.some(({ removedSnaps }) => removedSnaps) || poolsToSpread(draft).length > 0;
    if (this.ended !== undefined || !waitsForPgs) return;
    const rows = pgRows(this.stats, this.map(), this.placements());
    for (const plan of [planSnapForget, planAutoSpread]) {
      const changes = plan(this.draft.view(), rows);
      if (changes === undefined) continue;
      this.draft.add(changes);
      this.commit();
    }
  }

  /** Takes a client's report. */
  reportClient(stats: ClientStats): void {
    this.stats.clients.set(stats.daemon, { stats, atMs: this.nowMs() });
  }

  /** Takes the last words of an OSD that cannot start. @param isServed it runs all the same */
  reportStartRefused(message: OsdStartRefused, isServed: boolean): void {
    const { osd, host, error } = message;
    this.ports.log.warn({ osd, host, isServed, code: error.code }, "an OSD could not start");
    const context = { map: this.map(), nowMs: this.nowMs(), isServed };
    if (!noteStartRefused(this.startRefusals, message, context)) return;
    this.events.add("warn", `osd.${osd} could not start: ${error.code}: ${error.message}`);
    for (const listener of this.listeners) listener.onNews?.();
  }

  /**
   * Puts changes into the next epoch.
   * @returns the map with them, when it is durable
   * @throws invalid_argument when nobody could read that map: nothing is changed
   */
  async change(changes: MapChanges): Promise<OsdMap> {
    requireReadable(this.draft.view(), changes);
    this.draft.add(changes);
    return this.settled();
  }

  /** The newest map, once everything that has been decided up to now is durable. */
  settled(): Promise<OsdMap> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    return new Promise((resolve, reject) => {
      this.waiters.push({ epoch: this.draft.view().epoch, resolve, reject });
      this.commit();
    });
  }

  /** Finishes the append that is under way, then takes no more. */
  async close(): Promise<void> {
    this.end(new StorageError("canceled", "the monitor is stopping"));
    await this.committing;
  }

  private osdOptions(): OsdServiceOptions {
    const map = this.draft.view();
    return {
      downOutIntervalMs: numberSetting(map, "mon.down_out_interval_ms"),
      minInRatio: numberSetting(map, "mon.min_in_ratio"),
      buildCrush: (osds, failureDomain) => this.crush.build(osds, failureDomain),
    };
  }

  private run(step: (context: StepContext) => Effect[]): void {
    for (const effect of step({ map: this.draft.view(), nowMs: this.nowMs() })) {
      this.perform(effect);
    }
  }

  private perform(effect: Effect): void {
    switch (effect.kind) {
      case "change":
        this.draft.add(effect.changes);
        break;
      case "retry":
        this.retries.push(effect.event);
        break;
      case "refuse":
        this.ports.log.warn({ osd: effect.osd, reason: effect.error.message }, "OSD refused");
        for (const listener of this.listeners) listener.onRefuse?.(effect.osd, effect.error);
        break;
      case "resendMaps":
        for (const listener of this.listeners) listener.onResend?.(effect.osd);
        break;
      case "log":
        this.write(effect.level, effect.message, effect.fields);
        break;
    }
  }

  private write(level: LogLevel, message: string, fields: Record<string, unknown>): void {
    this.ports.log[level](fields, message);
  }

  private commit(): void {
    this.committing ??= this.commitAll();
  }

  /** Seals and appends until nothing is left to do. */
  private async commitAll(): Promise<void> {
    // Events of the same turn of the event loop share an epoch.
    await new Promise(setImmediate);
    while (this.ended === undefined) {
      const stale = staleTemps(this.draft.view());
      if (stale !== undefined) this.draft.add(stale);
      const previous = this.draft.sealed();
      const made = this.draft.sealNext(this.ports.clock.wallMs());
      if (made === undefined && this.retries.length === 0) break;
      if (made !== undefined) {
        try {
          await this.ports.store.append(made.incremental, made.map);
        } catch (thrown) {
          this.fail(toStorageError(thrown));
          return;
        }
        this.recent.add(made.incremental, made.map);
        this.publish(made.map, previous);
      }
      for (const event of this.retries.splice(0)) this.handle(event);
    }
    // In the same turn as the last look at the draft: what comes after starts a new loop.
    this.committing = undefined;
    this.settle(this.draft.view().epoch);
  }

  private publish(map: OsdMap, previous: OsdMap): void {
    this.ports.log.info({ epoch: map.epoch, hash: map.hash }, "new map");
    this.observe();
    for (const { level, message } of mapEvents(previous, map)) this.events.add(level, message);
    for (const listener of this.listeners) listener.onMap?.(map, previous);
    this.settle(map.epoch);
    this.handle({ kind: "tick" });
  }

  private observe(): void {
    observeDown(this.osdState, this.map(), this.nowMs());
    observeUp(this.stats, this.map(), this.nowMs());
    observeStarts(this.startRefusals, this.map());
  }

  private settle(epoch: Epoch): void {
    const done = this.waiters.filter((waiter) => waiter.epoch <= epoch);
    this.waiters = this.waiters.filter((waiter) => waiter.epoch > epoch);
    for (const waiter of done) waiter.resolve(this.map());
  }

  private fail(error: StorageError): void {
    this.ports.log.fatal({ reason: error.message }, "the map store failed");
    this.end(error);
    for (const listener of this.listeners) listener.onFatal?.(error);
  }

  private end(error: StorageError): void {
    this.ended ??= error;
    this.timer?.cancel();
    this.timer = undefined;
    for (const waiter of this.waiters.splice(0)) waiter.reject(this.ended);
  }

  private armTimer(): void {
    if (this.ended !== undefined) return;
    const nowMs = this.nowMs();
    const map = this.draft.view();
    const expiryMs = blocklistDeadlineMs(map);
    const deadlines = [
      // The wall clock may step; a day at most passes before it is looked at again.
      expiryMs === undefined ? undefined : nowMs + Math.min(expiryMs - this.wallMs(), 86_400_000),
      osdDeadlineMs(this.osdState, map, this.osdOptions()),
      failureDeadlineMs(this.failureState, map, nowMs),
    ].filter((deadline) => deadline !== undefined);
    const atMs = deadlines.length === 0 ? undefined : Math.min(...deadlines);
    if (atMs === this.timer?.atMs) return;
    this.timer?.cancel();
    this.timer = undefined;
    if (atMs === undefined) return;
    // Timers of the host may fire up to 1 ms early by the monotonic clock.
    const delayMs = Math.max(0, atMs - nowMs) + 1;
    const cancel = this.ports.clock.setTimer(delayMs, () => {
      this.timer = undefined;
      this.handle({ kind: "tick" });
    });
    this.timer = { atMs, cancel };
  }
}
