// What a run has found, in figures and words.
import type { RotFigures } from "./bit-rot.js";
import { percentiles } from "./histories.js";
import type { Fault, FaultKind } from "./schedule.js";

/** A fault with what became of it. */
export interface Measured extends Fault {
  atNs: number;
  healedNs: number;
  /** it has met packets, operations or a process */
  met: boolean;
  lostBlocks: number;
  /** of each client */
  stallsMs: number[];
}

export interface Report {
  seed: number;
  mode: "storm" | "single";
  faults: Measured[];
  /** how often the monitor has shown an OSD down */
  markDowns: number;
  operations: number;
  pendingShare: number;
  failed: number;
  firstErrors: string[];
  violations: number;
  ackedWritesLost: number;
  /** of the holder of the lock that clients fight for */
  freezes: number;
  takeovers: number;
  staleRefused: number;
  staleAccepted: number;
  /** undefined: it could not be scrubbed */
  rot: RotFigures | undefined;
  /** undefined: they could not be compared */
  compared: { objects: number; bytes: number } | undefined;
  cleanMs: number | undefined;
  findings: string[];
}

const maxFindings = 40;

/** Faults that have met something, by kind. */
function deliveredByKind(faults: readonly Measured[]): Map<FaultKind, number> {
  const counts = new Map<FaultKind, number>();
  for (const { kind, met } of faults) if (met) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}

export function reportText(report: Report): string {
  const counts = deliveredByKind(report.faults);
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const byKind = [...counts].map(([kind, count]) => `${kind} ${count}`).join(", ");
  const lostBlocks = report.faults.reduce((sum, { lostBlocks }) => sum + lostBlocks, 0);
  const missed = report.faults.filter(({ met }) => !met).map(({ kind }) => kind);
  const lines = [
    `faults delivered ${total} of ${report.faults.length}: ${byKind || "none"}`,
    ...(missed.length === 0 ? [] : [`faults that met nothing: ${missed.join(", ")}`]),
    `OSDs marked down ${report.markDowns} times`,
    `unflushed blocks lost in power cuts ${lostBlocks}`,
    `operations ${report.operations}, pending ${(report.pendingShare * 100).toFixed(2)} %, ` +
      `failed ${report.failed}${report.firstErrors[0] ? ` (${report.firstErrors[0]})` : ""}`,
    `violations ${report.violations}, acked writes lost ${report.ackedWritesLost}`,
    `lock holders frozen ${report.freezes}, taken over from ${report.takeovers}`,
    `stale-token writes refused ${report.staleRefused}, accepted ${report.staleAccepted}`,
    rotLine(report),
    comparedLine(report),
    report.cleanMs === undefined
      ? "not clean at the end"
      : `clean ${(report.cleanMs / 1000).toFixed(1)} s after the load`,
    ...stallLines(report),
    ...report.findings.slice(0, maxFindings).map((text) => `FINDING ${text}`),
  ];
  const more = report.findings.length - maxFindings;
  if (more > 0) lines.push(`... and ${more} more findings`);
  return lines.map((line) => `${line}\n`).join("");
}

function rotLine({ rot }: Report): string {
  if (rot === undefined) return "bits flipped: not known";
  return `bits flipped ${rot.injected}, detected ${rot.detected}, repaired ${rot.repaired}`;
}

function comparedLine({ compared }: Report): string {
  if (compared === undefined) return "copies were not compared";
  const mib = (compared.bytes / 2 ** 20).toFixed(1);
  return `copies compared byte by byte: ${compared.objects} objects, ${mib} MiB of data each`;
}

function stallLines({ faults }: Report): string[] {
  const kinds: FaultKind[] = [...new Set(faults.map(({ kind }) => kind))];
  return kinds.flatMap((kind) => {
    const of = faults.filter((fault) => fault.kind === kind && fault.met);
    const figures = percentiles(of.flatMap(({ stallsMs }) => stallsMs));
    if (figures === undefined) return [];
    const { p50, p99, max } = figures;
    const [a, b, c] = [p50, p99, max].map((value) => value.toFixed(0));
    return [`longest wait of a client after ${kind}: p50 ${a} ms, p99 ${b} ms, max ${c} ms`];
  });
}
