// The part of the addon that exists for tests: disks that misbehave, recorded histories, and a
// simulated world. Part of native/binding.d.ts, which re-exports it.
import type { NativeMap } from "./binding.js";

/** How a disk misbehaves, for tests (native/core/io/fault_disk.hh). */
export interface DiskFaults {
  /** what is not flushed is in this process alone, so that kill -9 is a power cut */
  holdWrites: boolean;
  /** of the blocks that are held: written back before their flush */
  writeBackPercent: number;
  /** of each operation */
  delayMs: number;
  /** 0: no limit */
  operationsPerSecond: number;
  failReads: boolean;
  failWrites: boolean;
  failFlushes: boolean;
  /** writes answer no_space */
  full: boolean;
  /** so many of the next reads return one flipped bit */
  flipReads: number;
}

export interface DiskFaultCounters {
  /** now: what a power cut would lose */
  heldBlocks: number;
  flushedBlocks: number;
  failed: number;
  delayed: number;
  flipped: number;
}

/** Unique values on a device, and what each operation saw (native/core/image/history_job.hh). */
export interface HistoryOptions {
  /** sweep: each block is read once */
  mode: "mixed" | "sweep";
  /** not 0; different for jobs that share blocks */
  client: number;
  /** block i lies at i * strideBytes */
  blocks: number;
  strideBytes: number;
  queueDepth: number;
  writePercent: number;
  /** of each slot of the queue, between two operations */
  pauseMs: number;
  durationMs: number;
  /** then, for answers; 0: however long they take */
  drainMs: number;
  seed: number;
}

export interface HistoryResult {
  /**
   * 32 bytes each, little-endian: u32 block, u32 kind (0 a read, 1 a write, 2 a write that a fence
   * refused), u64 value (0: zeros, all ones: no value), u64 start, u64 end (all ones: pending) in
   * nanoseconds of CLOCK_BOOTTIME
   */
  records: Uint8Array;
  failedReads: number;
  failedWrites: number;
  unanswered: number;
  /** a fence has refused an operation: the job ended then */
  isFenced: boolean;
  startNs: number;
  endNs: number;
  firstError?: string;
}

/** Faults of the simulated network between OSDs and clients. */
export interface SimNetworkOptions {
  /** of one way, uniform */
  minDelayNs: number;
  maxDelayNs: number;
  /** of writes: the stream breaks instead, or one bit of it is flipped */
  resetsPerMillion: number;
  corruptionsPerMillion: number;
}

/** An I/O error that is made; flip: a read of objects' data comes with one bit flipped. */
export interface SimDiskFault {
  on: "read" | "write" | "flush" | "flip";
  skip: number;
  times: number;
}

/**
 * A cluster's time, network and disks, simulated: nothing native runs but inside runUntil(). The
 * same seed and calls give the same run. Hosts are named "osdN", and as SimClientOptions say.
 */
export declare class NativeSimWorld {
  /** logEntriesKept: of each PG; an OSD that lacks more is backfilled */
  constructor(options: { seed: bigint; logEntriesKept: number });
  nowNs(): number;
  /** Lets time pass up to limitNs, or until something has come for JavaScript; delivers that. */
  runUntil(limitNs: number): number;
  /** A new disk with an empty store; once for each OSD. Its clock drifts against the world's. */
  formatOsd(options: {
    osd: number;
    clusterId: Uint8Array;
    storeId: Uint8Array;
    clockDriftPpm: number;
  }): void;
  /** The process of an OSD dies; losesUnflushed: so does the power of its disk. */
  crash(osd: number, losesUnflushed: boolean): void;
  /** As SIGSTOP and SIGCONT. */
  freeze(osd: number): void;
  thaw(osd: number): void;
  /** Packets of one host no longer reach the other. */
  partition(from: string, to: string): void;
  heal(from: string, to: string): void;
  resetStreams(a: string, b: string): void;
  setNetwork(options: SimNetworkOptions): void;
  /** I/O errors: the operations behind the first `skip` ones, `times` of them. */
  addDiskFault(osd: number, fault: SimDiskFault): void;
  clearDiskFaults(osd: number): void;
  setDiskLatency(osd: number, minNs: number, maxNs: number): void;
  /** Steps taken and faults delivered. */
  counters(): Record<string, number>;
  /** Everything in it dies. */
  destroy(): void;
}

export interface SimClientOptions {
  world: NativeSimWorld;
  host: string;
  clusterId: Uint8Array;
  clientId: bigint;
  /** of its clock, against the world's */
  clockDriftPpm: number;
  onNeedMap: (epoch: number) => void;
}

/** The lock that an operation is sent under: the image and the token that its lock handed out. */
export interface SimFence {
  key: string;
  token: number;
}

/** The snapshots of the image that a change belongs to, newest first. */
export interface SimSnapContext {
  seq: number;
  snaps: number[];
}

/** An objecter in a simulated world, on blocks of 4 KiB that each hold one number below 2^53. */
export declare class NativeSimClient {
  constructor(options: SimClientOptions);
  setMap(map: NativeMap): void;
  write(
    pool: number,
    object: string,
    block: number,
    value: number,
    fence?: SimFence,
    context?: SimSnapContext,
  ): Promise<number>;
  /** 0: zeros; -1: the block is not of one number. snap: as that snapshot shows it. */
  read(
    pool: number,
    object: string,
    block: number,
    fence?: SimFence,
    snap?: number,
  ): Promise<number>;
  remove(pool: number, object: string, context?: SimSnapContext): Promise<number>;
  counters(): Record<string, number>;
  /** The process dies. */
  close(): void;
}
