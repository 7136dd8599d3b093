// What two readings of CPU times say of the time between them. Pure.

/** The CPU time of one life of a daemon: a restarted one counts from zero. */
export interface DaemonReading {
  /** equal in two readings of the same process, and only there */
  life: string;
  cpuUs: number;
}
/** By daemon name, of those that could be read. */
export type DaemonReadings = ReadonlyMap<string, DaemonReading>;

export interface Reading {
  clientUs: number;
  osds: DaemonReadings;
  monitor: DaemonReadings;
}

/** In microseconds. null: a daemon was restarted in between, so nobody knows; notes say which. */
export interface CpuUsage {
  client: number;
  osds: number | null;
  monitor: number | null;
  /** "proc": exact; "reports": from the OSDs' reports, the monitor's is not known */
  source: "proc" | "reports";
  notes: string[];
}

export function cpuUsage(before: Reading, after: Reading, source: CpuUsage["source"]): CpuUsage {
  const changed = [
    ...changedDaemons(before.monitor, after.monitor),
    ...changedDaemons(before.osds, after.osds),
  ];
  return {
    client: after.clientUs - before.clientUs,
    osds: usedUs(before.osds, after.osds),
    monitor: usedUs(before.monitor, after.monitor),
    source,
    notes: changed.map((name) => `${name} did not run all the time: its CPU time is not known`),
  };
}

function changedDaemons(before: DaemonReadings, after: DaemonReadings): string[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names].filter((name) => before.get(name)?.life !== after.get(name)?.life).sort();
}

function usedUs(before: DaemonReadings, after: DaemonReadings): number | null {
  if (changedDaemons(before, after).length > 0) return null;
  return [...after].reduce(
    (sum, [name, { cpuUs }]) => sum + cpuUs - (before.get(name)?.cpuUs ?? 0),
    0,
  );
}
