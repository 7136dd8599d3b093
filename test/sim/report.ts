// The lines that `npm run sim` prints.
import type { SeedResult } from "./run-seed.js";

/** One seed. */
export function lineOf(result: SeedResult, seconds: number): string {
  const { plan, mode, operations, pending, faults, cleanMs, virtualMs, traceHash } = result;
  const { osds, clients, pgNum, size, minSize } = plan;
  const total = [...faults.values()].reduce((sum, times) => sum + times, 0);
  return (
    `seed ${result.seed} ${mode}, ${osds} OSDs, ${clients} clients, ${pgNum} PGs ` +
    `size ${size}/${minSize}: ${operations} operations (${pending} pending), ${total} faults, ` +
    `clean after ${(cleanMs / 1000).toFixed(1)} s, ${(virtualMs / 1000).toFixed(0)} virtual s ` +
    `in ${seconds.toFixed(1)} s, trace ${traceHash}`
  );
}

/** All seeds. */
export function summaryOf(
  results: readonly SeedResult[],
  marks: ReadonlyMap<string, number>,
  seconds: number,
): string {
  const sum = (of: (result: SeedResult) => number) =>
    results.reduce((total, result) => total + of(result), 0);
  const bad = results.filter(({ findings }) => findings.length > 0).length;
  const [operations, pending] = [sum((result) => result.operations), sum((it) => it.pending)];
  const virtualHours = sum(({ virtualMs }) => virtualMs) / 3_600_000;
  return [
    `faults delivered: ${listOf(added(results.map(({ faults }) => faults)))}`,
    `effects: ${listOf(added(results.map(({ counters }) => new Map(Object.entries(counters)))))}`,
    `operations that failed: ${listOf(added(results.map(({ errors }) => errors)))}`,
    `marks: ${listOf(marks)}`,
    `${results.length} seeds, ${operations} operations ` +
      `(${pending} pending, ${share(pending, operations)}), ` +
      `${virtualHours.toFixed(2)} virtual hours in ${seconds.toFixed(0)} s; ` +
      `${bad} seeds with findings`,
    "",
  ].join("\n");
}

function share(part: number, whole: number): string {
  return `${((100 * part) / Math.max(1, whole)).toFixed(2)} %`;
}

function added(maps: readonly ReadonlyMap<string, number>[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const map of maps) {
    for (const [name, times] of map) sums.set(name, (sums.get(name) ?? 0) + times);
  }
  return sums;
}

function listOf(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, times]) => `${name} ${times}`).join(", ") || "none";
}
