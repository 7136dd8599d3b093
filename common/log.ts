// Structured logs: one JSON object a line, by pino, appended to a file (mode 0600) or standard
// error. Writes are synchronous: log lines are rare (no data-path event logs), and the last lines
// before a crash are the ones that matter.
import path from "node:path";
import pino, { type Logger as PinoLogger } from "pino";
import type { LogConfig, LogLevel } from "./config.js";
import { makeFolders } from "./make-folders.js";

export type Logger = PinoLogger;

/** An open log of a daemon. */
export interface DaemonLog {
  log: Logger;
  /** Takes effect at once, for child loggers made before as well. */
  setLevel(level: LogLevel): void;
  level(): LogLevel;
  /** Opens the file anew, after an outside tool has rotated it away. */
  reopen(): void;
  close(): void;
}

/**
 * @param daemon "mon", "osd.3", "client.attach": the field `daemon` of every line
 * @throws the system error when the file cannot be opened
 */
export function openLog(config: LogConfig, daemon: string): DaemonLog {
  const toFile = config.file !== "-";
  if (toFile) makeFolders(path.dirname(config.file), 0o700);
  const destination = pino.destination({
    dest: toFile ? config.file : 2,
    sync: true,
    append: true,
    mode: 0o600,
  });
  // pino's children copy their parent's level when they are made; this filter is
  // what changes the level of all of them at once.
  const threshold = { value: pino.levels.values[config.level] ?? Number.POSITIVE_INFINITY };
  let level = config.level;
  let isClosed = false;
  const log = pino(
    {
      level: "trace",
      base: { daemon, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      hooks: {
        logMethod(args, method, levelNumber) {
          // What still goes on in a daemon that has ended has nowhere to tell it.
          if (!isClosed && levelNumber >= threshold.value) method.apply(this, args);
        },
      },
    },
    destination,
  );
  return {
    log,
    setLevel(next) {
      level = next;
      threshold.value = pino.levels.values[next] ?? Number.POSITIVE_INFINITY;
    },
    level: () => level,
    reopen: () => destination.reopen(),
    close() {
      isClosed = true;
      destination.flushSync();
      destination.end();
    },
  };
}

/** A logger that writes nothing, for tests. */
export const silentLog: Logger = pino({ level: "silent" });
