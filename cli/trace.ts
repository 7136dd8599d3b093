// `cairn trace`: where the time of an image's requests goes.
import type { DeviceTrace, TraceFigures, TraceSummary } from "../client/index.js";
import { nameOf, withImages } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { coloured, type Output, printResult, table } from "./output.js";
import { withAbortSignal } from "./signals.js";
import type { ImageAddress } from "./spec.js";

interface TraceFlags extends ClusterOptions {
  seconds: number;
  every: number;
}

export async function traceAction(spec: ImageAddress, flags: TraceFlags): Promise<void> {
  const { traceImage } = await import("../client/index.js");
  const traces = await withAbortSignal((signal) =>
    withImages(flags, spec, async (images) => {
      const { id } = await images.info(spec.image);
      const options = { durationMs: flags.seconds * 1000, every: flags.every };
      return traceImage(images.scope, id, options, signal);
    }),
  );
  const value = { image: nameOf(spec), seconds: flags.seconds, every: flags.every, traces };
  printResult(flags, value, () => traces.map((trace) => traceText(trace)));
}

/** The stages that add up, as people read them. */
const stages = [
  ["queue", "queue"],
  ["client", "client"],
  ["network", "network"],
  ["primaryQueue", "primary queue"],
  ["primary", "primary"],
  ["disk", "disk"],
  ["replicas", "replicas"],
] as const;

/** Shown beside, not added: they run while the primary's own disk works. */
const beside = [
  ["replica", "slowest replica"],
  ["replicaCommit", "its commit"],
] as const;

const barColumns = 24;

export interface StageRow {
  stage: string;
  figures: TraceFigures;
  /** of the whole time; undefined: not one of those that add up */
  share: number | undefined;
}

/** The stages of one kind of requests, their sum last. */
export function stageRows(summary: TraceSummary): StageRow[] {
  const wholeNs = summary.total.meanNs;
  const shareOf = (ns: number) => (wholeNs === 0 ? 0 : ns / wholeNs);
  return [
    ...stages.map(([key, stage]) => {
      const figures = summary[key];
      return { stage, figures, share: shareOf(figures.meanNs) };
    }),
    { stage: "total", figures: summary.total, share: wholeNs === 0 ? 0 : 1 },
    ...beside
      .filter(([key]) => summary[key].count > 0)
      .map(([key, stage]) => ({ stage, figures: summary[key], share: undefined })),
  ];
}

const usText = (ns: number) => (ns / 1000).toFixed(1);

function traceText({ description, reads, writes, discards, flushes }: DeviceTrace): Output {
  const parts: Output[] = [];
  for (const [what, summary] of [
    ["reads", reads],
    ["writes", writes],
    ["discards", discards],
    ["flushes", flushes],
  ] as const) {
    if (summary === undefined) continue;
    const { count } = summary.total;
    parts.push(`${description}: ${count} ${what} traced`);
    if (count > 0) parts.push(stageTable(summary));
  }
  return parts;
}

function stageTable(summary: TraceSummary): Output {
  const right = "right" as const;
  const withBars = process.stdout.isTTY === true;
  const rows = stageRows(summary).map(({ stage, figures, share }) => [
    stage,
    usText(figures.meanNs),
    usText(figures.p50Ns),
    usText(figures.p99Ns),
    usText(figures.maxNs),
    share === undefined ? "" : `${(share * 100).toFixed(1)}%`,
    ...(withBars ? [stage === "total" ? "" : barText(share ?? 0)] : []),
  ]);
  return table(
    [
      { title: "STAGE" },
      { title: "MEAN us", align: right },
      { title: "P50 us", align: right },
      { title: "P99 us", align: right },
      { title: "MAX us", align: right },
      { title: "SHARE", align: right },
      ...(withBars ? [{ title: "" }] : []),
    ],
    rows,
  );
}

const eighths = " ▏▎▍▌▋▊▉";

/** A bar whose length is the share, to an eighth of a column. */
export function barText(share: number): string {
  const parts = Math.round(Math.min(1, Math.max(0, share)) * barColumns * 8);
  const bar = "█".repeat(Math.floor(parts / 8)) + (parts % 8 === 0 ? "" : eighths[parts % 8]);
  return coloured("cyan", bar);
}
