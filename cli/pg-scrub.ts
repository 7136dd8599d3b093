// `cairn pg scrub | deep-scrub | repair | list-inconsistent`.
import type { MonitorSession } from "../client/cluster/monitor-session.js";
import { StorageError } from "../common/errors.js";
import { systemClock, systemRandom } from "../common/ports.js";
import type { PgId } from "../common/units.js";
import type { CommandArgs, CommandResult, PgRow } from "../proto/commands.js";
import type { FinishedScrub, ScrubMode } from "../proto/scrub.js";
import { withMonitor } from "./connect.js";
import type { ClusterOptions } from "./options.js";
import { fieldsText, type Output, printResult, table } from "./output.js";

interface ScrubFlags extends ClusterOptions {
  pool?: string;
  wait?: true;
  timeout: number;
}

/** What one PG's scrub did. */
interface Outcome extends FinishedScrub {
  pgid: PgId;
}

const pollMs = 500;
/** Asked again so often: the OSD that was asked may have stopped, or lead the PG no more. */
const askAgainMs = 5000;

/** `cairn pg scrub`, `deep-scrub` or `repair`. */
export const scrubAction =
  (mode: ScrubMode) =>
  (pgid: PgId | undefined, flags: ScrubFlags): Promise<void> =>
    scrub(mode, pgid, flags);

async function scrub(mode: ScrubMode, pgid: PgId | undefined, flags: ScrubFlags): Promise<void> {
  const { pool } = flags;
  const args: CommandArgs<"pg scrub"> = {
    ...(pgid === undefined ? {} : { pgid }),
    ...(pool === undefined ? {} : { pool }),
    mode,
    request: systemRandom.below(2 ** 48 - 1) + 1,
  };
  await withMonitor(flags, async (monitor) => {
    const { asked, unserved } = await monitor.command("pg scrub", args);
    if (flags.wait !== true) {
      printResult(flags, { request: args.request, asked, unserved }, () =>
        [
          `${asked.length} PGs will be scrubbed (${mode}).`,
          ...(unserved.length > 0 ? [`No OSD serves ${unserved.join(", ")}.`] : []),
        ].join("\n"),
      );
      return;
    }
    const outcomes = await outcomesOf(monitor, args, [...asked, ...unserved], flags.timeout);
    printResult(flags, { pgs: outcomes }, () => outcomesText(outcomes));
    const left = outcomes.reduce((sum, { errors, repaired }) => sum + errors - repaired, 0);
    if (mode === "repair" && left > 0) {
      throw new StorageError("unfound", `${left} errors have no good copy to repair them from`, {
        remedy: "`cairn pg list-inconsistent PGID` names the objects; rewrite or restore them.",
      });
    }
  });
}

/** Waits until all PGs have finished this request. @throws timed_out */
async function outcomesOf(
  monitor: MonitorSession,
  args: CommandArgs<"pg scrub">,
  pgids: readonly PgId[],
  timeoutMs: number,
): Promise<Outcome[]> {
  const deadlineMs = systemClock.nowMs() + timeoutMs;
  let askedMs = systemClock.nowMs();
  for (;;) {
    const rows = (await monitor.command("pg ls", {})).pgs;
    const chosen = rows.filter((row) => pgids.includes(row.pgid));
    const outcomes = chosen.flatMap((row) => outcomeOf(row, args.request));
    if (outcomes.length === pgids.length) return outcomes;
    const now = systemClock.nowMs();
    if (now >= deadlineMs) {
      const missing = pgids.length - outcomes.length;
      throw new StorageError("timed_out", `${missing} of ${pgids.length} PGs are not done`, {
        remedy: "It goes on; `cairn pg ls` shows it. --timeout waits longer.",
      });
    }
    if (now - askedMs >= askAgainMs) {
      askedMs = now;
      await monitor.command("pg scrub", args);
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

function outcomeOf({ pgid, scrub }: PgRow, request: number): Outcome[] {
  const done = scrub?.finished.filter((finished) => finished.request === request) ?? [];
  return done.map((finished) => ({ pgid, ...finished }));
}

function outcomesText(outcomes: readonly Outcome[]): Output {
  const right = "right" as const;
  return table(
    [
      { title: "PG" },
      { title: "OBJECTS", align: right },
      { title: "BYTES", align: right },
      { title: "ERRORS", align: right },
      { title: "REPAIRED", align: right },
    ],
    outcomes.map(({ pgid, objects, bytes, errors, repaired }) => [
      pgid,
      objects,
      bytes,
      errors,
      repaired,
    ]),
  );
}

export async function listAction(pgid: PgId, flags: ClusterOptions): Promise<void> {
  const result = await withMonitor(flags, (monitor) =>
    monitor.command("pg list inconsistent", { pgid }),
  );
  printResult(flags, result, () => inconsistentText(result));
}

function inconsistentText(result: CommandResult<"pg list inconsistent">): Output {
  const { pgid, errors, objects } = result;
  if (errors === 0) return `Nothing bad is known of PG ${pgid}.`;
  const rows = objects.flatMap(({ object, good, bad }) =>
    bad.map(({ osd, problem, badBlocks, badBlockCount }) => [
      object,
      `osd.${osd}`,
      problem,
      badBlockCount === 0 ? "" : `${badBlocks.slice(0, 8).join(",")} (${badBlockCount})`,
      good.map((other) => `osd.${other}`).join(" ") || "none",
    ]),
  );
  const titles = ["OBJECT", "COPY", "PROBLEM", "BAD BLOCKS", "GOOD COPIES"];
  return [
    fieldsText([["errors", String(errors)]]),
    table(
      titles.map((title) => ({ title })),
      rows,
    ),
  ];
}
