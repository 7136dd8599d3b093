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
import { epoch, noEpoch } from "../common/units.js";
import { type NativeOsd, native, type OsdEvent } from "../native/index.js";
import { clusterBytes } from "../proto/control-channel.js";
import { protocolVersion } from "../proto/handshake.js";
import type { FailureReason, Maps, MessageFromMonitor } from "../proto/messages.js";
import { findOsd, type OsdInfo, type OsdMap } from "../proto/osd-map.js";
import { type Identity, storePath } from "./identity.js";
import { mapsAfter } from "./map/map-chain.js";
import { PlacementTracker } from "./map/placement-tracker.js";
import { MonitorSession } from "./monitor-session.js";
import { nativeCrush } from "./native-crush.js";
import { nativeError } from "./native-error.js";
import { peersOf } from "./pg/peers.js";
import { PgService } from "./pg/pg-service.js";
import { reportOf } from "./stats.js";
import { readStored, storeMap } from "./stored-map.js";

export interface IncarnationOptions {
  config: OsdConfig;
  identity: Identity;
  incarnation: bigint;
  daemonLog: DaemonLog;
  clock: Clock;
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
const fullRatio = 0.95;

const failureReasons: Readonly<Record<string, FailureReason>> = {
  heartbeat_timeout: "heartbeat_timeout",
  connection_refused: "connection_refused",
  loop_hung: "loop_stalled",
  disk_hung: "disk_stalled",
};

export class Incarnation {
  private readonly core: NativeOsd;
  private readonly session: MonitorSession;
  private readonly tracker: PlacementTracker;
  private readonly pgs: PgService;
  private readonly log: Logger;
  private readonly contacted = new Set<number>();
  private map: OsdMap | undefined;
  private pending: { changed: boolean; removed: Set<string> } = { changed: true, removed: new Set() };
  private port = 0;
  private hasBeenUp = false;
  private ended = false;
  private ticks = 0;
  private upThru = { wanted: 0, askedMs: 0 };
  private cancelTick: CancelTimer = () => undefined;
  private cancelReport: CancelTimer | undefined;
  private onDown: () => void = () => undefined;
