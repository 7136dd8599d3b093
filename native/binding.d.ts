// The one crossing between TypeScript and the native core. Everything that the addon offers, with
// units; native/index.ts loads it. Payload bytes never pass here: only ids, ranges, small metadata.
//
// Numbers: u64 values that stay below 2^53 (log numbers, bytes, counts) are number; identities that
// use all 64 bits (incarnation, client id) are bigint. Promises reject with NativeError.

import type { ClientOptions, NativeNbdOptions } from "./binding-client.js";
import type { NativeDiffExport, NativeDiffPart } from "./binding-diffs.js";
import type {
  DeviceHandle,
  DeviceStats,
  FlattenScope,
  ImageLayout,
  ImageUsage,
  JobProgress,
  NativeParent,
  NativeSnapContext,
  NativeTrace,
  QosLimits,
  SourceLayout,
  TraceOptions,
} from "./binding-images.js";
import type {
  BenchOptions,
  BenchResult,
  CopyExtent,
  CopyProgress,
  OnCopied,
} from "./binding-jobs.js";
import type {
  NativeFence,
  NativeMap,
  NativeOpReply,
  NativeStep,
  OperateOptions,
  WatchOptions,
} from "./binding-operations.js";
import type { NativeScrubSpec, OsdEvent } from "./binding-osd-events.js";
import type { NativeSnapTrimSpec } from "./binding-snaptrim.js";
import type {
  DiskFaultCounters,
  DiskFaults,
  HistoryOptions,
  HistoryResult,
  NativeSimClient,
  NativeSimWorld,
} from "./binding-testing.js";

export type * from "./binding-client.js";
export type * from "./binding-diffs.js";
export type * from "./binding-images.js";
export type * from "./binding-jobs.js";
export type * from "./binding-operations.js";
export type * from "./binding-osd-events.js";
export type * from "./binding-snaptrim.js";
export type * from "./binding-testing.js";

/** An Error whose `code` is an ErrorCode of common/errors.ts. */
export interface NativeError extends Error {
  code: string;
}

export interface NativeAddress {
  host: string;
  port: number;
}

/** Version of a PG log entry: [epoch, number]. */
export type NativeVersion = [epoch: number, number: number];

export interface NativeLogEntry {
  epoch: number;
  number: number;
  /** "": one that a split has given to another PG; the entry means nothing for this one */
  object: string;
  removes: boolean;
  /** the entry as stored; handed back in activate() as it is */
  bytes: Uint8Array;
}

export interface NativePgInfo {
  lastUpdate: NativeVersion;
  /** number of the newest entry that the log has forgotten */
  logTail: number;
  lastEpochStarted: number;
  missingCount: number;
  /** what is left, rounded up, of a read lease that this copy has granted in an older interval */
  leaseMs: number;
  /** to whom; -1: not known */
  leaseHolder: number;
}

export type NativeRole = "stray" | "replica" | "primary";
export type NativePhase = "peering" | "replica_active" | "active";

export interface NativePgStatus extends NativePgInfo {
  pool: number;
  seed: number;
  interval: number;
  acting: number[];
  role: NativeRole;
  phase: NativePhase;
  peerMissingCount: number;
  objectCount: number;
  /** of their data, in whole blocks */
  storedBytes: number;
  /** as setScrubRecord() last set it; "": never */
  scrubRecord: string;
  /** PGs that the pool had when this copy was last split; 0: not known */
  pgNum: number;
}

/** Latencies: upper bucket edges and counts of non-empty buckets. */
export interface NativeHistogram {
  boundsNs: number[];
  counts: number[];
  count: number;
  sumNs: number;
  maxNs: number;
}

export interface NativeStats {
  counters: Record<string, number>;
  histograms: Record<string, NativeHistogram>;
}

export interface OsdStats extends NativeStats {
  totalBytes: number;
  usedBytes: number;
  reservedBytes: number;
  objects: number;
  /** of the oldest client operation under way */
  oldestOperationMs: number;
  roundTripsNs: Array<[osd: number, ns: number]>;
}

export interface OsdOptions {
  /** data file or block device */
  path: string;
  clusterId: Uint8Array;
  osd: number;
  incarnation: bigint;
  /** set: the store lies on a disk that misbehaves when told to */
  diskFaults?: DiskFaults;
  /** to reach processes of this machine, and be reached by them, by Unix sockets */
  localSockets?: boolean;
  /** small overwrites go to new places beside each other; absent: they stay where they were */
  movesOverwrites?: boolean;
  /** memory for headers and block maps of objects; absent: the core's own default */
  metadataCacheBytes?: number;
  onEvents: (events: OsdEvent[]) => void;
  /** it runs in this world instead of on the host; path means nothing then */
  world?: NativeSimWorld;
}

export interface FormatOptions {
  path: string;
  clusterId: Uint8Array;
  osd: number;
  storeId: Uint8Array;
  /** for a file: its size (sparse); for a device: 0 */
  sizeBytes: number;
  walBytes: number;
}

/** An object that a copy lacks: the version that it needs ([0, 0]: not known), or its removal. */
export type NativeMissing = [name: string, need: NativeVersion, removed: boolean];

export interface NativeActivation {
  interval: number;
  /** set when the local log does not reach the authoritative one: version before its first entry */
  resetLogTo?: NativeVersion;
  /** with resetLogTo: pgHorizon() of the authoritative copy */
  horizon?: Uint8Array;
  /** without resetLogTo: local entries with a larger number go */
  rewindTo: number;
  /** NativeLogEntry.bytes of the authoritative entries to append, in order */
  entries: Uint8Array[];
  missing: NativeMissing[];
  /** primary only */
  peerMissing: Array<[osd: number, objects: string[]]>;
  /** primary only: who can give what is missing here, best first */
  sources: number[];
  /** primary only: who may have a version that is known by number */
  otherSources: number[];
  /** primary only: for so long nothing is served, since an older primary may hold a read lease */
  leaseWaitMs: number;
}

export declare class NativeOsd {
  constructor(options: OsdOptions);
  /** Opens the store (replays), loads the PGs. Errors: those of ObjectStore::open. */
  open(): Promise<NativePgStatus[]>;
  /** port 0: a free one. Returns the port. */
  listen(address: NativeAddress): Promise<number>;
  setMapEpoch(epoch: number): void;
  setPeers(peers: Array<{ osd: number; address: NativeAddress; incarnation: bigint }>): void;
  setFull(full: boolean): void;
  /** clients whose operations are refused; before setMapEpoch() of the map that has them */
  setBlocklist(clients: bigint[]): void;
  /**
   * All snapshots that are being removed or have been, of all pools: they count as not there.
   * Before setMapEpoch() of the map that has them. runs: first and last id of each, flat.
   */
  setRemovedSnaps(pools: Array<{ pool: number; snaps: number[]; runs: number[] }>): void;
  loopTick(): void;
  /** Only with OsdOptions.diskFaults. */
  setDiskFaults(faults: DiskFaults): Promise<DiskFaultCounters>;
  /**
   * The pool has so many PGs: this copy is split before it, or a child of it, says anything about
   * an interval that starts afterwards. Before the startInterval() calls of the epoch.
   */
  setPgNum(pool: number, seed: number, pgNum: number): void;
  /** spec.pgNum: of the pool */
  startInterval(
    pool: number,
    seed: number,
    spec: { interval: number; acting: number[]; minSize: number; role: NativeRole; pgNum: number },
  ): void;
  activate(pool: number, seed: number, activation: NativeActivation): void;
  goActive(pool: number, seed: number, interval: number): void;
  setRecovery(pool: number, seed: number, interval: number, maxInFlight: number): void;
  /** Primary of an active PG: scrubs it; scrubDone follows, unless a new interval comes first. */
  startScrub(pool: number, seed: number, interval: number, spec: NativeScrubSpec): void;
  stopScrub(pool: number, seed: number, interval: number): void;
  /** Every member keeps it: the scrub is over. */
  setScrubRecord(pool: number, seed: number, interval: number, record: string): void;
  /**
   * Primary of an active PG: rids it of removed snapshots; snapTrimDone follows, unless a new
   * interval comes first.
   */
  startSnapTrim(pool: number, seed: number, interval: number, spec: NativeSnapTrimSpec): void;
  /** snapTrimDone says canceled, when it was not through. */
  stopSnapTrim(pool: number, seed: number, interval: number): void;
  removePg(pool: number, seed: number): void;
  sendControl(osd: number, body: Uint8Array): void;
  pgStatuses(): Promise<NativePgStatus[]>;
  /** Entries with a number above `after`, oldest first. */
  pgLog(pool: number, seed: number, after: number, limit: number): Promise<NativeLogEntry[]>;
  /** What the copy knows of requests older than its log; opaque, for activate() of another copy. */
  pgHorizon(pool: number, seed: number): Promise<Uint8Array>;
  pgMissing(pool: number, seed: number): Promise<NativeMissing[]>;
  /** Objects behind `after` in name order, with their versions. */
  listObjects(
    pool: number,
    seed: number,
    after: string | null,
    limit: number,
  ): Promise<Array<[name: string, version: NativeVersion]>>;
  /** The next object behind `after` in the order of names' bytes; null: there is none. */
  nextObject(pool: number, seed: number, after: string | null): Promise<NativeObject | null>;
  getMeta(key: string): Promise<string | null>;
  setMeta(key: string, value: string): Promise<void>;
  stats(): Promise<OsdStats>;
  /** Checkpoints, closes the store and ends the thread. */
  close(): Promise<void>;
}

/** One copy of an object with all that its layers hold (native/core/pg/whole_object.hh). */
export interface NativeObject {
  name: string;
  /** versions, attributes, key-values, states and checksums of blocks */
  description: Uint8Array;
  /** of all blocks of all layers; of the bad ones zeros */
  data: Uint8Array;
  badBlocks: number;
}

export declare class NativeClient {
  constructor(options: ClientOptions);
  setMap(map: NativeMap): void;
  /** One atomic operation on one object (metadata; payload does not go this way). */
  operate(
    pool: number,
    object: string,
    steps: NativeStep[],
    options?: OperateOptions,
  ): Promise<NativeOpReply>;
  /** What can't be opened (a log event says why) is a closed device. */
  openImage(layout: ImageLayout): DeviceHandle;
  /** Image files as a read-only device; the descriptors are duplicated. Else as openImage(). */
  openSource(source: SourceLayout): DeviceHandle;
  /** What sourceWanted asked for is in the file; or why not: reads that wait for it fail. */
  sourceFetched(
    device: DeviceHandle,
    source: number,
    offset: number,
    lengthBytes: number,
    failure?: string,
  ): void;
  openNull(sizeBytes: number): DeviceHandle;
  /** Guests that it is served to hear of it. */
  setImageSize(device: DeviceHandle, sizeBytes: number): void;
  /** Of changes that start after the call. Callers drain the gate first. */
  setSnapContext(device: DeviceHandle, context: NativeSnapContext): void;
  /**
   * For requests that start after the call; null: detaches. Resolves when nothing goes on that
   * began with the parent before.
   */
  setParent(device: DeviceHandle, parent: NativeParent | null): Promise<void>;
  /**
   * From here on the device is another image, without parent: its front ends go on. Of the layout
   * all holds but readOnly, locked, snap and cache. @throws busy while its gate is open
   */
  retarget(device: DeviceHandle, layout: ImageLayout): Promise<void>;
  /** For requests that start after the call, and for those that wait. {}: no limits. */
  setQos(device: DeviceHandle, limits: QosLimits): Promise<void>;
  deviceStats(device: DeviceHandle): Promise<DeviceStats>;
  /** Traces one of `every` requests of an image; resolves when durationMs is over. */
  traceDevice(device: DeviceHandle, options: TraceOptions): Promise<NativeTrace>;
  /**
   * What differs between a snapshot (0: nothing) and what the image is opened at. onExtents gets
   * triples offset, length, state (0 absent, 1 zero, 2 data) in order of the image; the next batch
   * comes when it has returned, and its promise, if it gives one, is fulfilled.
   */
  diffImage(
    device: DeviceHandle,
    fromSnap: number,
    onExtents: (triples: Float64Array) => void | Promise<void>,
    options?: { wholeObject?: boolean },
  ): Promise<void>;
  /** Of the image's own objects, without its parent: what differs from fromSnap. */
  measureImage(device: DeviceHandle, fromSnap: number): Promise<ImageUsage>;
  /** The head becomes what the snapshot shows. */
  rollbackImage(device: DeviceHandle, snap: number, onProgress?: JobProgress): Promise<void>;
  /**
   * Copies what only the parent has, while the image is in use; then the parent may go.
   * @param scope with what snapshots show of the parent; absent: of the image itself, all
   */
  flattenImage(device: DeviceHandle, onProgress?: JobProgress, scope?: FlattenScope): Promise<void>;
  /**
   * Writes zeros into all absent blocks, so that each has space of its own. @throws
   * invalid_argument (a clone), no_space
   */
  provisionImage(device: DeviceHandle, onProgress?: JobProgress): Promise<void>;
  /**
   * Has the OSDs free the blocks of zeros, while the image is in use. Resolves with how many bytes
   * went; answers that were lost on their way count for nothing. @throws invalid_argument
   */
  sparsifyImage(
    device: DeviceHandle,
    options: SparsifySpec,
    onProgress?: JobProgress,
  ): Promise<number>;
  /** Data objects from this number on, also behind the image's end; no parent shows there. */
  removeObjects(device: DeviceHandle, firstObject: number, onProgress?: JobProgress): Promise<void>;
  /** Of the seven above: they reject with canceled. closeDevice() does so too. */
  cancelJobs(device: DeviceHandle): void;
  /** The requests of a locked image go, under this token. */
  openGate(device: DeviceHandle, fence: NativeFence): void;
  /** Requests wait again; resolves when nothing is in flight. */
  drainGate(device: DeviceHandle): Promise<void>;
  /** All requests fail from here on, as fenced or as canceled. */
  failGate(device: DeviceHandle, reason: string, fenced: boolean): void;
  /** The lock is released: whoever stopped to use the device hears so. */
  released(device: DeviceHandle): void;
  /** Makes each PG of the pool refuse lower tokens; silent: those that did not answer in time. */
  sweepFence(
    pool: number,
    fence: NativeFence,
    timeoutMs: number,
  ): Promise<{ raised: number; silent: number }>;
  /** Resolves when the primary knows; renewed until unwatch(). not_found without the object. */
  watch(pool: number, object: string, options: WatchOptions): Promise<number>;
  unwatch(watch: number): Promise<void>;
  /** reply: at most 4 KiB */
  answerNotify(answer: number, reply: Uint8Array): void;
  closeDevice(device: DeviceHandle): void;
  /** Discards [offset, offset + length): for shrinking and removing. */
  discard(device: DeviceHandle, offset: number, lengthBytes: number): Promise<void>;
  /** Any offset and length; out_of_range past the end. */
  readDevice(device: DeviceHandle, offset: number, lengthBytes: number): Promise<Uint8Array>;
  /** Durable when it resolves. The bytes are copied before it returns. */
  writeDevice(device: DeviceHandle, offset: number, bytes: Uint8Array): Promise<void>;
  /** mayUnmap: the space may be given back */
  writeZeroes(
    device: DeviceHandle,
    offset: number,
    lengthBytes: number,
    mayUnmap: boolean,
  ): Promise<void>;
  flush(device: DeviceHandle): Promise<void>;
  serveVhostUser(
    device: DeviceHandle,
    options: { socket: string; queues: number; serial: string },
  ): Promise<number>;
  serveNbd(device: DeviceHandle, options: NativeNbdOptions): Promise<number>;
  /** For NBD clients that connect from now on. */
  setDirtyBitmaps(handle: number, bitmaps: NativeDirtyBitmap[]): Promise<void>;
  stopExport(handle: number): Promise<void>;
  bench(device: DeviceHandle, options: BenchOptions): Promise<BenchResult>;
  /** Destroys the device's content. */
  history(device: DeviceHandle, options: HistoryOptions): Promise<HistoryResult>;
  /** Into a new (blank) device. Feed extents with importExtents(); finish with importEnd(). */
  importBegin(device: DeviceHandle, sourceFds: number[]): number;
  /** Extents in guest order; resolves when the job wants more, rejects when it has failed. */
  importExtents(job: number, extents: CopyExtent[]): Promise<CopyProgress>;
  importEnd(job: number): Promise<CopyProgress>;
  /** A raw image in a regular file or block device; its holes are not read. */
  importRaw(
    device: DeviceHandle,
    fd: number,
    sizeBytes: number,
    onProgress: OnCopied,
  ): Promise<CopyProgress>;
  /** Reads fd to its end (a pipe). */
  importStream(device: DeviceHandle, fd: number, onProgress: OnCopied): Promise<CopyProgress>;
  /** Writes the whole device to fd; sparse needs a regular file. */
  exportTo(
    device: DeviceHandle,
    fd: number,
    sparse: boolean,
    onProgress: OnCopied,
  ): Promise<CopyProgress>;
  /** One diff, from a snapshot of the image to what it is opened at. */
  exportDiff(
    device: DeviceHandle,
    fd: number,
    options: NativeDiffExport,
    onProgress: OnCopied,
  ): Promise<CopyProgress>;
  /** A regular file is looked through first. fd stays open until closeDiff(). */
  openDiff(fd: number): Promise<number>;
  /** The header of an image, or of the next diff; null: there is none. */
  nextDiff(diff: number): Promise<NativeDiffPart | null>;
  /**
   * The data of the diff whose header was given last. Can be repeated from a new openDiff().
   * sparseBytes: zeros free space in units of that, 4 KiB to 1 MiB.
   */
  importDiff(
    device: DeviceHandle,
    diff: number,
    options: { sparseBytes: number },
    onProgress: OnCopied,
  ): Promise<CopyProgress>;
  closeDiff(diff: number): void;
  mergeDiffs(
    firstFd: number,
    secondFd: number,
    outFd: number,
    onProgress: OnCopied,
  ): Promise<CopyProgress>;
  cancelJob(job: number): void;
  /** Cancels all copies that have no number: they reject with canceled. */
  cancelCopies(): void;
  stats(): Promise<NativeStats & { oldestOperationMs: number }>;
  close(): Promise<void>;
}

export interface Native {
  Osd: typeof NativeOsd;
  Client: typeof NativeClient;
  SimWorld: typeof NativeSimWorld;
  SimClient: typeof NativeSimClient;
  /** Hits of the marks on rare branches (core/base/probe.hh) in this process. */
  probes(): Record<string, number>;
  /** The addon contains the planted bugs of core/base/planted_bug.hh: only for tests of tests. */
  plantedBugsBuilt(): boolean;
  /** Writes a new store (blocking; `cairn osd mkfs` and `cairn up`). */
  formatStore(options: FormatOptions): Promise<void>;
  /**
   * CPU time of a process in nanoseconds (clock_getcpuclockid(3)). It counts the threads that have
   * ended, too: io_uring's workers end after some seconds without work, so a sum over the threads
   * that live may even go back. undefined: the process is gone.
   */
  processCpuNs(pid: number): number | undefined;
  crc32c(bytes: Uint8Array, seed: number): number;
  errorCodes(): Record<string, number>;
  crushMapPgs(
    compiled: Uint8Array,
    ruleId: number,
    poolId: number,
    pgNum: number,
    size: number,
    weights: Uint32Array,
  ): Int32Array;
  crushTest(
    compiled: Uint8Array,
    ruleId: number,
    numRep: number,
    minX: number,
    maxX: number,
    weights: Uint32Array,
  ): Int32Array;
  /** Seed of the PG of an object. */
  objectPgSeed(name: string, pgNum: number): number;
}
