// Images with snapshots, parents and limits, as the native client has them. Part of
// native/binding.d.ts, which re-exports it.
import type { DeviceHandle, NativeHistogram } from "./binding.js";

/** What a write carries: the newest snapshot id of the image, and those that exist. */
export interface SnapContext {
  /** 0: the image has never had a snapshot */
  seq: number;
  /** newest first */
  snaps: number[];
}

export interface ImageParent {
  device: DeviceHandle;
  /** what is absent in the image below this is read from the parent */
  overlapBytes: number;
}

/** Offset, length, state in turn; states: 0 absent, 1 zero, 2 data. */
export type DiffTriples = Float64Array;

export interface ImageUsage {
  usedBytes: number;
  objects: number;
}

/** done and total, of objects. */
export type ObjectProgress = (done: number, total: number) => void;

/** Limits of a device: absent or 0: none. */
export interface QosLimits {
  iopsLimit?: number;
  readIopsLimit?: number;
  writeIopsLimit?: number;
  bytesPerSecondLimit?: number;
  readBytesPerSecondLimit?: number;
  writeBytesPerSecondLimit?: number;
  /** what may go at once after a pause; absent: as much as the limit */
  iopsBurst?: number;
  readIopsBurst?: number;
  writeIopsBurst?: number;
  bytesPerSecondBurst?: number;
  readBytesPerSecondBurst?: number;
  writeBytesPerSecondBurst?: number;
}

export interface DeviceStats {
  reads: number;
  writes: number;
  readBytes: number;
  writeBytes: number;
  discards: number;
  flushes: number;
  latencyNs: { read: NativeHistogram; write: NativeHistogram };
}

/** The part of NativeClient that is about snapshots, parents, limits, and jobs on all objects. */
export declare class NativeImageCalls {
  /** Of requests that start from now on: drain the gate first. */
  setSnapContext(device: DeviceHandle, context: SnapContext): void;
  /** Of requests that start from now on: drain the gate first. */
  setParent(device: DeviceHandle, parent: ImageParent | null): void;
  setQos(device: DeviceHandle, limits: QosLimits): void;
  deviceStats(device: DeviceHandle): DeviceStats;
  /**
   * What differs between a snapshot (0: nothing at all) and what the device shows, in order of
   * offsets. wholeObject: whole objects that may differ, without asking for their blocks.
   */
  diffImage(
    device: DeviceHandle,
    fromSnap: number,
    onExtents: (triples: DiffTriples) => void,
    options?: { wholeObject?: boolean },
  ): Promise<void>;
  /** What the device has that fromSnap (0: nothing) has not. */
  measureImage(device: DeviceHandle, fromSnap: number): Promise<ImageUsage>;
  /** The head becomes what the snapshot shows. Can be repeated. */
  rollbackImage(device: DeviceHandle, snap: number, onProgress: ObjectProgress): Promise<void>;
  /** Copies what is absent in the image and present in its parent. Can be repeated. */
  flattenImage(device: DeviceHandle, onProgress: ObjectProgress): Promise<void>;
  /** Removes all data objects. Can be repeated. */
  removeObjects(device: DeviceHandle, onProgress: ObjectProgress): Promise<void>;
}
