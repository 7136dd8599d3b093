// What a process that has an image open tells about its device: what it has done, and where traced
// requests have spent their time. Fits into the answer to a notification. Pure.
import { type Static, Type } from "@sinclair/typebox";
import type { NativeHistogram, NativeTrace, NativeTraceFigures } from "../../native/binding.js";

const closed = { additionalProperties: false } as const;
const CountSchema = Type.Number({ minimum: 0 });

/** Totals since the device was opened. */
const ActivitySchema = Type.Object(
  {
    /** who tells: "host1 pid 7 attach" */
    description: Type.String({ maxLength: 256 }),
    /** by its own clock, for differences only */
    atMs: Type.Number(),
    reads: CountSchema,
    readBytes: CountSchema,
    readNs: CountSchema,
    writes: CountSchema,
    writeBytes: CountSchema,
    writeNs: CountSchema,
    discards: CountSchema,
    flushes: CountSchema,
    errors: CountSchema,
    /** requests that had to wait for the image's limits, and for how long altogether */
    throttled: CountSchema,
    throttledNs: CountSchema,
    /** at the moment */
    inFlight: CountSchema,
  },
  closed,
);
export type Activity = Static<typeof ActivitySchema>;

const FiguresSchema = Type.Object(
  {
    count: CountSchema,
    meanNs: CountSchema,
    p50Ns: CountSchema,
    p99Ns: CountSchema,
    maxNs: CountSchema,
  },
  closed,
);
export type TraceFigures = Static<typeof FiguresSchema>;

const SummarySchema = Type.Object(
  {
    total: FiguresSchema,
    queue: FiguresSchema,
    client: FiguresSchema,
    network: FiguresSchema,
    primaryQueue: FiguresSchema,
    primary: FiguresSchema,
    disk: FiguresSchema,
    replicas: FiguresSchema,
    replica: FiguresSchema,
    replicaCommit: FiguresSchema,
  },
  closed,
);
export type TraceSummary = Static<typeof SummarySchema>;

const TraceSchema = Type.Object(
  {
    description: Type.String({ maxLength: 256 }),
    reads: SummarySchema,
    writes: SummarySchema,
    /** when there were any: an answer has room for so much, and older processes tell of none */
    discards: Type.Optional(SummarySchema),
    flushes: Type.Optional(SummarySchema),
  },
  closed,
);
export type TraceReport = Static<typeof TraceSchema>;

export const InspectionSchema = Type.Object(
  { activity: Type.Optional(ActivitySchema), trace: Type.Optional(TraceSchema) },
  closed,
);
export type Inspection = Static<typeof InspectionSchema>;

/** The upper edge of the bucket that has the share of all values; 0 of none. */
export function percentileNs({ boundsNs, counts, count, maxNs }: NativeHistogram, share: number) {
  const target = share * count;
  let seen = 0;
  for (const [at, inBucket] of counts.entries()) {
    seen += inBucket;
    if (seen >= target) return Math.min(boundsNs[at] ?? maxNs, maxNs);
  }
  return maxNs;
}

export function figuresOf(histogram: NativeHistogram): TraceFigures {
  const { count, sumNs, maxNs } = histogram;
  return {
    count,
    meanNs: count === 0 ? 0 : Math.round(sumNs / count),
    p50Ns: percentileNs(histogram, 0.5),
    p99Ns: percentileNs(histogram, 0.99),
    maxNs,
  };
}

function summaryOf({ total, stages, replica, replicaCommit }: NativeTraceFigures): TraceSummary {
  return {
    total: figuresOf(total),
    queue: figuresOf(stages.queue),
    client: figuresOf(stages.client),
    network: figuresOf(stages.network),
    primaryQueue: figuresOf(stages.primaryQueue),
    primary: figuresOf(stages.primary),
    disk: figuresOf(stages.disk),
    replicas: figuresOf(stages.replicas),
    replica: figuresOf(replica),
    replicaCommit: figuresOf(replicaCommit),
  };
}

export const reportOf = (
  description: string,
  { reads, writes, discards, flushes }: NativeTrace,
): TraceReport => ({
  description,
  reads: summaryOf(reads),
  writes: summaryOf(writes),
  ...(discards.total.count > 0 && { discards: summaryOf(discards) }),
  ...(flushes.total.count > 0 && { flushes: summaryOf(flushes) }),
});
