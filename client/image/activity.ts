// Asks the processes that have an image open what their devices do.
import { StorageError } from "../../common/errors.js";
import { headerObject } from "./header.js";
import type { Activity, TraceReport } from "./inspection-record.js";
import { decodeReply, encodeRequest, type LockReply, type LockRequest } from "./lock-record.js";
import { hasCode } from "./omap-values.js";
import type { Scope } from "./scope.js";
import { notifyWatchers } from "./watchers.js";

/** Who does not answer in this time is not waited for. */
const answerTimeoutMs = 1500;
const pollMs = 250;
/** Behind the end of a trace, for its answer. */
const patienceMs = 10_000;

export interface ActivitySource extends Activity {
  /** the watcher's name: one process's use of the image */
  source: string;
}

export type DeviceTrace = TraceReport & { source: string };

/** What each process that has the image open has done with it. None: nobody has it open. */
export async function imageActivity(scope: Scope, id: string): Promise<ActivitySource[]> {
  const found: ActivitySource[] = [];
  for (const [source, reply] of await ask(scope, id, { op: "device.stats" })) {
    const activity = reply.inspection?.activity;
    if (activity !== undefined) found.push({ source, ...activity });
  }
  return found;
}

export interface TraceOptions {
  durationMs: number;
  /** one of so many requests is traced */
  every: number;
}

/**
 * Has all processes that have the image open trace it.
 * @param signal ends the waiting: canceled
 * @throws not_found when nobody has it open; timed_out when nobody answers; busy
 */
export async function traceImage(
  scope: Scope,
  id: string,
  { durationMs, every }: TraceOptions,
  signal?: AbortSignal,
): Promise<DeviceTrace[]> {
  const { clock } = scope.ports;
  const request = { op: "device.trace" as const, request: scope.newId(), durationMs, every };
  const endMs = clock.nowMs() + durationMs;
  let working = countOf(await ask(scope, id, request), "working");
  if (working === 0) {
    throw new StorageError("not_found", "nobody has the image open: there is nothing to trace", {
      remedy: "Attach it, or run `cairn bench` on it, and trace meanwhile.",
    });
  }
  await pause(scope, durationMs, signal);
  for (;;) {
    const replies = await ask(scope, id, request);
    const traces: DeviceTrace[] = [];
    for (const [source, { inspection }] of replies) {
      if (inspection?.trace !== undefined) traces.push({ source, ...inspection.trace });
    }
    working = countOf(replies, "working");
    const isOver = clock.nowMs() >= endMs + patienceMs;
    if (traces.length > 0 && (working === 0 || isOver)) return traces;
    if (working === 0 || isOver) {
      throw new StorageError("timed_out", "whoever had the image open did not tell what it traced");
    }
    await pause(scope, pollMs, signal);
  }
}

/** @throws busy when a process says so */
function countOf(replies: ReadonlyMap<string, LockReply>, answer: LockReply["answer"]): number {
  let count = 0;
  for (const reply of replies.values()) {
    if (reply.answer === "failed") {
      throw StorageError.fromBody({
        code: (reply.code ?? "io_error") as StorageError["code"],
        message: reply.message ?? "the process that has the image open could not trace it",
      });
    }
    if (reply.answer === answer) count += 1;
  }
  return count;
}

async function ask(
  { io, pool }: Scope,
  id: string,
  request: LockRequest,
): Promise<Map<string, LockReply>> {
  const place = { pool: pool.id, object: headerObject(id) };
  const answers = await notifyWatchers(io, place, encodeRequest(request), answerTimeoutMs).catch(
    (thrown: unknown) => {
      // Removed since it was listed.
      if (hasCode(thrown, "not_found")) return new Map<string, Uint8Array>();
      throw thrown;
    },
  );
  const replies = new Map<string, LockReply>();
  for (const [source, bytes] of answers) {
    // An empty answer is one that did not come.
    if (bytes.length > 0) replies.set(source, decodeReply(bytes));
  }
  return replies;
}

function pause({ ports }: Scope, afterMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new StorageError("canceled", "the trace was interrupted"));
    if (signal?.aborted === true) return stop();
    const cancel = ports.clock.setTimer(afterMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    const onAbort = () => {
      cancel();
      stop();
    };
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
