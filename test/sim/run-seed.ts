// One seed of the simulation: a cluster, a workload and faults that all follow from the seed; then
// the faults end, the cluster has to become clean, and everything is looked at.
import { findViolations } from "../checkers/linearizability.js";
import { compareCopies } from "./copies.js";
import type { Coverage } from "./coverage.js";
import { type FaultKind, FaultSchedule, type Mode } from "./faults.js";
import { SeededRandom } from "./random.js";
import { SimCluster, type SimClusterOptions } from "./sim-cluster.js";
import { Trace } from "./trace.js";
import { initialValue, Workload, type WorkloadOptions } from "./workload.js";

export interface SeedOptions {
  seed: bigint;
  /** the trace goes there too */
  tracePath?: string | undefined;
  mode?: Mode | undefined;
  onlyFaults?: readonly FaultKind[] | undefined;
  coverage: Coverage;
}

export interface SeedResult {
  seed: bigint;
  mode: Mode;
  plan: SimClusterOptions;
  /** what must never happen; none: the seed is good */
  findings: string[];
  faults: ReadonlyMap<FaultKind, number>;
  errors: ReadonlyMap<string, number>;
  operations: number;
  pending: number;
  /** from the end of the faults */
  cleanMs: number;
  virtualMs: number;
  counters: Record<string, number>;
  traceHash: string;
  traceLines: number;
}

/** Some seeds look for what dies in the middle of peering, which the others hardly meet. */
const peeringFaults: readonly FaultKind[] = ["authorityDies", "killInPeering"];
const peeringPercent = 15;

const cleanLimitMs = 180_000;
const finalReadLimitMs = 60_000;
/** In liveness mode no operation takes longer. */
const stallLimitMs = 60_000;

interface Plan {
  mode: Mode;
  cluster: SimClusterOptions;
  workload: WorkloadOptions;
  faultsMs: number;
  faultEveryMs: number;
  /** undefined: drawn from all that the mode allows */
  onlyFaults: readonly FaultKind[] | undefined;
}

function planOf(random: SeededRandom, mode: Mode | undefined): Plan {
  const drawn = random.percent(70) ? "safety" : "liveness";
  const osds = random.between(3, 5);
  const size = random.percent(80) ? 3 : 2;
  return {
    mode: mode ?? drawn,
    cluster: {
      osds,
      clients: random.between(2, 4),
      pgNum: random.pick([1, 2, 4, 8]),
      size,
      minSize: size === 2 ? 1 : random.pick([1, 2, 2]),
      logEntriesKept: random.pick([100, 400, 1500]),
    },
    workload: {
      objects: random.between(2, 8),
      blocks: random.between(1, 8),
      depth: random.between(1, 4),
      maxPauseMs: random.pick([5, 50, 300]),
      writePercent: random.between(30, 80),
      removePercent: random.pick([0, 5, 20]),
    },
    faultsMs: random.pick([20_000, 40_000, 60_000]),
    faultEveryMs: random.pick([1_000, 4_000, 10_000]),
    onlyFaults:
      mode === undefined && drawn === "safety" && random.percent(peeringPercent)
        ? peeringFaults
        : undefined,
  };
}

/** Runs a seed from beginning to end. Findings are in the result, never thrown. */
export async function runSeed(options: SeedOptions): Promise<SeedResult> {
  const random = new SeededRandom(options.seed);
  const plan = planOf(random, options.mode);
  const findings: string[] = [];
  const cluster = await SimCluster.start(
    plan.cluster,
    random.fork(),
    (nowNs) => new Trace(nowNs, options.tracePath),
    options.coverage,
  );
  cluster.trace.add(`seed ${options.seed} ${JSON.stringify(plan)}`);
  const workload = new Workload(cluster, plan.workload, random.fork());
  const { onlyFaults = plan.onlyFaults } = options;
  const faults = new FaultSchedule(cluster, plan.mode, random.fork(), onlyFaults);
  let cleanMs = Number.NaN;
  try {
    workload.start();
    await faults.run(plan.faultsMs, plan.faultEveryMs);
    await faults.heal();
    cleanMs = await recover(cluster, workload, plan.mode, findings);
    workload.stop();
    await finish(cluster, workload, findings);
  } catch (thrown) {
    findings.push(`exception: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
  }
  findings.push(...judge(cluster, workload, faults));
  for (const finding of findings) cluster.trace.add(`FINDING ${finding}`);
  const result = {
    seed: options.seed,
    mode: plan.mode,
    plan: plan.cluster,
    findings,
    faults: faults.delivered,
    errors: workload.errors,
    operations: workload.completed,
    pending: workload.history.filter(({ endNs }) => endNs === Number.POSITIVE_INFINITY).length,
    cleanMs,
    virtualMs: cluster.nowMs(),
    counters: cluster.world.counters(),
    traceLines: cluster.trace.lines,
  };
  const traceHash = await cluster.trace.close();
  cluster.destroy();
  return { ...result, traceHash };
}

/** Without faults the cluster becomes clean, and serves what it stalled. */
async function recover(
  cluster: SimCluster,
  workload: Workload,
  mode: Mode,
  findings: string[],
): Promise<number> {
  const healedMs = cluster.nowMs();
  if (mode === "liveness") {
    const stalledMs = healedMs - workload.oldestPendingNs() / 1e6;
    if (stalledMs > stallLimitMs)
      findings.push(`an operation has been stalled for ${stalledMs} ms`);
  }
  if (!(await cluster.untilClean(cleanLimitMs))) {
    const states = cluster.pgs().map(({ pgid, state, acting }) => `${pgid} ${state} [${acting}]`);
    findings.push(`not clean ${cleanLimitMs / 1000} s after the last fault: ${states.join(", ")}`);
  }
  return cluster.nowMs() - healedMs;
}

async function finish(cluster: SimCluster, workload: Workload, findings: string[]): Promise<void> {
  // What is still under way is answered, now that nothing is in its way.
  const isQuiet = () => workload.oldestPendingNs() === Number.POSITIVE_INFINITY;
  if (!(await cluster.time.run(finalReadLimitMs, isQuiet))) {
    findings.push(`operations are not answered ${finalReadLimitMs / 1000} s after the last fault`);
    return;
  }
  await cluster.time.complete(workload.readAll(0), finalReadLimitMs, "read everything");
  findings.push(...(await compareCopies(cluster)));
}

function judge(cluster: SimCluster, workload: Workload, faults: FaultSchedule): string[] {
  const findings = findViolations(workload.history, initialValue).map(({ kind, text }) => {
    return `${kind}: ${text}`;
  });
  const diskFaults =
    (faults.delivered.get("writeError") ?? 0) + (faults.delivered.get("flushError") ?? 0);
  if (diskFaults === 0) {
    for (const [code, times] of workload.errors) {
      // A resend that the log does not reach is refused; whether it was applied is not known.
      if (code === "too_old") continue;
      findings.push(`${times} operations failed with ${code}`);
    }
    for (const osd of cluster.osds) {
      if (osd.failed !== undefined) findings.push(`osd.${osd.id} has failed: ${osd.failed.code}`);
    }
  }
  return findings;
}
