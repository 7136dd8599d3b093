// Which faults come when: pure, from a seed. Each kind comes before any comes again; in "storm" two
// OSDs may suffer at a time, in "single" one fault follows the other when all is clean again.
//
// Invariants: an OSD has one fault at a time, and so has the monitor; a fault of the whole cluster
// has no other beside it. A split is no failure: it comes beside whatever else comes, but for other
// splits, and only so often.
export const faultKinds = [
  "kill",
  "stop",
  "oneway",
  "powercut",
  "blackout",
  "partition",
  "bridge",
  "slowlink",
  "reset",
  "slowdisk",
  "fulldisk",
  "readerror",
  "writeerror",
  "clockjump",
  "bitrot",
  "monitor",
  "delay",
  "delaymonitor",
  "split",
  "hungdisk",
] as const;
/** Too long for a storm: it is only found when it has lasted for 10 s. */
export const stormKinds = faultKinds.filter((kind) => kind !== "hungdisk");
export type FaultKind = (typeof faultKinds)[number];
/** Those that hit no OSD. */
export const monitorKinds: ReadonlySet<FaultKind> = new Set(["monitor", "delaymonitor"]);
/** In one run: each makes twice as many PGs. */
export const maxSplits = 3;

/** Those that hit more than one OSD. */
const wholeCluster: ReadonlySet<FaultKind> = new Set(["blackout", "bridge"]);
/** Those that need the disk that misbehaves. */
export const diskKinds: ReadonlySet<FaultKind> = new Set([
  "powercut",
  "blackout",
  "slowdisk",
  "fulldisk",
  "readerror",
  "writeerror",
  "hungdisk",
]);

export interface Fault {
  kind: FaultKind;
  osd: number;
  /** since the beginning of the load; in "single" the earliest */
  atMs: number;
  durationMs: number;
  /** 0 to 1, for what a kind leaves open */
  choice: number;
}

export interface ScheduleOptions {
  seed: number;
  kinds: readonly FaultKind[];
  osds: number;
  loadMs: number;
  mode: "storm" | "single";
}

const firstMs = 2000;
/** The load goes on behind the last fault: its end must be seen, too. */
const quietEndMs = 6000;
/** At least; it follows when the cluster is clean again. */
const singleRestMs = 2000;
const singleMs = (kind: FaultKind) => (kind === "hungdisk" ? 14_000 : 4500);

/** Uniform in [0, 1), from a seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function makeSchedule(options: ScheduleOptions): Fault[] {
  return options.mode === "single" ? single(options) : storm(options);
}

function single({ seed, kinds, osds, loadMs }: ScheduleOptions): Fault[] {
  const random = seeded(seed);
  const faults: Fault[] = [];
  for (let atMs = firstMs; ; ) {
    const due = stillDue(kinds, faults.filter(({ kind }) => kind === "split").length);
    const kind = due[faults.length % due.length];
    if (kind === undefined) break;
    const durationMs = singleMs(kind);
    const nextMs = atMs + durationMs + singleRestMs;
    if (nextMs > loadMs) break;
    const osd = Math.floor(random() * osds);
    faults.push({ kind, osd, atMs, durationMs, choice: random() });
    atMs = nextMs;
  }
  return faults;
}

function storm({ seed, kinds, osds, loadMs }: ScheduleOptions): Fault[] {
  const random = seeded(seed);
  const faults: Fault[] = [];
  const busyUntilMs = new Array<number>(osds).fill(0);
  let monitorBusyUntilMs = 0;
  let splitUntilMs = 0;
  let splits = 0;
  let bag: FaultKind[] = [];
  for (let atMs = firstMs; atMs < loadMs - quietEndMs; atMs += 700 + random() * 1300) {
    if (bag.length === 0) bag = shuffled(stillDue(kinds, splits), random);
    const kind = bag[0];
    if (kind === undefined) break;
    const durationMs = Math.round(1000 + random() * 3000);
    if (kind === "split") {
      if (splitUntilMs > atMs) continue;
      bag.shift();
      splits += 1;
      splitUntilMs = atMs + durationMs + 1000;
      faults.push({ kind, osd: 0, atMs: Math.round(atMs), durationMs, choice: random() });
      continue;
    }
    const free = [...busyUntilMs.keys()].filter((osd) => (busyUntilMs[osd] ?? 0) <= atMs);
    const all = wholeCluster.has(kind);
    const osd = free[Math.floor(random() * free.length)];
    const choice = random();
    // Two copies of four must stay for anything to go on; what does not fit comes a little later.
    if (osd === undefined || free.length < (all ? osds : osds - 1)) continue;
    const isOfMonitor = monitorKinds.has(kind);
    if (isOfMonitor && monitorBusyUntilMs > atMs) continue;
    bag.shift();
    // A fault ends some time before the next one of the same OSD: its restart takes a while.
    const untilMs = atMs + durationMs + 1000;
    if (isOfMonitor) monitorBusyUntilMs = untilMs;
    for (const id of busyUntilMs.keys()) if (all || id === osd) busyUntilMs[id] = untilMs;
    faults.push({ kind, osd, atMs: Math.round(atMs), durationMs, choice });
  }
  return faults;
}

function stillDue(kinds: readonly FaultKind[], splits: number): readonly FaultKind[] {
  return splits < maxSplits ? kinds : kinds.filter((kind) => kind !== "split");
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
}
