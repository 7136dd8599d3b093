// What an OSD's native half tells of: peering, recovery, scrub. Part of native/binding.d.ts, which
// re-exports it.
import type { NativeError, NativePgInfo } from "./binding.js";
import type { NativeSnapTrimDone } from "./binding-snaptrim.js";

/** A copy that a scrub found bad. */
export interface NativeBadCopy {
  osd: number;
  /** "none": only blocks are bad */
  problem: "none" | "missing" | "extra" | "differs" | "unreadable";
  /** indices of 4 KiB blocks that do not match their checksums */
  badBlocks: number[];
}

export interface NativeScrubSpec {
  /** repeated in the events of this scrub */
  scrub: number;
  deep: boolean;
  repair: boolean;
  /** goes on behind this object; "": from the first */
  after: string;
  /** of each member's reading of data; 0: no limit */
  bytesPerSecond: number;
}

export type OsdEvent =
  | ({ type: "intervalStarted"; pool: number; seed: number; interval: number } & NativePgInfo)
  | { type: "activated"; pool: number; seed: number; interval: number; error?: NativeError }
  | {
      type: "recoveryProgress";
      pool: number;
      seed: number;
      interval: number;
      missingCount: number;
    }
  | {
      type: "recoveryFailed";
      pool: number;
      seed: number;
      interval: number;
      object: string;
      error: NativeError;
    }
  | {
      type: "scrubObject";
      pool: number;
      seed: number;
      interval: number;
      scrub: number;
      object: string;
      repaired: boolean;
      /** members whose copies are good */
      good: number[];
      bad: NativeBadCopy[];
    }
  | {
      type: "scrubProgress";
      pool: number;
      seed: number;
      interval: number;
      scrub: number;
      /** all objects up to this name have been compared */
      after: string;
      /** since the last such event */
      objects: number;
      bytes: number;
    }
  | {
      type: "scrubDone";
      pool: number;
      seed: number;
      interval: number;
      scrub: number;
      error?: NativeError;
    }
  | {
      /** a client's read met damage; without error: the local copy has been replaced */
      type: "readRepair";
      pool: number;
      seed: number;
      object: string;
      /** "CODE: what was wrong" */
      damage: string;
      error?: NativeError;
    }
  | NativeSnapTrimDone
  | { type: "control"; fromOsd: number; fromIncarnation: bigint; body: Uint8Array }
  | { type: "needMap"; epoch: number }
  | { type: "peerFailed"; osd: number; incarnation: bigint; reason: string }
  | { type: "peerRecovered"; osd: number; incarnation: bigint }
  | { type: "storeFailed"; error: NativeError }
  | { type: "log"; level: "info" | "warn" | "error"; text: string };
