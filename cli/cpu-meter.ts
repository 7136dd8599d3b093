// CPU time of the client and the daemons over a time. Daemons of a local cluster are read from
// /proc exactly around the run; others tell theirs in reports to the monitor, every few seconds.
import { setTimeout as sleep } from "node:timers/promises";
import type { ClusterClient } from "../client/index.js";
import { ClusterPaths, readClusterFile } from "./local-cluster/cluster-dir.js";
import { runningDaemon } from "./local-cluster/daemons.js";
import { cpuTimeNs } from "./local-cluster/processes.js";
import type { ClusterOptions } from "./options.js";

/** In microseconds. */
export interface CpuUsage {
  client: number;
  osds: number;
  monitor: number;
  /** "proc": exact; "reports": from the OSDs' reports, the monitor's is not known */
  source: "proc" | "reports";
}

type Sample = Omit<CpuUsage, "source">;

/** @returns ends the measurement */
export async function cpuMeter(
  options: ClusterOptions,
  client: ClusterClient,
): Promise<() => Promise<CpuUsage>> {
  const local = localSampler(options);
  if (local !== undefined) {
    const before = local();
    return async () => ({ ...difference(before, local()), source: "proc" });
  }
  const before = await reported(client);
  return async () => {
    const clientUs = ownCpuUs();
    const after = await reported(client);
    return { ...difference(before, { ...after, client: clientUs }), source: "reports" };
  };
}

function difference(before: Sample, after: Sample): Sample {
  return {
    client: after.client - before.client,
    osds: after.osds - before.osds,
    monitor: after.monitor - before.monitor,
  };
}

function ownCpuUs(): number {
  return (cpuTimeNs(process.pid) ?? 0) / 1000;
}

/** undefined: the cluster is not on this machine */
function localSampler(options: ClusterOptions): (() => Sample) | undefined {
  const file = options.monitor === undefined ? readClusterFile(options.dir) : undefined;
  if (file === undefined) return undefined;
  const paths = new ClusterPaths(options.dir);
  const osdPids = file.osds.flatMap(({ id }) => runningDaemon(paths, `osd.${id}`)?.pid ?? []);
  const monitorPid = runningDaemon(paths, "mon")?.pid;
  const sumUs = (pids: readonly number[]) =>
    pids.reduce((sum, pid) => sum + (cpuTimeNs(pid) ?? 0), 0) / 1000;
  return () => ({
    client: ownCpuUs(),
    osds: sumUs(osdPids),
    monitor: sumUs(monitorPid === undefined ? [] : [monitorPid]),
  });
}

/** Waits until every OSD that is up has reported anew. */
async function reported(client: ClusterClient): Promise<Sample> {
  const startMs = performance.now();
  const limitMs = 15_000;
  for (;;) {
    const { osds } = await client.command("osd ls", {});
    const waitedMs = performance.now() - startMs;
    const fresh = osds.every(({ up, reportAgeMs }) => !up || (reportAgeMs ?? limitMs) < waitedMs);
    if (fresh || waitedMs > limitMs) {
      const seconds = osds.reduce((sum, { cpuSeconds = 0 }) => sum + cpuSeconds, 0);
      return { client: ownCpuUs(), osds: seconds * 1e6, monitor: 0 };
    }
    await sleep(250);
  }
}
