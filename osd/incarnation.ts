// One life of an OSD: from opening its store with a new incarnation until that is closed again. An
// OSD that the map shows down although it is alive ends this life and begins another one: its peers
// must see a new incarnation, and with it new intervals.
//
// Invariants: maps are taken in epoch order, hash-chained; PGs do nothing before a map shows this
// incarnation up; the newest map is stored behind the PG records that follow from it.
import { defined } from "../common/assert.js";
import type { OsdConfig } from "../common/config.js";
import { StorageError, toStorageError } from "../common/errors.js";
import type { DaemonLog, Logger } from "../common/log.js";
import type { CancelTimer, Clock } from "../common/ports.js";
import { epoch, type PgId } from "../common/units.js";
import {
  type DiskFaultCounters,
  type DiskFaults,
  type NativeOsd,
  native,
  type OsdEvent,
  type OsdOptions,
} from "../native/index.js";
import { clusterBytes } from "../proto/control-channel.js";
import type { DialControl } from "../proto/control-stream.js";
import { protocolVersion } from "../proto/handshake.js";
import type { Maps, MessageFromMonitor } from "../proto/messages.js";
import { findOsd, type OsdInfo, type OsdMap } from "../proto/osd-map.js";
import { limitMs } from "../proto/settings.js";
import { Background } from "./background.js";
import { failureOf, recoveryOf } from "./failure-reports.js";
import { refusesWrites } from "./full.js";
import { coreConfig, type Identity } from "./identity.js";
import { mapsAfter, subscribeAnew, subscribeBehind } from "./map/map-chain.js";
import { MapRefusals } from "./map/map-refusals.js";
import { PlacementTracker } from "./map/placement-tracker.js";
import { MonitorSession } from "./monitor-session.js";
import { nativeCrush } from "./native-crush.js";
import { nativeError } from "./native-error.js";
import { peersOf } from "./pg/peers.js";
import { PgService, type PgServicePorts } from "./pg/pg-service.js";
import { reportOf } from "./stats.js";
import { dividedBeyond, restoreTracker, storeMap } from "./stored-map.js";

export interface IncarnationOptions {
  config: OsdConfig;
  identity: Identity;
  incarnation: bigint;
  /** of this process's life before, if that ended because a map showed it down although it ran */
  previousIncarnation?: bigint | undefined;
  daemonLog: DaemonLog;
  /** for tests: the store lies on a disk with these faults */
  diskFaults?: DiskFaults;
  clock: Clock;
  /** what it stands on: the host's, or a simulated world's */
  createCore(options: OsdOptions): NativeOsd;
  dialMonitor: DialControl;
  /** counts what the PGs do, for a simulation that wants to see everything happen */
  onPgStep?: PgServicePorts["onStep"];
  /** this life has to end: another one begins unless there is an error */
  onEnd(error: StorageError | undefined): void;
}

const tickMs = 1000;
/** A report goes out every second tick, or this long after a PG changed its state. */
const ticksPerReport = 2;
const reportSoonMs = 50;
/** A boot that the map does not show is sent again after this many ticks. */
const ticksPerBoot = 5;
const markDownTimeoutMs = 3000;

export class Incarnation {
  private readonly core: NativeOsd;
  private readonly session: MonitorSession;
  private readonly tracker: PlacementTracker;
  private readonly pgs: PgService;
  private readonly background: Background;
  private readonly log: Logger;
  private readonly contacted = new Set<number>();
  private readonly mapRefusals: MapRefusals;
  private map: OsdMap | undefined;
  /** PGs of removed pools that the PG service has not heard of yet */
  private removed = new Set<PgId>();
  private port = 0;
  private hasBeenUp = false;
  private ended = false;
  private ticks = 0;
  private usedRatio = 0;
  private isFull = false;
  private upThru = { wanted: 0, askedMs: 0 };
  private cancelTick: CancelTimer = () => undefined;
  private cancelReport: CancelTimer | undefined;
  private onDown: () => void = () => undefined;

  constructor(private readonly options: IncarnationOptions) {
    const { config, identity, incarnation, daemonLog, clock } = options;
    this.log = daemonLog.log;
    this.mapRefusals = new MapRefusals(this.log, () => this.session.send(subscribeAnew));
    this.core = options.createCore({
      ...coreConfig(config),
      clusterId: clusterBytes(identity.clusterId),
      incarnation,
      ...(options.diskFaults === undefined ? {} : { diskFaults: options.diskFaults }),
      onEvents: (events) => {
        for (const event of events) this.onEvent(event);
      },
    });
    this.tracker = new PlacementTracker(config.id, nativeCrush);
    this.pgs = new PgService(
      {
        self: config.id,
        core: this.core,
        log: this.log,
        nowMs: () => clock.nowMs(),
        requestUpThru: (wanted) => this.requestUpThru(wanted),
        requestPgTemp: (pgid, acting) => this.requestPgTemp(pgid, acting),
        onStateChanged: () => this.reportSoon(),
        onContact: (osd) => this.contact(osd),
        ...(options.onPgStep === undefined ? {} : { onStep: options.onPgStep }),
      },
      this.tracker,
    );
    this.background = new Background({
      self: config.id,
      core: this.core,
      log: this.log,
      clock,
      onChanged: () => this.reportSoon(),
      onDiskFailed: (error) => this.storeFailed(error),
    });
    this.session = new MonitorSession({
      address: config.monitor,
      hello: {
        version: protocolVersion,
        cluster: clusterBytes(identity.clusterId),
        self: { kind: "osd", id: BigInt(config.id), incarnation },
        requiredFeatures: 0,
        supportedFeatures: 0,
        expected: undefined,
        refusal: undefined,
      },
      crc32c: (bytes, seed) => native.crc32c(bytes, seed),
      clock,
      log: this.log.child({ part: "monitor" }),
      dial: options.dialMonitor,
      onReady: () => this.onSession(),
      onMessage: (message) => this.onMonitorMessage(message),
    });
  }

  /**
   * Opens the store and begins to serve.
   * @returns the port of the native listener
   * @throws busy, corrupt, wrong_cluster, wrong_daemon, address_in_use; nothing stays open then
   */
  async start(): Promise<number> {
    const { config } = this.options;
    try {
      const statuses = await this.core.open();
      this.map = await restoreTracker(this.core, statuses, this.tracker, this.log);
      this.port = await this.core.listen(config.listen);
      this.log.info(
        { epoch: this.map?.epoch ?? 0, pgs: statuses.length, port: this.port },
        "store is open",
      );
    } catch (thrown) {
      this.ended = true;
      await this.core.close().catch(() => undefined);
      throw nativeError(thrown, `start osd.${config.id}`);
    }
    this.session.open();
    this.scheduleTick();
    return this.port;
  }

  incarnation(): bigint {
    return this.options.incarnation;
  }

  /** @param graceful the map shows this OSD down first, so that nobody waits for it */
  async stop(graceful: boolean): Promise<void> {
    const { config, incarnation, clock } = this.options;
    this.ended = true;
    if (graceful && this.isUp() && this.session.isReady()) {
      const shown = new Promise<void>((resolve) => {
        const cancel = clock.setTimer(markDownTimeoutMs, resolve);
        this.onDown = () => {
          cancel();
          resolve();
        };
      });
      this.session.send({
        kind: "osdMarkMeDown",
        osd: config.id,
        incarnation: String(incarnation),
      });
      await shown;
    }
    this.session.close();
    this.cancelTick();
    this.cancelReport?.();
    // Closing takes a while: no heartbeat and no frame of this incarnation may leave meanwhile.
    this.core.setPeers([]);
    await this.core.close();
  }

  /** Only with diskFaults. */
  setDiskFaults(faults: DiskFaults): Promise<DiskFaultCounters> {
    return this.core.setDiskFaults(faults);
  }

  private end(error: StorageError | undefined): void {
    if (this.ended) return;
    this.ended = true;
    this.options.onEnd(error);
  }

  // ---- monitor

  private onSession(): void {
    this.subscribe();
    if (!this.isUp()) this.boot();
  }

  private subscribe(): void {
    const { map } = this;
    this.session.send(map === undefined ? subscribeAnew : subscribeBehind(map));
  }

  private boot(): void {
    const { config, identity, incarnation, previousIncarnation: previous } = this.options;
    const { host } = config.listen;
    this.core
      .stats()
      .then(({ totalBytes }) => {
        if (this.ended) return;
        this.session.send({
          kind: "osdBoot",
          osd: config.id,
          uuid: identity.storeId,
          incarnation: String(incarnation),
          ...(previous !== undefined && { previousIncarnation: String(previous) }),
          address: { host, port: this.port },
          sizeBytes: totalBytes,
          host: config.host,
          deviceClass: config.deviceClass,
        });
      })
      .catch((thrown: unknown) => this.end(nativeError(thrown, "read the size of the store")));
  }

  private onMonitorMessage(message: MessageFromMonitor): void {
    switch (message.kind) {
      case "maps":
        this.onMaps(message);
        break;
      case "logLevel":
        this.options.daemonLog.setLevel(message.level);
        break;
      case "refused":
        this.end(StorageError.fromBody(message.error));
        break;
      case "scrubPg":
        this.background.onScrubCommand(message);
        break;
      case "commandReply":
        break;
    }
  }

  private onMaps(message: Maps): void {
    const { map: before } = this;
    try {
      const steps = mapsAfter(this.map, message);
      for (const { map, contiguous } of steps) {
        for (const pgid of this.tracker.advance(map, contiguous).removed) this.removed.add(pgid);
        // Behind a gap nobody can tell which intervals we have slept through: begin anew.
        const sleptThrough = !contiguous && this.hasBeenUp;
        this.map = map;
        if (sleptThrough) {
          this.beginAnew("maps are missing");
          return;
        }
      }
      if (steps.length > 0) this.mapRefusals.taken();
    } catch (thrown) {
      const error = toStorageError(thrown);
      if (error.code === "wrong_cluster") this.end(error);
      else this.mapRefusals.add(error);
    }
    if (this.map !== before) this.publish();
  }

  /** Everybody here goes on to the newest map. */
  private publish(): void {
    const map = defined(this.map, "a map");
    const me = this.me();
    const isUp = this.isUp();
    this.log.debug({ epoch: map.epoch, up: isUp }, "map");
    if (this.hasBeenUp && !isUp) {
      if (this.ended) this.onDown();
      else this.beginAnew(me?.up ? "another incarnation is up" : "marked down while alive");
      return;
    }
    if (isUp) {
      const refusal = dividedBeyond(map, this.tracker);
      if (refusal !== undefined) return void this.end(refusal);
      if (!this.hasBeenUp) this.log.info({ epoch: map.epoch }, "OSD is up");
      this.hasBeenUp = true;
      this.setPeers();
      // Before the epoch: who sends an operation by this map may rely on it.
      this.core.setBlocklist((map.blocklist ?? []).map(({ client }) => BigInt(client)));
      this.background.beforeMap(map);
      this.pgs.apply(map, this.removed);
      this.removed.clear();
      this.followFull(map);
      this.background.update(this.pgs.states(), map, this.isFull);
    } else this.pgs.keepRecords();
    storeMap(this.core, map).catch((thrown: unknown) => {
      this.log.error({ reason: String(thrown) }, "cannot store the map");
    });
  }

  private beginAnew(why: string): void {
    this.log.warn({ epoch: this.map?.epoch, why }, "beginning anew with another incarnation");
    this.end(undefined);
  }

  private me(): OsdInfo | undefined {
    return this.map === undefined ? undefined : findOsd(this.map, this.options.config.id);
  }

  private isUp(): boolean {
    const me = this.me();
    return me?.up === true && me.incarnation === String(this.options.incarnation);
  }

  private setPeers(): void {
    const map = defined(this.map, "a map");
    this.core.setPeers(peersOf(map, this.id(), this.tracker.records.values(), this.contacted));
  }

  private contact(osd: number): void {
    if (this.contacted.has(osd)) return;
    this.contacted.add(osd);
    this.setPeers();
  }

  private requestPgTemp(pgid: PgId, acting: readonly number[]): void {
    this.session.send({
      kind: "pgTemp",
      osd: this.options.config.id,
      epoch: defined(this.map, "a map").epoch,
      pgid,
      acting: [...acting],
    });
  }

  private requestUpThru(wanted: number): void {
    const now = this.options.clock.nowMs();
    if (wanted <= this.upThru.wanted && now - this.upThru.askedMs < tickMs) return;
    this.upThru = { wanted: Math.max(wanted, this.upThru.wanted), askedMs: now };
    this.session.send({
      kind: "osdAlive",
      osd: this.options.config.id,
      wantUpThru: epoch(this.upThru.wanted),
      epoch: defined(this.map, "a map").epoch,
    });
  }

  // ---- native core

  private onEvent(event: OsdEvent): void {
    if (this.ended) return;
    switch (event.type) {
      case "peerFailed":
        this.reportFailure(event.osd, event.incarnation, event.reason);
        break;
      case "peerRecovered":
        this.log.info({ target: event.osd }, "a peer answers again");
        this.session.send(recoveryOf(this.id(), event.osd, event.incarnation));
        break;
      case "storeFailed":
        this.log.fatal({ code: event.error.code, reason: event.error.message }, "store failed");
        this.storeFailed(nativeError(event.error, `go on with the store of osd.${this.id()}`));
        break;
      case "needMap":
        if (event.epoch > (this.map?.epoch ?? 0)) this.subscribe();
        break;
      case "log":
        this.log[event.level]({ part: "native" }, event.text);
        break;
      case "scrubObject":
      case "scrubProgress":
      case "scrubDone":
      case "readRepair":
      case "snapTrimDone":
        this.background.onNativeEvent(event);
        break;
      default:
        this.pgs.onNativeEvent(event);
    }
  }

  private id(): number {
    return this.options.config.id;
  }

  private reportFailure(target: number, incarnation: bigint, text: string): void {
    const failure = failureOf(this.map, this.id(), target, incarnation, text);
    if (failure === undefined) return;
    this.log.warn({ target, reason: failure.reason }, "a peer does not answer");
    this.session.send(failure);
  }

  /** For good: the daemon ends, and nobody but the operator starts it again. */
  private storeFailed(error: StorageError): void {
    const incarnation = String(this.options.incarnation);
    const body = error.toJSON();
    this.session.send({ kind: "osdStoreFailed", osd: this.id(), incarnation, error: body });
    this.end(error);
  }

  // ---- time

  private scheduleTick(): void {
    this.cancelTick = this.options.clock.setTimer(tickMs, () => {
      this.tick();
      if (!this.ended) this.scheduleTick();
    });
  }

  private tick(): void {
    this.ticks += 1;
    this.core.loopTick();
    this.pgs.tick();
    this.background.tick();
    void this.checkRoom();
    if (!this.session.isReady()) return;
    this.mapRefusals.tick();
    if (!this.isUp()) {
      if (this.ticks % ticksPerBoot === 0) this.boot();
    } else if (this.ticks % ticksPerReport === 0) {
      void this.report();
    }
  }

  private reportSoon(): void {
    this.cancelReport ??= this.options.clock.setTimer(reportSoonMs, () => {
      this.cancelReport = undefined;
      void this.report();
    });
  }

  private followFull(map: OsdMap): void {
    const { usedRatio } = this;
    const intervals = this.pgs.states().map(({ interval }) => interval);
    this.isFull = refusesWrites({ map, self: this.id(), usedRatio, intervals });
    this.core.setFull(this.isFull);
  }

  /** Each second, with or without a monitor: the failsafe ratio is this OSD's own business. */
  private async checkRoom(): Promise<void> {
    try {
      const { counters, usedBytes, reservedBytes, totalBytes } = await this.core.stats();
      this.background.counted(counters);
      this.usedRatio = (usedBytes + reservedBytes) / totalBytes;
      if (!this.ended && this.map !== undefined) this.followFull(this.map);
    } catch (thrown) {
      if (!this.ended) this.log.warn({ reason: String(thrown) }, "the use of the store is unknown");
    }
  }

  private async report(): Promise<void> {
    if (this.ended || !this.session.isReady() || !this.isUp()) return;
    try {
      const [core, statuses] = await Promise.all([this.core.stats(), this.core.pgStatuses()]);
      const map = defined(this.map, "a map");
      this.background.updateStored(this.pgs.states(), statuses, map);
      this.background.update(this.pgs.states(), map, this.isFull);
      const { user, system } = process.cpuUsage();
      const report = reportOf({
        osd: this.id(),
        epoch: map.epoch,
        states: this.pgs.states(),
        waitsForRecovery: (pgid) => this.pgs.waitsForRecovery(pgid),
        ...this.background.report(),
        recoveryHold: (pgid) => this.pgs.recoveryHold(pgid),
        opComplaintMs: limitMs(map, "osd.op_complaint_ms"),
        statuses,
        core,
        refusedMaps: this.mapRefusals.counters(),
        rssBytes: process.memoryUsage.rss(),
        cpuSeconds: (user + system) / 1e6,
      });
      this.session.send(report);
    } catch (thrown) {
      if (!this.ended) this.log.warn({ reason: String(thrown) }, "no report");
    }
  }
}
