// What each kind of fault does to the cluster, how it ends, and whether it has really met anything.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { DiskFaults } from "../../native/index.js";
import { type Cluster, osdCount } from "./cluster.js";
import { canJumpClocks, type Daemon } from "./daemons.js";
import { delayHost } from "./delay.js";
import {
  clearRules,
  fastLink,
  type LinkRule,
  resetConnections,
  setRules,
  slowLink,
} from "./network.js";
import { diskKinds, type Fault, type FaultKind, monitorKinds } from "./schedule.js";

/** A fault under way. */
interface Delivered {
  /** ends it. @returns whether it has met anything; undefined: that was clear at its start */
  heal(): Promise<boolean | undefined> | boolean | undefined;
  /** blocks that were written, not flushed, and are lost */
  lostBlocks?: number;
}

type Deliver = (cluster: Cluster, fault: Fault) => Promise<Delivered>;

const slowLinkKilobits = 1000;
const hour = 3600;
const startLimitMs = 5000;
/** A monitor that was killed answers again by then. */
const commandLimitMs = 30_000;
/** An OSD that has been told of an error has ended by then, on the most loaded machine. */
const endLimitMs = 30_000;

/** @returns undefined when the kind can be delivered on this machine, else why not */
export function whyNot(kind: FaultKind): string | undefined {
  if (kind !== "clockjump" || canJumpClocks) return undefined;
  return "wall clocks cannot be set: libfaketime (Debian package) is not installed";
}

const table: Readonly<Record<FaultKind, Deliver>> = {
  async kill(cluster, { osd }) {
    const daemon = cluster.osd(osd);
    // Nothing is lost but the process: what it has written is with the kernel.
    if (daemon.options.faultDisk) await daemon.setDiskFaults({ holdWrites: false });
    const ended = await daemon.end("SIGKILL");
    return { heal: () => restart(daemon, ended) };
  },
  async stop(cluster, { osd }) {
    const daemon = cluster.osd(osd);
    daemon.signal("SIGSTOP");
    return {
      heal() {
        const stopped = daemon.processState() === "T";
        daemon.signal("SIGCONT");
        return stopped;
      },
    };
  },
  async oneway(cluster, { osd, choice }) {
    const direction = choice < 0.5 ? "in" : "out";
    return cut(cluster.osd(osd), [{ direction, peers: othersOf(cluster, osd), verdict: "drop" }]);
  },
  async partition(cluster, { osd, choice }) {
    const peers = choice < 0.5 ? undefined : othersOf(cluster, osd);
    return cut(cluster.osd(osd), bothWays(peers));
  },
  // The OSD sees everybody; of the others, the first does not see the rest.
  async bridge(cluster, { osd }) {
    const [alone = 0, ...rest] = [1, 2, 3].map((step) => (osd + step) % osdCount);
    const hidden = rest.map((id) => cluster.osd(id).host.address);
    return cut(cluster.osd(alone), bothWays(hidden));
  },
  async reset(cluster, { osd }) {
    const met = (await resetConnections(cluster.osd(osd).host)) > 0;
    return { heal: () => met };
  },
  async slowlink(cluster, { osd }) {
    const { host } = cluster.osd(osd);
    slowLink(host, slowLinkKilobits);
    return { heal: () => fastLink(host) > 0 };
  },
  async delay(cluster, { osd, choice }) {
    const others = [1, 2, 3].map((step) => cluster.addressOf((osd + step) % osdCount));
    const dials = [cluster.monitor, ...others];
    const { host } = cluster.osd(osd);
    const undelay = await delayHost(host, cluster.addressOf(osd), dials, delayOf(choice));
    return { heal: () => undelay() > 0 };
  },
  async delaymonitor(cluster, { choice }) {
    const { host } = cluster.monitorDaemon();
    const undelay = await delayHost(host, cluster.monitor, [], delayOf(choice));
    return { heal: () => undelay() > 0 };
  },
  // The map stands still meanwhile: who fails then is known to have failed when it is back.
  async monitor(cluster, { choice }) {
    const daemon = cluster.monitorDaemon();
    const ended = await daemon.end(choice < 0.5 ? "SIGKILL" : "SIGTERM");
    return { heal: () => restart(daemon, ended) };
  },
  async powercut(cluster, { osd, choice }) {
    return powerCut([cluster.osd(osd)], choice);
  },
  async blackout(cluster, { choice }) {
    return powerCut(cluster.osds, choice);
  },
  async slowdisk(cluster, { osd, choice }) {
    const faults = choice < 0.5 ? { delayMs: 50 } : { operationsPerSecond: 50 };
    return badDisk(cluster.osd(osd), faults, ({ delayed }) => delayed);
  },
  async fulldisk(cluster, { osd }) {
    return badDisk(cluster.osd(osd), { full: true }, ({ failed }) => failed, "must");
  },
  async readerror(cluster, { osd }) {
    return badDisk(cluster.osd(osd), { failReads: true }, ({ failed }) => failed, "may");
  },
  async writeerror(cluster, { osd, choice }) {
    const faults = choice < 0.5 ? { failWrites: true } : { failFlushes: true };
    return badDisk(cluster.osd(osd), faults, ({ failed }) => failed, "must");
  },
  async hungdisk(cluster, { osd }) {
    return badDisk(cluster.osd(osd), { delayMs: 3_600_000 }, ({ delayed }) => delayed);
  },
  async bitrot(cluster, { osd }) {
    const daemon = cluster.osd(osd);
    // Nothing else is lost: what it has written is with the kernel.
    if (daemon.options.faultDisk) await daemon.setDiskFaults({ holdWrites: false });
    await daemon.end("SIGTERM");
    const flips = (await cluster.coldData?.rot(osd, daemon)) ?? 0;
    return { heal: () => restart(daemon, flips > 0) };
  },
  // The monitor may be away: then it is told when it is back, and a command that it has carried out
  // before it went is one that changes nothing.
  async split(cluster) {
    const pgNum = 2 * (await untilAnswered(() => cluster.pgNum()));
    await untilAnswered(() => cluster.setPgNum(pgNum));
    return { heal: async () => (await untilAnswered(() => cluster.pgNum())) === pgNum };
  },
  async clockjump(cluster, { osd, choice }) {
    const daemon = cluster.daemons()[osd] ?? cluster.osd(osd);
    daemon.setClockOffset(choice < 0.5 ? hour : -hour);
    return {
      heal() {
        daemon.setClockOffset(0);
        return daemon.isRunning() && canJumpClocks;
      },
    };
  },
};

/** Delivers a fault, lets it last and ends it. */
export async function runFault(
  cluster: Cluster,
  fault: Fault,
): Promise<{ met: boolean; lostBlocks: number }> {
  const whom = whomOf(fault);
  const note = (what: string) => cluster.note(`${what} ${fault.kind} ${whom}`);
  note("begin");
  const delivered = await table[fault.kind](cluster, fault);
  await sleep(fault.durationMs);
  const met = (await delivered.heal()) ?? true;
  note(met ? "end" : "end (met nothing)");
  return { met, lostBlocks: delivered.lostBlocks ?? 0 };
}

function whomOf({ kind, osd }: Fault): string {
  if (kind === "split") return "the pool";
  return monitorKinds.has(kind) ? "mon" : `osd.${osd}`;
}

/** Asks until there is an answer, for some time. @throws what it fails with at last */
async function untilAnswered<T>(ask: () => Promise<T>): Promise<T> {
  for (const endMs = performance.now() + commandLimitMs; ; await sleep(100)) {
    try {
      return await ask();
    } catch (thrown) {
      if (performance.now() > endMs) throw thrown;
    }
  }
}

/** Lines that a fault of the disk explains: the OSD has to end. */
export function isExplained(line: string, kinds: readonly FaultKind[]): boolean {
  const disk = kinds.some((kind) => diskKinds.has(kind));
  return disk && /injected fault|write or flush of the disk failed/.test(line);
}

/** Lines of the logs that tell of a defect. */
export function badLines(daemon: Daemon, kinds: readonly FaultKind[]): string[] {
  const lines = [daemon.logFile, daemon.outputFile].flatMap((file) => {
    try {
      return readFileSync(file, "utf8").split("\n");
    } catch {
      // The daemon has written nothing.
      return [];
    }
  });
  const bad = /assertion failed|"level":"fatal"|Sanitizer|uncaught|unhandled| {4}at /i;
  return lines.filter((line) => bad.test(line) && !isExplained(line, kinds));
}

function delayOf(choice: number): number {
  return choice < 0.5 ? 20 : 150;
}

function othersOf(cluster: Cluster, osd: number): string[] {
  const others = cluster.osds.filter((_, id) => id !== osd).map(({ host }) => host.address);
  return [cluster.monitor.host, ...others];
}

function bothWays(peers: readonly string[] | undefined): LinkRule[] {
  return [
    { direction: "in", peers, verdict: "drop" },
    { direction: "out", peers, verdict: "drop" },
  ];
}

function cut({ host }: Daemon, rules: readonly LinkRule[]): Delivered {
  setRules(host, rules);
  return { heal: () => clearRules(host) > 0 };
}

function restart(daemon: Daemon, met: boolean): boolean {
  daemon.start();
  return met;
}

/** At the same moment, as nearly as signals can be; and when something can be lost, if it comes. */
async function powerCut(daemons: readonly Daemon[], choice: number): Promise<Delivered> {
  // A drive writes back some of what it holds, in any order; a slow one holds it for longer.
  const faults = { writeBackPercent: Math.floor(choice * 60), delayMs: 3 };
  let heldBlocks = 0;
  for (const end = performance.now() + 1500; heldBlocks === 0 && performance.now() < end; ) {
    const counters = await Promise.all(daemons.map((daemon) => daemon.setDiskFaults(faults)));
    heldBlocks = counters.reduce((sum, of) => sum + (of?.heldBlocks ?? 0), 0);
  }
  const ended = await Promise.all(daemons.map((daemon) => daemon.end("SIGKILL")));
  return {
    heal: () => daemons.map((daemon, at) => restart(daemon, ended[at] ?? false)).every(Boolean),
    lostBlocks: heldBlocks,
  };
}

/**
 * @param ends an OSD that has met the fault: must, since it may not try again; may, after so many
 *   errors (then it is ended here, since nobody can tell)
 */
async function badDisk(
  daemon: Daemon,
  faults: Partial<DiskFaults>,
  count: (counters: { delayed: number; failed: number }) => number,
  ends: "never" | "may" | "must" = "never",
): Promise<Delivered> {
  // An OSD whose disk fails is to end by itself.
  daemon.expectEnd();
  // One that has just been started has no store open yet.
  let before = 0;
  for (const end = performance.now() + startLimitMs; performance.now() < end; await sleep(50)) {
    if (!daemon.isRunning()) break;
    const counters = await daemon.setDiskFaults(faults);
    if (counters === undefined) continue;
    before = count(counters);
    break;
  }
  return {
    async heal() {
      const counters = await daemon.setDiskFaults({});
      const met = counters === undefined || count(counters) !== before;
      if (counters === undefined || (met && ends === "may")) await daemon.end("SIGKILL");
      else if (met && ends === "must") await daemon.untilEnded(endLimitMs);
      else if (daemon.isRunning()) daemon.expectNoEnd();
      daemon.start();
      return met;
    },
  };
}
