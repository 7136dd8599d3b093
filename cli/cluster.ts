// `cairn up`, `down`, `status`, `health`.
import { formatSize } from "../common/units.js";
import type { ClusterStatus, Health, HealthLevel } from "../proto/commands.js";
import { spreadHolds } from "../proto/map-flags.js";
import { withMonitor } from "./connect.js";
import {
  addressText,
  type ClusterOptions,
  type OutputOptions,
  type ProgressOptions,
} from "./options.js";
import { coloured, fieldsText, printResult } from "./output.js";
import { withAbortSignal } from "./signals.js";
import type { ImageAddress } from "./spec.js";

interface UpFlags extends OutputOptions, ProgressOptions {
  dir: string;
  osds?: number;
  osdSize?: number;
  timeout: number;
}

interface DownFlags extends OutputOptions {
  dir: string;
  purge?: true;
  grace: number;
}

export async function upAction(flags: UpFlags): Promise<void> {
  const [{ up }, { connectSession }] = await Promise.all([
    import("./local-cluster/up.js"),
    import("./connect.js"),
  ]);
  const options = {
    dir: flags.dir,
    osdCount: flags.osds,
    osdBytes: flags.osdSize,
    timeoutMs: flags.timeout,
    say: (text: string) => {
      if (flags.progress) process.stderr.write(`${text}\n`);
    },
  };
  const report = await withAbortSignal((signal) =>
    up({ ...options, signal }, (monitor, clusterId) => connectSession({ monitor, clusterId })),
  );
  const { file, status, created, started, dir } = report;
  const { clusterId, monitor, http } = file;
  const result = { dir, created, started, clusterId, monitor, http, health: status.health.status };
  printResult(flags, result, () =>
    fieldsText([
      ["cluster", `${clusterId} in ${dir}`],
      ["health", status.health.status],
      ["started", started.length === 0 ? "nothing: all daemons run" : started.join(", ")],
      ["monitor", addressText(monitor)],
      ["metrics", `http://${addressText(http)}/metrics`],
    ]),
  );
}

export async function downAction(flags: DownFlags): Promise<void> {
  const { down } = await import("./local-cluster/down.js");
  const report = await down({ dir: flags.dir, purge: flags.purge === true, graceMs: flags.grace });
  for (const name of report.killed) {
    process.stderr.write(
      `cairn: ${name} did not stop when asked to and was killed\n` +
        "  Nothing that it acknowledged is lost; it recovers at its next start.\n",
    );
  }
  printResult(flags, report, () => {
    const stopped = report.stopped.length === 0 ? "nothing was running" : report.stopped.join(", ");
    return report.purged ? `stopped: ${stopped}\nremoved ${report.dir}` : `stopped: ${stopped}`;
  });
}

export async function statusAction(
  image: ImageAddress | undefined,
  flags: ClusterOptions,
): Promise<void> {
  if (image !== undefined) {
    const { imageStatusAction } = await import("./lock.js");
    return imageStatusAction(image, flags);
  }
  const status = await withMonitor(flags, (monitor) => monitor.command("status", {}));
  printResult(flags, status, () => statusText(status));
}

function statusText(status: ClusterStatus): string {
  const { osds, pgs, splits, usage, monitor } = status;
  const states = Object.entries(pgs.byState).map(([state, count]) => `${count} ${state}`);
  const { usedBytes, totalBytes, storedBytes, objects, degraded, misplaced, unfound } = usage;
  const troubles = Object.entries({ degraded, misplaced, unfound })
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `, ${count} ${name}`);
  return fieldsText([
    ["cluster", status.clusterId],
    ["health", healthText(status.health)],
    ["monitor", `up ${Math.round(monitor.uptimeMs / 1000)} s, ${monitor.sessions} sessions`],
    ["osds", `${osds.total}: ${osds.up} up, ${osds.in} in (epoch ${status.epoch})`],
    ["pools", `${status.pools}`],
    ["pgs", `${pgs.total}${states.length === 0 ? "" : `: ${states.join(", ")}`}`],
    ...(splits ?? []).map(({ pool, pgNum, pgpNum }) => {
      const held = status.flags.filter((flag) => spreadHolds.includes(flag)).join(" or ");
      const next = held === "" ? "spread when all are clean" : `not spread while ${held} is set`;
      return ["split", `pool ${pool}: ${pgpNum} PGs into ${pgNum}, ${next}`] as const;
    }),
    ["objects", `${objects}, ${formatSize(storedBytes)}${troubles.join("")}`],
    ["usage", `${formatSize(usedBytes)} of ${formatSize(totalBytes)}`],
    ...(status.flags.length === 0 ? [] : [["flags", status.flags.join(", ")] as const]),
  ]);
}

function healthText({ status, checks }: Health): string {
  return [levelText(status), ...checks.map(({ summary }) => summary)].join("; ");
}

const levelColours = { HEALTH_OK: "green", HEALTH_WARN: "yellow", HEALTH_ERR: "red" } as const;

function levelText(level: HealthLevel): string {
  return coloured(levelColours[level], level);
}

export async function healthAction(flags: ClusterOptions): Promise<void> {
  const health = await withMonitor(flags, (monitor) => monitor.command("health", {}));
  printResult(flags, health, () =>
    [
      levelText(health.status),
      ...health.checks.flatMap(({ name, severity, summary, remedy, detail }) => [
        `[${severity.replace("HEALTH_", "")}] ${name}: ${summary}`,
        ...detail.map((line) => `    ${line}`),
        `    -> ${remedy}`,
      ]),
    ].join("\n"),
  );
  if (health.status === "HEALTH_ERR") process.exitCode = 1;
}
