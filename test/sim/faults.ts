// The faults of a simulated cluster: what they do, how long they last, and a schedule of them drawn
// from a seed. Each seed uses some kinds only, so that runs differ more than their numbers.
//
// Safety mode: any number of faults at once. Liveness mode: at any time at most one OSD is
// affected, and nothing that the cluster cannot tolerate: it has to go on serving.
import { defined } from "../../common/assert.js";
import type { PgStateName } from "../../osd/peering/state.js";
import type { SeededRandom } from "./random.js";
import type { SimCluster } from "./sim-cluster.js";
import type { SimOsd } from "./sim-osd.js";

export type Mode = "safety" | "liveness";

/** A fault that is in force. */
interface Active {
  kind: FaultKind;
  untilMs: number;
  /** of one OSD: no second fault of it meanwhile in liveness mode */
  end: () => void | Promise<void>;
}

interface Kind {
  /** in liveness mode too */
  tolerated: boolean;
  /** @returns how it ends; undefined: it found nothing to do now */
  begin(
    cluster: SimCluster,
    random: SeededRandom,
  ): (() => void | Promise<void>) | Promise<(() => void | Promise<void>) | undefined> | undefined;
}

const briefStates: readonly PgStateName[] = [
  "GetInfo",
  "GetLog",
  "GetMissing",
  "WaitUpThru",
  "Activating",
  "Recovering",
];
const quietNetwork = {
  minDelayNs: 20_000,
  maxDelayNs: 200_000,
  resetsPerMillion: 0,
  corruptionsPerMillion: 0,
};
/** Each costs time; the number of an 8-PG pool can be doubled twice. */
const mostPgs = 32;
const quietDiskNs = [20_000, 200_000] as const;

function kill(losesUnflushed: boolean): Kind["begin"] {
  return (cluster, random) => {
    const osd = random.pick(cluster.osds);
    if (!osd.isRunning()) return undefined;
    osd.kill(losesUnflushed);
    return () => osd.start();
  };
}

/** Both networks: the native one, and that of control connections. */
function cut(cluster: SimCluster, from: string, to: string): () => void {
  cluster.world.partition(from, to);
  cluster.control.partition(from, to);
  return () => {
    cluster.world.heal(from, to);
    cluster.control.heal(from, to);
  };
}

function hosts(cluster: SimCluster): string[] {
  const names = [...cluster.osds, ...cluster.clients].map(({ host }) => host);
  return [...names, cluster.monitorHost];
}

function twoHosts(cluster: SimCluster, random: SeededRandom): [string, string] | undefined {
  const [a, b] = [random.pick(hosts(cluster)), random.pick(hosts(cluster))];
  return a === b ? undefined : [a, b];
}

const endAll = (ends: readonly (() => void)[]) => () => {
  for (const end of ends) end();
};

function network(change: Partial<typeof quietNetwork>): Kind["begin"] {
  return (cluster) => {
    cluster.world.setNetwork({ ...quietNetwork, ...change });
    return () => cluster.world.setNetwork(quietNetwork);
  };
}

/** Everybody but this OSD that it talks to besides clients. */
function peersOf(cluster: SimCluster, host: string): string[] {
  const others = [...cluster.osds.map((osd) => osd.host), cluster.monitorHost];
  return others.filter((other) => other !== host);
}

/** Cuts an OSD and a client off from all OSDs and the monitor, but not from each other. */
function onlyEachOther(cluster: SimCluster, osd: string, client: string): () => void {
  const ends = peersOf(cluster, osd).flatMap((host) =>
    [osd, client].flatMap((lost) => [cut(cluster, lost, host), cut(cluster, host, lost)]),
  );
  return endAll(ends);
}

function slowestClock({ osds, options }: SimCluster): SimOsd {
  const drift = ({ id }: SimOsd) => options.driftsPpm.osds[id] ?? 0;
  return osds.reduce((slowest, osd) => (drift(osd) < drift(slowest) ? osd : slowest));
}

const isUnread = (code: string) => code === "io_error";

/** Damage on the way from the medium: as long as it lasts, one copy of what is read is bad. */
function flips(cluster: SimCluster, osd: number, random: SeededRandom): () => void {
  const times = random.percent(50) ? random.between(1, 5) : 1000;
  cluster.world.addDiskFault(osd, { on: "flip", skip: random.below(20), times });
  return () => cluster.world.clearDiskFaults(osd);
}

function diskError(on: "write" | "flush"): Kind["begin"] {
  return (cluster, random) => {
    const osd = random.pick(cluster.osds);
    if (!osd.isRunning()) return undefined;
    const times = random.percent(50) ? 1 : 1000;
    cluster.world.addDiskFault(osd.id, { on, skip: random.below(20), times });
    return () => cluster.world.clearDiskFaults(osd.id);
  };
}

export const kinds = {
  kill: { tolerated: true, begin: kill(false) },
  powerCut: { tolerated: true, begin: kill(true) },
  powerCutOfAll: {
    tolerated: false,
    begin: (cluster) => {
      const running = cluster.osds.filter((osd) => osd.isRunning());
      for (const osd of running) osd.kill(true);
      return endAll(running.map((osd) => () => osd.start()));
    },
  },
  killInPeering: {
    // An OSD dies just when a PG gets into a state that does not last.
    tolerated: false,
    begin: (cluster, random) => {
      const state = random.pick(briefStates);
      let killed = 0;
      let over = false;
      cluster.onPeering = (to) => {
        if (to !== state || killed > 1) return;
        const osd = random.pick(cluster.osds);
        const losesUnflushed = random.percent(50);
        killed += 1;
        cluster.time.schedule(random.below(1000) / 500, () => {
          if (over) return;
          cluster.trace.add(`osd.${osd.id} dies in ${state}`);
          osd.kill(losesUnflushed);
        });
      };
      const first = random.pick(cluster.osds);
      cluster.time.schedule(random.below(500), () => {
        if (!over) first.kill(false);
      });
      return () => {
        over = true;
        cluster.onPeering = undefined;
        for (const osd of cluster.osds) osd.start();
      };
    },
  },
  authorityDies: {
    // The only OSD with a PG's newest writes leaves the acting set, and dies while others ask it.
    tolerated: false,
    begin: async (cluster, random) => {
      const osd = random.pick(cluster.osds);
      if (!osd.isRunning()) return undefined;
      let over = false;
      const others = cluster.osds.filter((other) => other !== osd);
      for (const other of others) other.kill(false);
      await cluster.time.run(random.between(200, 3000));
      const state = random.pick(["GetLog", "GetMissing", "GetMissing", "Recovering"] as const);
      cluster.onPeering = (to) => {
        if (to !== state) return;
        cluster.onPeering = undefined;
        cluster.time.schedule(random.below(200) / 1000, () => {
          if (!over) osd.kill(false);
        });
      };
      await cluster.command("osd out", { id: osd.id }).catch(() => undefined);
      for (const other of others) other.start();
      return async () => {
        over = true;
        cluster.onPeering = undefined;
        osd.start();
        await cluster.command("osd in", { id: osd.id }).catch(() => undefined);
      };
    },
  },
  silentPowerCut: {
    // Nobody is told: peers see an OSD that does not answer.
    tolerated: true,
    begin: (cluster, random) => {
      const osd = random.pick(cluster.osds);
      if (!osd.isRunning()) return undefined;
      const others = hosts(cluster).filter((host) => host !== osd.host);
      const heals = others.map((host) => cut(cluster, osd.host, host));
      osd.kill(true);
      return endAll([...heals, () => osd.start()]);
    },
  },
  freeze: {
    tolerated: true,
    begin: (cluster, random) => {
      const osd = random.pick(cluster.osds);
      if (!osd.isRunning() || osd.isFrozen()) return undefined;
      osd.freeze();
      return () => osd.thaw();
    },
  },
  partition: {
    tolerated: false,
    begin: (cluster, random) => {
      const pair = twoHosts(cluster, random);
      if (pair === undefined) return undefined;
      const [a, b] = pair;
      return endAll([cut(cluster, a, b), cut(cluster, b, a)]);
    },
  },
  oneWayPartition: {
    tolerated: false,
    begin: (cluster, random) => {
      const pair = twoHosts(cluster, random);
      return pair === undefined ? undefined : cut(cluster, ...pair);
    },
  },
  isolation: {
    // An OSD from its peers and the monitor, but not from the clients.
    tolerated: true,
    begin: (cluster, random) => {
      const osd = random.pick(cluster.osds);
      const ways = random.pick(["both", "from", "to"]);
      const ends = peersOf(cluster, osd.host).flatMap((host) => [
        ...(ways === "to" ? [] : [cut(cluster, osd.host, host)]),
        ...(ways === "from" ? [] : [cut(cluster, host, osd.host)]),
      ]);
      return endAll(ends);
    },
  },
  isolationWithClient: {
    // An OSD and a client have only each other left: neither hears of the interval that follows,
    // and the others write what the OSD must not show the client an older version of.
    tolerated: false,
    begin: (cluster, random) => {
      const { host: osd } = random.pick(cluster.osds);
      const { host: client } = random.pick(cluster.clients);
      return onlyEachOther(cluster, osd, client);
    },
  },
  replacedInSilence: {
    // As before, but the others know at once: they take over while the OSD's leases still hold, and
    // the client reads what the OSD leads until these have run out, by its clock.
    tolerated: false,
    begin: async (cluster, random) => {
      // Leases of the slowest clock are what the others may believe to have run out.
      const osd = random.percent(50) ? slowestClock(cluster) : random.pick(cluster.osds);
      const client = random.pick(cluster.clients);
      if (!osd.isRunning()) return undefined;
      cluster.onSilence?.(cluster.clients.indexOf(client));
      // Leases are asked for when somebody reads.
      await cluster.time.run(random.between(20, 100));
      const heal = onlyEachOther(cluster, osd.host, client.host);
      await cluster.command("osd down", { id: osd.id }).catch(() => undefined);
      return heal;
    },
  },
  slowNetwork: { tolerated: true, begin: network({ maxDelayNs: 50_000_000 }) },
  resets: { tolerated: true, begin: network({ resetsPerMillion: 5_000 }) },
  manyResets: { tolerated: false, begin: network({ resetsPerMillion: 60_000 }) },
  corruption: { tolerated: true, begin: network({ corruptionsPerMillion: 5_000 }) },
  connectionReset: {
    tolerated: true,
    begin: (cluster, random) => {
      const pair = twoHosts(cluster, random);
      if (pair === undefined) return undefined;
      cluster.world.resetStreams(...pair);
      return () => undefined;
    },
  },
  slowDisk: {
    tolerated: true,
    begin: (cluster, random) => {
      const osd = random.pick(cluster.osds);
      cluster.world.setDiskLatency(osd.id, 5_000_000, 40_000_000);
      return () => cluster.world.setDiskLatency(osd.id, ...quietDiskNs);
    },
  },
  writeError: { tolerated: false, begin: diskError("write") },
  flushError: { tolerated: false, begin: diskError("flush") },
  bitFlips: {
    tolerated: true,
    begin: (cluster, random) => {
      const osd = random.pick(cluster.osds);
      return osd.isRunning() ? flips(cluster, osd.id, random) : undefined;
    },
  },
  bitFlipsInRecovery: {
    // An OSD comes back and is recovered while another one, maybe its source, reads bad data.
    tolerated: false,
    begin: async (cluster, random) => {
      const osd = random.pick(cluster.osds);
      if (!osd.isRunning()) return undefined;
      osd.kill(false);
      await cluster.time.run(random.between(500, 3000));
      const running = cluster.osds.filter((other) => other.isRunning());
      const ends = running.length === 0 ? [] : [flips(cluster, random.pick(running).id, random)];
      await cluster.time.run(random.below(1000));
      osd.start();
      return endAll(ends);
    },
  },
  scrub: {
    // No fault, but what goes on while there are some.
    tolerated: true,
    begin: async (cluster, random) => {
      const mode = random.pick(["scrub", "deep-scrub", "repair"] as const);
      const request = random.between(1, 1_000_000);
      await cluster.command("pg scrub", { mode, request }).catch(() => undefined);
      return () => undefined;
    },
  },
  remappedInSilence: {
    // PGs move; a new primary that wants another one to lead is not heard by the monitor.
    tolerated: false,
    begin: async (cluster, random) => {
      const [osd, lost] = [random.pick(cluster.osds), random.pick(cluster.osds)];
      let cuts: (() => void)[] = [];
      cluster.onPeering = (to) => {
        if (to !== "GetInfo" || cuts.length > 0) return;
        cuts = cluster.osds.map(({ host }) => cut(cluster, host, cluster.monitorHost));
      };
      await cluster.command("osd out", { id: osd.id }).catch(() => undefined);
      const came = await cluster.time.run(2000, () => cuts.length > 0);
      if (came && random.percent(50)) {
        await cluster.time.run(random.below(1000));
        lost.kill(false);
        await cluster.command("osd down", { id: lost.id }).catch(() => undefined);
      }
      return async () => {
        cluster.onPeering = undefined;
        endAll(cuts)();
        lost.start();
        await cluster.command("osd in", { id: osd.id }).catch(() => undefined);
      };
    },
  },
  monitorRestart: {
    tolerated: true,
    begin: async (cluster) => {
      await cluster.restartMonitor();
      return () => undefined;
    },
  },
  markedDown: {
    // An OSD that is alive is shown down: it has to come back as a new incarnation.
    tolerated: true,
    begin: async (cluster, random) => {
      const osd = random.pick(cluster.osds);
      await cluster.command("osd down", { id: osd.id }).catch(() => undefined);
      return () => undefined;
    },
  },
  markedOut: {
    // Its PGs move elsewhere, then come back: backfill, strays.
    tolerated: true,
    begin: async (cluster, random) => {
      const osd = random.pick(cluster.osds);
      await cluster.command("osd out", { id: osd.id }).catch(() => undefined);
      return async () => {
        await cluster.command("osd in", { id: osd.id }).catch(() => undefined);
      };
    },
  },
  split: {
    // No fault either: the pool gets more PGs, and their placement follows when all are clean.
    tolerated: true,
    begin: (cluster, random) => {
      const { name, pgNum } = defined(cluster.map().pools[0], "a pool");
      const times = random.pick([2, 2, 2, 4]);
      if (pgNum * times > mostPgs) return undefined;
      const value = String(pgNum * times);
      const split = () =>
        void cluster.ask("pool set", { name, setting: "pg_num", value }).catch(() => undefined);
      const state = random.pick([undefined, "GetMissing", "Activating", "Recovering"] as const);
      if (state === undefined || cluster.onPeering !== undefined) {
        split();
        return () => undefined;
      }
      // Just when copies learn what they lack.
      cluster.onPeering = (to) => {
        if (to !== state) return;
        cluster.onPeering = undefined;
        cluster.time.schedule(random.below(2000) / 1000, split);
      };
      return () => {
        cluster.onPeering = undefined;
      };
    },
  },
  readError: {
    // Of the whole disk: others serve what its OSD leads, until that has had enough and ends.
    tolerated: true,
    begin: (cluster, random) => {
      const osd = random.pick(cluster.osds);
      if (!osd.isRunning()) return undefined;
      const times = random.percent(50) ? random.between(1, 20) : 100_000;
      osd.restartsAfter = () => false;
      cluster.world.addDiskFault(osd.id, { on: "read", skip: random.below(20), times });
      return () => {
        cluster.world.clearDiskFaults(osd.id);
        // It may yet be about to end.
        osd.restartsAfter = isUnread;
        osd.start();
      };
    },
  },
} as const satisfies Record<string, Kind>;

export type FaultKind = keyof typeof kinds;
export const faultKinds = Object.keys(kinds) as FaultKind[];

export class FaultSchedule {
  readonly delivered = new Map<FaultKind, number>();
  private readonly allowed: FaultKind[];
  private active: Active[] = [];

  constructor(
    private readonly cluster: SimCluster,
    readonly mode: Mode,
    private readonly random: SeededRandom,
    only?: readonly FaultKind[],
  ) {
    const drawnKinds = faultKinds.filter((kind) => kind !== "readError");
    const possible = drawnKinds.filter((kind) => mode === "safety" || kinds[kind].tolerated);
    const wanted = possible.filter(() => random.percent(40));
    const drawn = wanted.length > 0 ? wanted : [random.pick(possible)];
    this.allowed = only === undefined ? drawn : [...only];
  }

  /** One more kind than were drawn. */
  allow(kind: FaultKind): void {
    this.allowed.push(kind);
  }

  /** Faults for so long; those that are in force then go on until heal(). */
  async run(durationMs: number, everyMs: number): Promise<void> {
    const endMs = this.cluster.nowMs() + durationMs;
    while (this.cluster.nowMs() < endMs) {
      const due = Math.min(...this.active.map(({ untilMs }) => untilMs), endMs);
      const pauseMs = this.random.below(everyMs);
      const wakeMs = Math.min(due, this.cluster.nowMs() + pauseMs);
      await this.cluster.time.run(Math.max(0, wakeMs - this.cluster.nowMs()));
      await this.endDue(this.cluster.nowMs());
      const isCalm = this.mode === "safety" || this.active.length === 0;
      if (wakeMs < due && isCalm) await this.begin();
    }
  }

  /** Nothing disturbs the cluster any more: all daemons run, all hosts reach each other. */
  async heal(): Promise<void> {
    await this.endDue(Number.POSITIVE_INFINITY);
    const isDiskBad = this.delivered.has("writeError") || this.delivered.has("flushError");
    const couldBeUnread = this.delivered.has("readError") ? isUnread : () => false;
    for (const osd of this.cluster.osds) {
      // One that was frozen or idle may yet have to find out what its disk did.
      osd.restartsAfter = isDiskBad ? () => true : couldBeUnread;
      // An OSD that ended because of its disk gets a good one: what it holds is what it held.
      osd.start();
    }
  }

  private async begin(): Promise<void> {
    const kind = this.random.pick(this.allowed);
    const lastsMs = this.random.percent(70)
      ? this.random.between(100, 5_000)
      : this.random.between(5_000, 30_000);
    const end = await kinds[kind].begin(this.cluster, this.random);
    if (end === undefined) return;
    this.cluster.trace.add(`fault ${kind} for ${lastsMs} ms`);
    this.delivered.set(kind, (this.delivered.get(kind) ?? 0) + 1);
    this.active.push({ kind, untilMs: this.cluster.nowMs() + lastsMs, end });
  }

  private async endDue(nowMs: number): Promise<void> {
    const due = this.active.filter(({ untilMs }) => untilMs <= nowMs);
    this.active = this.active.filter(({ untilMs }) => untilMs > nowMs);
    for (const { kind, end } of due) {
      this.cluster.trace.add(`end of ${kind}`);
      await end();
    }
  }
}
