// The part of binding.d.ts about trimming removed snapshots: what is asked for, and its end.

import type { NativeError } from "./binding.js";

export interface NativeSnapTrimSpec {
  /** repeated in the event that ends it */
  trim: number;
  /** snapshot ids; the core has been told of them by setRemovedSnaps() */
  removed: number[];
  maxInFlight: number;
  /** 0: no limit */
  objectsPerSecond: number;
}

/** Without error: no object of the PG has anything of the removed snapshots any more. */
export interface NativeSnapTrimDone {
  type: "snapTrimDone";
  pool: number;
  seed: number;
  interval: number;
  trim: number;
  error?: NativeError;
}
