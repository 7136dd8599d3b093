// Images of a NativeClient: layouts, snapshots, parents, limits, statistics. Part of
// native/binding.d.ts, which re-exports it. docs/snapshots.md has the words.
import type { NativeHistogram, NativeStats } from "./binding.js";
import type { CopyExtent } from "./binding-jobs.js";

/** A handle of a device inside one NativeClient. */
export type DeviceHandle = number;

/** The newest snapshot id that the image ever had, and those that exist, newest first. */
export interface NativeSnapContext {
  seq: number;
  snaps: number[];
}

/** What shows where the image has absent blocks: the first overlapBytes of an open device. */
export interface NativeParent {
  /** stays open for the image when its handle is closed */
  device: DeviceHandle;
  overlapBytes: number;
}

export interface ImageLayout {
  pool: number;
  objectPrefix: string;
  sizeBytes: number;
  objectBytes: number;
  readOnly: boolean;
  /** requests wait until openGate(); default: they go under no lock */
  locked?: boolean;
  /** default: an object */
  stripeUnitBytes?: number;
  /** default: 1 */
  stripeCount?: number;
  /** reads are of this snapshot; the device is read-only then */
  snap?: number;
  /** of changes; default: the image has no snapshots */
  snapContext?: NativeSnapContext;
  parent?: NativeParent;
  /** only with snap: reads go through the cache of parents; image: its name, for the log */
  cache?: { image: string };
}

/** Image files: extents in guest order, as importExtents() takes them. */
export interface SourceLayout {
  fds: number[];
  extents: CopyExtent[];
  sizeBytes: number;
  /**
   * The files are not there yet: what is to be read of them is asked for by sourceWanted, in whole
   * chunks, and read when sourceFetched() says that it has come. Of what nobody reads, the least
   * recently used chunks are punched out of the files while there is more than maxKeptBytes; they
   * are asked for again then.
   */
  remote?: { chunkBytes: number; maxKeptBytes: number; fileBytes: number[] };
}

export interface ParentCacheOptions {
  /** default: CAIRN_PARENT_CACHE of the environment, else /dev/shm/cairn-parents-UID */
  path?: string;
  /** 0: there is none; default: CAIRN_PARENT_CACHE_BYTES of the environment, else 256 MiB */
  sizeBytes?: number;
}

export interface QosLimit {
  perSecond: number;
  /** what may be saved up; default: a tenth of a second's */
  burst?: number;
}

/** Requests, and bytes; discards and zeroing are writes of no bytes. Absent: not limited. */
export interface QosLimits {
  iops?: QosLimit;
  readIops?: QosLimit;
  writeIops?: QosLimit;
  bytes?: QosLimit;
  readBytes?: QosLimit;
  writeBytes?: QosLimit;
  /** requests that OSDs keep free for the image when others flood them; burst means nothing */
  reservation?: QosLimit;
}

/**
 * Counters: reads, readBytes, writes, writeBytes, discards, flushes, errors, inFlight; throttled,
 * throttledNs, throttledNow; of a clone parentReads, parentReadBytes, copyups; of the device and
 * its parents, in chunks, cacheHits, cacheMisses, cacheShared, and cacheReadBytes. Histograms: read
 * and write, without the time throttled. Of a null device all are 0.
 */
export type DeviceStats = NativeStats;

export interface TraceOptions {
  durationMs: number;
  /** one of so many requests is traced */
  every: number;
}

export type TraceStage =
  | "queue"
  | "client"
  | "network"
  | "primaryQueue"
  | "primary"
  | "disk"
  | "replicas";

/** Of the traced requests of one kind; docs/operating/trace.md. The stages add up to total. */
export interface NativeTraceFigures {
  total: NativeHistogram;
  stages: Record<TraceStage, NativeHistogram>;
  /** of the slowest replica, beside the primary's own commit */
  replica: NativeHistogram;
  /** of that, as the replica told: its commit */
  replicaCommit: NativeHistogram;
}

export interface NativeTrace {
  reads: NativeTraceFigures;
  /** zeroing too */
  writes: NativeTraceFigures;
  discards: NativeTraceFigures;
  flushes: NativeTraceFigures;
}

/** A part of an image whose blocks the same snapshots show of the parent. */
export interface FlattenScope {
  /** ascending */
  snaps: number[];
  /** the image itself too */
  head: boolean;
  /** a whole block */
  fromBytes: number;
  /** a whole block, or the parent's end */
  toBytes: number;
  /** parts of that, ascending: begins and ends, all of whole blocks; absent: all of it */
  ranges?: Float64Array;
  /** blocks of data that are zeros are copied too: something else shows where they are absent */
  zeros?: boolean;
}

export interface ImageUsage {
  usedBytes: number;
  objects: number;
}

export interface SparsifySpec {
  /** a power of two from 4096 to an object; a unit that holds anything but zeros stays whole */
  unitBytes: number;
  /** as far as any layer of the image may show a parent, zeros stay explicit */
  shownBytes: number;
}

/** Of one unit: objects of a flatten, bytes of provisioning, PGs of the others. */
export type JobProgress = (done: number, total: number) => void;
