// CPU time of the client and the daemons over a time. The CPU clocks of the daemons of a local
// cluster are read exactly around the run; others tell theirs in reports to the monitor, every few
// seconds.
import { setTimeout as sleep } from "node:timers/promises";
import type { ClusterClient } from "../client/index.js";
import { native } from "../native/index.js";
import { type CpuUsage, cpuUsage, type DaemonReadings, type Reading } from "./cpu-usage.js";
import { ClusterPaths, type DaemonName, readClusterFile } from "./local-cluster/cluster-dir.js";
import { runningDaemon } from "./local-cluster/daemons.js";
import type { ClusterOptions } from "./options.js";

/** @returns ends the measurement */
export async function cpuMeter(
  options: ClusterOptions,
  client: ClusterClient,
): Promise<() => Promise<CpuUsage>> {
  const local = localReader(options);
  if (local !== undefined) {
    const before = local();
    return async () => cpuUsage(before, local(), "proc");
  }
  const before = await reported(client);
  return async () => {
    const clientUs = ownCpuUs();
    const after = await reported(client);
    return cpuUsage(before, { ...after, clientUs }, "reports");
  };
}

function ownCpuUs(): number {
  return (native.processCpuNs(process.pid) ?? 0) / 1000;
}

/** undefined: the cluster is not on this machine */
function localReader(options: ClusterOptions): (() => Reading) | undefined {
  const file = options.monitor === undefined ? readClusterFile(options.dir) : undefined;
  if (file === undefined) return undefined;
  const paths = new ClusterPaths(options.dir);
  const osds = file.osds.map(({ id }): DaemonName => `osd.${id}`);
  return () => ({
    clientUs: ownCpuUs(),
    osds: localReadings(paths, osds),
    monitor: localReadings(paths, ["mon"]),
  });
}

/** Of those that run. */
function localReadings(paths: ClusterPaths, names: readonly DaemonName[]): DaemonReadings {
  return new Map(
    names.flatMap((name) => {
      const daemon = runningDaemon(paths, name);
      const timeNs = daemon === undefined ? undefined : native.processCpuNs(daemon.pid);
      if (daemon === undefined || timeNs === undefined) return [];
      return [[name, { life: `${daemon.pid} ${daemon.startTicks}`, cpuUs: timeNs / 1000 }]];
    }),
  );
}

/** Waits until every OSD that is up has reported anew. */
async function reported(client: ClusterClient): Promise<Reading> {
  const startMs = performance.now();
  const limitMs = 15_000;
  for (;;) {
    const { osds } = await client.command("osd ls", {});
    const waitedMs = performance.now() - startMs;
    const fresh = osds.every(({ up, reportAgeMs }) => !up || (reportAgeMs ?? limitMs) < waitedMs);
    if (fresh || waitedMs > limitMs) {
      const readings: DaemonReadings = new Map(
        osds.flatMap(({ id, incarnation, cpuSeconds }) =>
          cpuSeconds === undefined
            ? []
            : [[`osd.${id}`, { life: String(incarnation), cpuUs: cpuSeconds * 1e6 }]],
        ),
      );
      return { clientUs: ownCpuUs(), osds: readings, monitor: new Map() };
    }
    await sleep(250);
  }
}
