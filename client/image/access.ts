// Exclusive access to an image, in which a change of it is carried out: by the holder of its lock
// beside the front ends' requests, or by a management client that has taken the lock for it.
import type { NativeFence } from "../../native/binding.js";
import type { Progress, Scope } from "./scope.js";

export interface ImageAccess {
  readonly scope: Scope;
  /** of the image */
  readonly id: string;
  /** of the lock: every change of the header is guarded by it */
  readonly fence: NativeFence;
  readonly progress: Progress;
  /** of the change that is carried out; noted in the header with what decides the change */
  readonly request?: string | undefined;
  /**
   * Runs a change with no request of a front end in flight, none starting before its device knows
   * what has changed.
   */
  quiesced<T>(change: () => Promise<T>): Promise<T>;
}
