// The cluster log: what happened to the cluster, for people; `cairn log last` shows it. The newest
// entries are kept in memory and in a file of the monitor's folder, so that they outlive a restart.
// It decides nothing: a file that cannot be written or read costs entries and is said in the log.
import { appendFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { toStorageError } from "../common/errors.js";
import type { Logger } from "../common/log.js";
import type { Clock } from "../common/ports.js";
import { Checker } from "../common/schema.js";
import { type LogEntry, type LogEntryLevel, LogEntrySchema } from "../proto/commands.js";

/** Entries that are kept. */
export const maxLogEntries = 1000;

/** Where entries are kept beside the memory. */
export interface EventSink {
  append(entry: LogEntry): void;
  /** Replaces all that was appended. */
  replace(entries: readonly LogEntry[]): void;
}

export class EventLog {
  private entries: LogEntry[];
  private appended: number;

  constructor(
    private readonly clock: Pick<Clock, "wallMs">,
    private readonly sink?: EventSink,
    earlier: readonly LogEntry[] = [],
  ) {
    this.entries = earlier.slice(-maxLogEntries);
    this.appended = earlier.length;
  }

  add(level: LogEntryLevel, message: string): void {
    const entry = { seq: this.lastSeq() + 1, wallMs: this.clock.wallMs(), level, message };
    this.entries.push(entry);
    if (this.entries.length > maxLogEntries) this.entries.shift();
    this.appended += 1;
    if (this.appended <= 2 * maxLogEntries) {
      this.sink?.append(entry);
      return;
    }
    this.sink?.replace(this.entries);
    this.appended = this.entries.length;
  }

  /** The number of the newest entry; 0: there is none. */
  lastSeq(): number {
    return this.entries.at(-1)?.seq ?? 0;
  }

  /** The newest entries behind a number, oldest first. */
  last(count: number, afterSeq = 0): LogEntry[] {
    return this.entries.filter(({ seq }) => seq > afterSeq).slice(-count);
  }
}

const entryChecker = new Checker(LogEntrySchema, "entry of the cluster log", "corrupt");

/** The log of a monitor's folder. */
export function openEventLog(
  dataDir: string,
  clock: Pick<Clock, "wallMs">,
  log: Pick<Logger, "warn">,
): EventLog {
  const file = path.join(dataDir, "cluster-log.jsonl");
  const trying = (doing: string, run: () => void) => {
    try {
      run();
    } catch (thrown) {
      log.warn({ reason: toStorageError(thrown).message }, `cannot ${doing} the cluster log`);
    }
  };
  const lineOf = (entry: LogEntry) => `${JSON.stringify(entry)}\n`;
  const sink: EventSink = {
    append: (entry) => trying("write", () => appendFileSync(file, lineOf(entry), { mode: 0o600 })),
    replace: (entries) =>
      trying("shorten", () => {
        writeFileSync(`${file}.new`, entries.map(lineOf).join(""), { mode: 0o600 });
        renameSync(`${file}.new`, file);
      }),
  };
  let earlier: LogEntry[] = [];
  trying("read", () => {
    earlier = readEntries(file);
  });
  return new EventLog(clock, sink, earlier);
}

/** The entries in the file; lines that a crash has torn are left out. */
function readEntries(file: string): LogEntry[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (thrown) {
    if ((thrown as { code?: unknown }).code === "ENOENT") return [];
    throw thrown;
  }
  return text.split("\n").flatMap((line) => {
    try {
      return line === "" ? [] : [entryChecker.check(JSON.parse(line))];
    } catch {
      return [];
    }
  });
}
