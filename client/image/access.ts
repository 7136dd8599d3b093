// Exclusive access to an image, in which a change of it is carried out: by the holder of its lock
// beside the front ends' requests, or by a management client that has taken the lock for it.
import type { NativeFence, NativeSnapContext } from "../../native/binding.js";
import type { Progress, Scope } from "./scope.js";

/** The snap context of writes after a change, from the one before. */
export type ContextChange = (context: NativeSnapContext) => NativeSnapContext;

export interface ImageAccess {
  readonly scope: Scope;
  /** of the image */
  readonly id: string;
  /** of the lock: every change of the header is guarded by it */
  readonly fence: NativeFence;
  readonly progress: Progress;
  /** aborted when copying that can be begun again had better end: somebody waits for the lock */
  readonly wantedElsewhere?: AbortSignal;
  /** of the change that is carried out; noted in the header with what decides the change */
  readonly request?: string | undefined;
  /**
   * Runs a change with no request of a front end in flight, none starting before its device knows
   * what has changed.
   * @param contextChange of a change that concerns nothing of the device but its snap context:
   *   requests then go on before the header is read again; undefined: it may concern anything
   */
  quiesced<T>(
    change: () => Promise<T>,
    contextChange?: (made: T) => ContextChange | undefined,
  ): Promise<T>;
}
