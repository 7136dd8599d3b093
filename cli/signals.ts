// Signals for verbs that have something to take back or to drain first. A second one ends the
// process at once.

/** SIGHUP: the terminal has gone. */
const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs a task with an AbortSignal that the first of them aborts. */
export async function withAbortSignal<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = () => controller.abort();
  // once: after the first signal the default action is back.
  for (const name of stopSignals) process.once(name, stop);
  try {
    return await run(controller.signal);
  } finally {
    for (const name of stopSignals) process.removeListener(name, stop);
  }
}

/** Resolves when the signal aborts. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** A daemon that runs in this process. */
interface Daemon {
  ended: Promise<void>;
  close(): Promise<void>;
}

/** Stops the daemon on the first of them; resolves when it has ended. */
export async function untilEnded(daemon: Daemon): Promise<void> {
  await withAbortSignal(async (signal) => {
    signal.addEventListener("abort", () => void daemon.close(), { once: true });
    await daemon.ended;
  });
}
