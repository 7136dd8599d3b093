// `cairn log last`: what happened to the cluster, from the monitor's log; and `cairn auth`.
import { setTimeout as sleep } from "node:timers/promises";
import type { MonitorSession } from "../client/cluster/monitor-session.js";
import type { LogEntry, LogEntryLevel } from "../proto/commands.js";
import { withMonitor } from "./connect.js";
import type { ClusterOptions, OutputOptions } from "./options.js";
import { coloured, printResult } from "./output.js";
import { withAbortSignal } from "./signals.js";

interface LogFlags extends ClusterOptions {
  watch?: true;
}

const defaultCount = 20;
/** A log that is followed is asked for this often. */
const followMs = 500;
/** The most entries of one answer. */
const maxCount = 1000;

export async function lastAction(count: number | undefined, flags: LogFlags): Promise<void> {
  await withMonitor(flags, async (monitor) => {
    const { entries, lastSeq } = await monitor.command("log last", {
      count: count ?? defaultCount,
    });
    if (flags.watch !== true) {
      printResult(flags, entries, () => entries.map(lineOf).join("\n"));
      return;
    }
    printLines(flags, entries);
    await withAbortSignal((signal) => follow(monitor, flags, lastSeq, signal));
  });
}

async function follow(
  monitor: MonitorSession,
  flags: OutputOptions,
  lastSeq: number,
  signal: AbortSignal,
): Promise<void> {
  let afterSeq = lastSeq;
  while (!signal.aborted) {
    await sleep(followMs, undefined, { signal }).catch(() => undefined);
    // While the monitor restarts, the session dials again by itself.
    if (signal.aborted || !monitor.connected()) continue;
    const found = await monitor.command("log last", { count: maxCount, afterSeq });
    printLines(flags, found.entries);
    // A monitor that was made anew counts from 1 again.
    afterSeq = found.lastSeq;
  }
}

const colours = { warn: "yellow", error: "red" } as const;

function lineOf({ wallMs, level, message }: LogEntry): string {
  const time = new Date(wallMs).toISOString();
  return `${time} ${levelText(level)} ${message}`;
}

function levelText(level: LogEntryLevel): string {
  const text = `[${level}]`.padEnd(7);
  return level === "info" ? text : coloured(colours[level], text);
}

/** Each entry on its own line, as JSON too. */
function printLines({ format }: OutputOptions, entries: readonly LogEntry[]): void {
  const toLine = format === "json" ? (entry: LogEntry) => JSON.stringify(entry) : lineOf;
  for (const entry of entries) process.stdout.write(`${toLine(entry)}\n`);
}

export async function authAction(flags: OutputOptions): Promise<void> {
  const value = { authentication: "none", encryption: "none", users: [] };
  printResult(flags, value, () =>
    [
      "Cairn has no users and no keys: whoever reaches the monitor and the OSDs over the network",
      "can read and change everything, and what goes over the network is not encrypted.",
      "Daemons listen on 127.0.0.1 unless --listen says otherwise; give them their own network.",
    ].join("\n"),
  );
}
