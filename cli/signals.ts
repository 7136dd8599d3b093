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
