// One seed of the simulation: a cluster, a workload and faults that all follow from the seed; then
// the faults end, the cluster has to become clean, and everything is looked at.
import { findViolations } from "../checkers/linearizability.js";
import { compareCopies } from "./copies.js";
import type { Coverage } from "./coverage.js";
import { type FaultKind, FaultSchedule, type Mode } from "./faults.js";
import { type FencedOptions, FencedWorkload } from "./fenced-workload.js";
import { findFencingViolations } from "./fencing.js";
import { SeededRandom } from "./random.js";
import { initialValue, Recorder } from "./recorder.js";
import { type ClockDrifts, SimCluster, type SimClusterOptions } from "./sim-cluster.js";
import { type SnapOptions, SnapWorkload } from "./snap-workload.js";
import { Trace } from "./trace.js";
import { Workload, type WorkloadOptions } from "./workload.js";

export interface SeedOptions {
  seed: bigint;
  /** the trace goes there too */
  tracePath?: string | undefined;
  mode?: Mode | undefined;
  /** of the clocks, at most */
  driftPpm?: number | undefined;
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
  /** without any answer */
  pending: number;
  /** from the end of the faults */
  cleanMs: number;
  virtualMs: number;
  counters: Record<string, number>;
  traceHash: string;
  traceLines: number;
}

/** Some seeds look for what the others hardly meet, the first ones in percent of the safe ones. */
const specialFaults: readonly (readonly [percent: number, kinds: readonly FaultKind[]])[] = [
  [15, ["authorityDies", "killInPeering", "remappedInSilence"]],
  [10, ["isolationWithClient", "freeze"]],
  [10, ["replacedInSilence"]],
  [10, ["bitFlips", "bitFlipsInRecovery", "scrub"]],
  [15, ["split", "powerCut", "kill", "silentPowerCut", "isolation", "markedOut"]],
];

const cleanLimitMs = 180_000;
const finalReadLimitMs = 60_000;
const trimLimitMs = 60_000;
/** In liveness mode no operation takes longer. */
const stallLimitMs = 60_000;

/** Longer than any lease, and than what comes before it. */
const closelyMs = 700;

interface Plan {
  mode: Mode;
  cluster: SimClusterOptions;
  workload: WorkloadOptions;
  fenced: FencedOptions;
  snaps: SnapOptions;
  faultsMs: number;
  faultEveryMs: number;
  /** undefined: drawn from all that the mode allows */
  onlyFaults: readonly FaultKind[] | undefined;
}

/** What quartz does, and nearly all that the margin of leases allows (docs/protocol/peering.md). */
const mostDriftPpm = [0, 200, 47_000];
/** Drifts are drawn beside all else, which is as it was before there were any. */
const driftSalt = 0x6472696674n;

function driftsOf(
  { seed, driftPpm }: SeedOptions,
  { osds, clients }: { osds: number; clients: number },
): ClockDrifts {
  const random = new SeededRandom(seed ^ driftSalt);
  const drawn = random.pick(mostDriftPpm);
  const most = driftPpm ?? drawn;
  const drift = () => random.between(-most, most);
  return {
    osds: Array.from({ length: osds }, drift),
    monitor: drift(),
    clients: Array.from({ length: clients }, drift),
  };
}

/** What layers are filled with and which zeros are freed: drawn beside all else, too. */
const fillSalt = 0x66696c6c73n;

function fillsOf(seed: bigint): Pick<SnapOptions, "fillPercent" | "zerosPercent" | "listPercent"> {
  const random = new SeededRandom(seed ^ fillSalt);
  return {
    fillPercent: random.pick([5, 20, 40]),
    zerosPercent: random.pick([5, 15, 30]),
    listPercent: random.pick([2, 10]),
  };
}

/** Whether disks give nothing back, beside the faults that are drawn: beside all else, too. */
const unreadableSalt = 0x72656164n;

function hasUnreadableDisks({ seed }: SeedOptions): boolean {
  return new SeededRandom(seed ^ unreadableSalt).percent(30);
}

function planOf(random: SeededRandom, options: SeedOptions): Plan {
  const { mode } = options;
  const drawn = random.percent(70) ? "safety" : "liveness";
  const osds = random.between(3, 5);
  const size = random.percent(80) ? 3 : 2;
  const clients = random.between(2, 4);
  return {
    mode: mode ?? drawn,
    cluster: {
      osds,
      clients,
      pgNum: random.pick([1, 2, 4, 8]),
      size,
      minSize: size === 2 ? 1 : random.pick([1, 2, 2]),
      logEntriesKept: random.pick([100, 400, 1500]),
      driftsPpm: driftsOf(options, { osds, clients }),
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
    onlyFaults: mode === undefined && drawn === "safety" ? specialOf(random) : undefined,
    fenced: {
      objects: random.between(1, 4),
      blocks: random.between(1, 4),
      depth: random.pick([0, 1, 2]),
      maxPauseMs: random.pick([20, 100, 300]),
      takeOverPercent: random.pick([1, 5, 20]),
      writePercent: random.between(30, 80),
    },
    snaps: {
      images: random.between(1, 2),
      objects: random.between(1, 3),
      blocks: random.between(1, 4),
      maxPauseMs: random.pick([20, 100, 300]),
      takePercent: random.pick([2, 5, 10]),
      dropPercent: random.pick([2, 5, 10]),
      removePercent: random.pick([0, 5]),
      ...fillsOf(options.seed),
    },
  };
}

function specialOf(random: SeededRandom): readonly FaultKind[] | undefined {
  let drawn = random.below(100);
  for (const [percent, kinds] of specialFaults) {
    if (drawn < percent) return kinds;
    drawn -= percent;
  }
  return undefined;
}

/** All that the clients do. */
interface Clients {
  recorder: Recorder;
  plain: Workload;
  fenced: FencedWorkload;
  snaps: SnapWorkload;
}

function clientsOf(cluster: SimCluster, plan: Plan, random: SeededRandom): Clients {
  const recorder = new Recorder(cluster);
  return {
    recorder,
    plain: new Workload(recorder, plan.workload, random.fork()),
    fenced: new FencedWorkload(recorder, plan.fenced, random.fork()),
    snaps: new SnapWorkload(recorder, plan.snaps, random.fork()),
  };
}

/** Runs a seed from beginning to end. Findings are in the result, never thrown. */
export async function runSeed(options: SeedOptions): Promise<SeedResult> {
  const random = new SeededRandom(options.seed);
  const plan = planOf(random, options);
  const findings: string[] = [];
  const cluster = await SimCluster.start(
    plan.cluster,
    random.fork(),
    (nowNs) => new Trace(nowNs, options.tracePath),
    options.coverage,
  );
  cluster.trace.add(`seed ${options.seed} ${JSON.stringify(plan)}`);
  const clients = clientsOf(cluster, plan, random);
  const { recorder } = clients;
  const { onlyFaults = plan.onlyFaults } = options;
  const faults = new FaultSchedule(cluster, plan.mode, random.fork(), onlyFaults);
  if (onlyFaults === undefined && hasUnreadableDisks(options)) faults.allow("readError");
  let cleanMs = Number.NaN;
  try {
    clients.plain.start();
    clients.fenced.start();
    clients.snaps.start();
    cluster.onSilence = (client) => clients.plain.readClosely(client, closelyMs);
    await faults.run(plan.faultsMs, plan.faultEveryMs);
    await faults.heal();
    clients.snaps.keepSnapshots();
    cleanMs = await recover(cluster, recorder, plan.mode, findings);
    clients.plain.stop();
    clients.fenced.stop();
    clients.snaps.stop();
    await finish(cluster, clients, faults, findings);
  } catch (thrown) {
    findings.push(`exception: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
  }
  findings.push(...judge(cluster, recorder, faults));
  for (const finding of findings) cluster.trace.add(`FINDING ${finding}`);
  const result = {
    seed: options.seed,
    mode: plan.mode,
    plan: plan.cluster,
    findings,
    faults: faults.delivered,
    errors: recorder.errors,
    operations: recorder.completed,
    pending: recorder.unanswered(),
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
  recorder: Recorder,
  mode: Mode,
  findings: string[],
): Promise<number> {
  const healedMs = cluster.nowMs();
  if (mode === "liveness") {
    const stalledMs = healedMs - recorder.oldestPendingNs() / 1e6;
    if (stalledMs > stallLimitMs)
      findings.push(`an operation has been stalled for ${stalledMs} ms`);
  }
  if (!(await cluster.untilClean(cleanLimitMs))) {
    const states = cluster
      .pgs()
      .map(({ pgid, state, up, acting }) => `${pgid} ${state} up [${up}] acting [${acting}]`);
    findings.push(`not clean ${cleanLimitMs / 1000} s after the last fault: ${states.join(", ")}`);
  }
  return cluster.nowMs() - healedMs;
}

async function finish(
  cluster: SimCluster,
  { recorder, plain, fenced, snaps }: Clients,
  faults: FaultSchedule,
  findings: string[],
): Promise<void> {
  // What is still under way is answered, now that nothing is in its way.
  const isQuiet = () => recorder.oldestPendingNs() === Number.POSITIVE_INFINITY;
  if (!(await cluster.time.run(finalReadLimitMs, isQuiet))) {
    findings.push(`operations are not answered ${finalReadLimitMs / 1000} s after the last fault`);
    return;
  }
  const isTrimmed = () => cluster.map().pools.every(({ removedSnaps }) => !removedSnaps);
  if (!(await cluster.time.run(trimLimitMs, isTrimmed))) {
    findings.push(`removed snapshots are not trimmed ${trimLimitMs / 1000} s after the last fault`);
  }
  const reads = Promise.all([plain.readAll(0), fenced.readAll(0), snaps.readAll(0)]);
  await cluster.time.complete(reads, finalReadLimitMs, "read everything");
  findings.push(...snaps.findings, ...(await compareCopies(cluster, bitsFlipped(faults))));
  cluster.trace.add(`snapshots: ${snaps.taken} taken, ${snaps.dropped} removed`);
}

/** What a client may be told: the operation was refused, or nobody has what it wants unharmed. */
function mayFailWith(code: string, cluster: SimCluster, faults: FaultSchedule): boolean {
  // A resend that the log does not reach is refused; whether it was applied is not known.
  if (code === "too_old" || code === "fenced") return true;
  // A snapshot that is removed while it is read; of others the workload says so.
  if (code === "not_found") return true;
  // What a disk does not list nobody else is asked for.
  if (code === "list: io_error") return faults.delivered.has("readError");
  if (code.startsWith("list: ")) return mayFailWith(code.slice("list: ".length), cluster, faults);
  // The other copies may be away: in liveness mode of size 2 those that recovery is to bring back.
  const mayLackCopies = faults.mode === "safety" || cluster.options.size < 3;
  if (code === "io_error") return mayLackCopies && faults.delivered.has("readError");
  return code === "checksum_mismatch" && bitsFlipped(faults);
}

function bitsFlipped(faults: FaultSchedule): boolean {
  return faults.delivered.has("bitFlips") || faults.delivered.has("bitFlipsInRecovery");
}

function judge(cluster: SimCluster, recorder: Recorder, faults: FaultSchedule): string[] {
  const { history, fenced, errors } = recorder;
  const findings = findViolations(history, initialValue).map(({ kind, text }) => {
    return `${kind}: ${text}`;
  });
  findings.push(...findFencingViolations(fenced, history));
  if (faults.delivered.has("writeError") || faults.delivered.has("flushError")) return findings;
  for (const [code, times] of errors) {
    if (!mayFailWith(code, cluster, faults))
      findings.push(`${times} operations failed with ${code}`);
  }
  for (const osd of cluster.osds) {
    if (osd.failed !== undefined) findings.push(`osd.${osd.id} has failed: ${osd.failed.code}`);
  }
  return findings;
}
