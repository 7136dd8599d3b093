// What exports and imports of diff streams share: the part of the native client that they use, and
// stopping a job.
import { StorageError } from "../../common/errors.js";
import type { NativeClient } from "../../native/binding.js";

export type DiffIo = Pick<
  NativeClient,
  "exportDiff" | "openDiff" | "nextDiff" | "importDiff" | "closeDiff" | "cancelCopies"
>;

export interface DiffJobOptions {
  /** totalBytes undefined: not known */
  progress?: (doneBytes: number, totalBytes: number | undefined) => void;
  signal?: AbortSignal;
}

/**
 * Runs a native job that the signal cancels. The job ends before this does.
 * @throws canceled
 */
export async function untilDone<T>(
  io: Pick<NativeClient, "cancelCopies">,
  signal: AbortSignal | undefined,
  run: () => Promise<T>,
): Promise<T> {
  throwIfStopped(signal);
  const cancel = () => io.cancelCopies();
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    return await run();
  } catch (thrown) {
    throwIfStopped(signal);
    throw thrown;
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

function throwIfStopped(signal: AbortSignal | undefined): void {
  if (signal === undefined || !signal.aborted) return;
  if (signal.reason instanceof StorageError) throw signal.reason;
  throw new StorageError("canceled", "stopped before it was done");
}
