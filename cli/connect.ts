// How a verb finds its cluster: --monitor HOST:PORT, else the cluster.json that `cairn up` wrote.

import type { MonitorSession } from "../client/cluster/monitor-session.js";
import type { ClusterClient } from "../client/index.js";
import type { Address } from "../common/config.js";
import { StorageError } from "../common/errors.js";
import { systemClock, systemRandom } from "../common/ports.js";
import { plainError } from "./error-report.js";
import { readClusterFile } from "./local-cluster/cluster-dir.js";
import type { ClusterOptions } from "./options.js";

export interface Target {
  monitor: Address;
  /** undefined: whichever cluster the monitor is of */
  clusterId?: string;
}

function targetOf(options: ClusterOptions): Target {
  if (options.monitor !== undefined) return { monitor: options.monitor };
  const file = readClusterFile(options.dir);
  if (file !== undefined) return { monitor: file.monitor, clusterId: file.clusterId };
  throw new StorageError("not_found", `there is no cluster in ${options.dir}`, {
    remedy: "Start one with `cairn up`, or name one with --dir DIR or --monitor HOST:PORT.",
  });
}

/** @throws the errors of MonitorSession.connect */
export async function connectSession(target: Target): Promise<MonitorSession> {
  const { MonitorSession: Session } = await import("../client/cluster/monitor-session.js");
  return Session.connect({
    ...target,
    clientId: systemRandom.uint64() || 1n,
    clock: systemClock,
    random: systemRandom,
  });
}

/** Runs a verb that needs the monitor only; the native core is not loaded. */
export async function withMonitor<T>(
  options: ClusterOptions,
  run: (monitor: MonitorSession) => Promise<T>,
): Promise<T> {
  const session = await connectSession(targetOf(options));
  try {
    return await run(session);
  } finally {
    session.close();
  }
}

/** A stall is said after this time. */
const stallSaidAfterMs = 5000;

/** Runs a verb that reads or writes objects. */
export async function withCluster<T>(
  options: ClusterOptions,
  run: (client: ClusterClient) => Promise<T>,
): Promise<T> {
  const target = targetOf(options);
  const { ClusterClient: Client } = await import("../client/index.js");
  const client = await Client.connect({
    ...target,
    log: (level, text) => {
      if (level !== "info") process.stderr.write(plainError({ code: "io_error", message: text }));
    },
  });
  const stopWatch = client.watchStalls(stallSaidAfterMs, (oldestMs) => {
    const seconds = Math.round(oldestMs / 1000);
    process.stderr.write(
      `cairn: the cluster has not answered for ${seconds} s; still waiting\n` +
        "  `cairn health` says what is wrong with it.\n",
    );
  });
  try {
    return await run(client);
  } finally {
    stopWatch();
    await client.close();
  }
}
