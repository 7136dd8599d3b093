// One run: a new cluster, the load, the faults, and then everything that has to be true.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type BlockOperation,
  findViolations,
  type Violation,
} from "../checkers/linearizability.js";
import { ColdData } from "./bit-rot.js";
import { bootTimeNs } from "./clocks.js";
import { Cluster } from "./cluster.js";
import { badLines, runFault } from "./faults.js";
import { initialValue, pendingShare, stallsMs } from "./histories.js";
import { freezeHolders } from "./lock-fight.js";
import type { Measured, Report } from "./report.js";
import { diskKinds, type Fault, type FaultKind, makeSchedule } from "./schedule.js";
import { type Freeze, judgeStaleWrites } from "./stale-writes.js";
import {
  blocksPerDevice,
  type ClientResult,
  type Device,
  devices,
  finalClient,
  finalReads,
  fought,
  type LoadShape,
  mixedHistory,
  startClient,
} from "./workload.js";

export interface RunOptions {
  dir: string;
  seconds: number;
  seed: number;
  kinds: readonly FaultKind[];
  mode: "storm" | "single";
}

/** Of the fight for blocks; and, in single mode, of the 4 KiB random writes at depth 32. */
const shapes: Readonly<Record<RunOptions["mode"], LoadShape>> = {
  storm: { queueDepth: 4, writePercent: 50, pauseMs: 20 },
  single: { queueDepth: 32, writePercent: 100, pauseMs: 40 },
};
/** The clients that run in single mode: one on raw objects, one on an image. */
const singleClients = [1, 5];
const cleanLimitMs = 90_000;
const finalReadLimitMs = 60_000;
/** Behind its start, a fault may stall clients for so long and still be found to have done so. */
const stallWindowMs = 8000;
const beforeNextMs = 500;
const limitsMs: Partial<Record<FaultKind, number>> = { kill: 1000, stop: 3000, oneway: 3000 };

export async function run(options: RunOptions): Promise<Report> {
  const { dir, seed, kinds, mode } = options;
  const cluster = new Cluster(
    dir,
    kinds.some((kind) => diskKinds.has(kind)),
  );
  await cluster.start();
  cluster.note("the cluster is up");
  await makeImages(cluster);
  const cold = await ColdData.write(cluster);
  cluster.coldData = cold;
  const { measured, freezes, results, endNs } = await loadUnderFaults(cluster, options);
  const cleanMs = await cluster.untilClean(cleanLimitMs);
  const findings: string[] = [];
  if (cleanMs === undefined) {
    findings.push(
      `not clean after ${cleanLimitMs / 1000} s: ${JSON.stringify(await states(cluster))}`,
    );
  }
  cluster.note("the final reads begin");
  const finals = await readAll(cluster, dir, findings);
  cluster.note("the scrubs begin");
  const rot = await judgeRot(cold, cluster, findings);
  const marks = markDowns(cluster);
  cluster.note("the comparison of the copies begins");
  const compared = await compare(cluster, findings);
  cluster.note("the copies have been compared");
  findings.push(...searchLogs(cluster, kinds));
  const stale = judgeStaleWrites(
    [...results, ...finals].flatMap((result) => result.operations),
    freezes,
  );
  const { operations } = stale;
  findings.push(...stale.accepted.map(({ block, value }) => `${block}: stale write of ${value}`));
  const violations = findViolations(operations, initialValue);
  findings.push(...violations.map(({ block, kind, text }) => `${block}: ${kind}: ${text}`));
  // Who waits for a lock does not wait for an OSD.
  const unlocked = results.filter(({ device }) => device !== fought);
  for (const [at, fault] of measured.entries()) {
    // A wait that begins just before the next fault is what that one costs.
    const next = mode === "single" ? measured[at + 1] : undefined;
    const untilNs = next === undefined ? endNs : next.atNs - beforeNextMs * 1e6;
    addStalls(fault, untilNs, unlocked, findings, mode);
  }
  if (mode === "single" && marks.length > measured.length) {
    findings.push(`flapping: ${marks.length} times down for ${measured.length} faults`);
  }
  return {
    seed,
    mode,
    faults: measured,
    markDowns: marks.length,
    operations: operations.length,
    pendingShare: pendingShare(operations),
    failed: sum(results, ({ failed }) => failed),
    firstErrors: results.flatMap(({ firstError }) =>
      firstError === undefined ? [] : [firstError],
    ),
    violations: violations.length,
    ackedWritesLost: lostWrites(violations),
    freezes: freezes.length,
    takeovers: freezes.filter(({ takenOver }) => takenOver).length,
    staleRefused: stale.refused,
    staleAccepted: stale.accepted.length,
    rot,
    compared,
    cleanMs,
    findings,
  };
}

async function loadUnderFaults(
  cluster: Cluster,
  options: RunOptions,
): Promise<{
  measured: Measured[];
  freezes: Freeze[];
  results: ClientResult[];
  /** when the clients ask for nothing more */
  endNs: number;
}> {
  const { seconds, seed, kinds, mode } = options;
  const loadMs = seconds * 1000;
  const clients = startLoad(cluster, options, loadMs);
  await Promise.all(clients.map(({ ready }) => ready));
  cluster.note("the load begins");
  for (const client of clients) client.go();
  const endNs = bootTimeNs() + loadMs * 1e6;
  const faults = makeSchedule({ seed, kinds, osds: cluster.osds.length, loadMs, mode });
  const fighters = clients.filter(({ device }) => device === fought);
  const [measured, freezes] = await Promise.all([
    mode === "single" ? deliverSingly(cluster, faults, loadMs) : deliverStorm(cluster, faults),
    freezeHolders(cluster, fighters, fought.name, { seed, loadMs }),
  ]);
  const results = await Promise.all(clients.map(({ result }) => result));
  cluster.note("the load has ended");
  return { measured, freezes, results, endNs };
}

/** @returns ends that nobody asked for, and lines that tell of a defect */
function searchLogs(cluster: Cluster, kinds: readonly FaultKind[]): string[] {
  return cluster
    .daemons()
    .flatMap((daemon) => [
      ...daemon.surprises,
      ...badLines(daemon, kinds).map((line) => `${daemon.name}: ${line}`),
    ]);
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}

async function makeImages({ monitor }: Cluster): Promise<void> {
  const { cairn } = await import("./daemons.js");
  const images = new Map(
    devices.filter(({ kind }) => kind !== "objects").map((it) => [it.name, it]),
  );
  const address = `${monitor.host}:${monitor.port}`;
  for (const { name, sizeBytes } of images.values()) {
    await cairn("create", `rbd/${name}`, "--size", String(sizeBytes), "--monitor", address);
  }
}

function startLoad({ monitor }: Cluster, { dir, seed, mode }: RunOptions, loadMs: number) {
  return [...devices.entries()]
    .map(([at, device]) => ({ client: at + 1, device }))
    .filter(({ client }) => mode === "storm" || singleClients.includes(client))
    .map(({ client, device }) => {
      const history = mixedHistory(client, seed, loadMs, shapes[mode]);
      return startClient(dir, monitor, device, history);
    });
}

async function deliver(cluster: Cluster, fault: Fault): Promise<Measured> {
  const atNs = bootTimeNs();
  const { met, lostBlocks } = await runFault(cluster, fault);
  return { ...fault, atNs, healedNs: bootTimeNs(), met, lostBlocks, stallsMs: [] };
}

/** Delivers the faults at their times, some of them beside each other. */
function deliverStorm(cluster: Cluster, faults: readonly Fault[]): Promise<Measured[]> {
  return Promise.all(
    faults.map(async (fault) => {
      await sleep(fault.atMs);
      return deliver(cluster, fault);
    }),
  );
}

/**
 * One after the other, each when all PGs are active+clean: what one costs is never the cost of two.
 * Those that no time is left for are dropped.
 */
async function deliverSingly(
  cluster: Cluster,
  faults: readonly Fault[],
  loadMs: number,
): Promise<Measured[]> {
  const startMs = performance.now();
  const measured: Measured[] = [];
  for (const fault of faults) {
    await sleep(Math.max(0, startMs + fault.atMs - performance.now()));
    const leftMs = startMs + loadMs - performance.now() - fault.durationMs;
    if (leftMs < 0 || (await cluster.untilClean(leftMs)) === undefined) break;
    measured.push(await deliver(cluster, fault));
  }
  return measured;
}

/** At the end nobody else uses it. */
function withoutLock(device: Device): Device {
  return device.kind === "locked" ? { ...device, kind: "image" } : device;
}

/** A read of every block of every device: what was acknowledged is there. */
async function readAll(cluster: Cluster, dir: string, findings: string[]): Promise<ClientResult[]> {
  const each = [...new Map(devices.map((device) => [device.name, device])).values()];
  const clients = each.map((device, at) =>
    startClient(dir, cluster.monitor, withoutLock(device), finalReads(finalClient + at)),
  );
  // A header in a PG that nobody can serve is never read.
  const timer = setTimeout(() => {
    for (const client of clients) client.kill();
  }, finalReadLimitMs);
  const outcomes = await Promise.allSettled(
    clients.map(async (client) => {
      await client.ready;
      client.go();
      return client.result;
    }),
  );
  clearTimeout(timer);
  return outcomes.flatMap((outcome, at) => {
    const name = each[at]?.name;
    if (outcome.status === "rejected") {
      findings.push(`${name} cannot be opened or read at the end: ${outcome.reason}`);
      return [];
    }
    const { operations, firstError } = outcome.value;
    const missing = blocksPerDevice - operations.length;
    if (missing > 0) {
      findings.push(`${missing} blocks of ${name} cannot be read at the end: ${firstError}`);
    }
    return [outcome.value];
  });
}

async function judgeRot(cold: ColdData, cluster: Cluster, findings: string[]) {
  try {
    return await cold.judge(cluster, findings);
  } catch (thrown) {
    findings.push(`the data cannot be scrubbed at the end: ${thrown}`);
    return undefined;
  }
}

async function compare(cluster: Cluster, findings: string[]): Promise<Report["compared"]> {
  try {
    const { names, comparedBytes, differences } = await cluster.compareCopies();
    findings.push(...differences.map((text) => `copies differ: ${text}`));
    const objects = [...names.values()].reduce((total, ofPg) => total + ofPg.length, 0);
    return { objects, bytes: comparedBytes };
  } catch (thrown) {
    findings.push(`copies cannot be compared: ${thrown}`);
    return undefined;
  }
}

async function states(cluster: Cluster): Promise<unknown> {
  const status = await cluster.status().catch(String);
  return typeof status === "string" ? status : { osds: status.osds, pgs: status.pgs.byState };
}

/** The lines of the monitor's log that show an OSD down. */
function markDowns(cluster: Cluster): string[] {
  const [monitor] = cluster.daemons();
  if (monitor === undefined) return [];
  const lines = readFileSync(monitor.logFile, "utf8").split("\n");
  return lines.filter((line) => line.includes("OSD marked down"));
}

/** What a fault has cost the clients until then; in single mode against the limits. */
function addStalls(
  fault: Measured,
  latestNs: number,
  results: readonly ClientResult[],
  findings: string[],
  mode: RunOptions["mode"],
): void {
  const operations: BlockOperation[] = results.flatMap((result) => result.operations);
  const untilNs = Math.min(fault.atNs + stallWindowMs * 1e6, latestNs);
  fault.stallsMs = stallsMs(operations, fault.atNs, untilNs);
  const limitMs = limitsMs[fault.kind];
  if (mode === "storm" || limitMs === undefined) return;
  const longest = Math.max(...fault.stallsMs);
  if (longest >= limitMs) {
    const text = `${fault.kind} of osd.${fault.osd} stalled a client for ${longest.toFixed(0)} ms`;
    findings.push(`${text} (limit ${limitMs} ms)`);
  }
}

/** Blocks whose last read shows that an acknowledged write is gone. */
function lostWrites(violations: readonly Violation[]): number {
  const blocks = violations
    .filter(({ operations }) => operations.some(({ client }) => client >= finalClient))
    .map(({ block }) => block);
  return new Set(blocks).size;
}
