// `cairn up`, `down`, `status`, `health`.
import type { Command } from "commander";
import type { ImageSpec } from "../client/image/image-spec.js";
import { formatSize } from "../common/units.js";
import type { ClusterStatus, Health } from "../proto/commands.js";
import { withMonitor } from "./connect.js";
import { specValue } from "./image-access.js";
import {
  addressText,
  type ClusterOptions,
  countValue,
  durationValue,
  type OutputOptions,
  type ProgressOptions,
  sizeValue,
  withCluster,
  withDir,
  withExamples,
  withOutput,
  withProgress,
} from "./options.js";
import { fieldsText, printResult } from "./output.js";

interface UpFlags extends OutputOptions, ProgressOptions {
  dir: string;
  osds: number;
  osdSize: number;
  timeout: number;
}

interface DownFlags extends OutputOptions {
  dir: string;
  purge?: boolean;
  grace: number;
}

const gibibyte = 2 ** 30;

export function registerCluster(program: Command): void {
  const upCommand = program
    .command("up")
    .description(
      "Start a cluster on this machine: a monitor, OSDs, and the pool `rbd`. In a folder that\n" +
        "has one, start what of it is not running. Returns when the cluster is healthy.",
    )
    .option("--osds <n>", "OSDs of a new cluster", countValue(1, 64), 3)
    .option("--osd-size <size>", "store of each OSD (a sparse file)", sizeValue, 20 * gibibyte)
    .option("--timeout <duration>", "give up after this", durationValue, 120_000);
  withProgress(withDir(withOutput(upCommand))).action(upAction);
  withExamples(upCommand, "cairn up", "cairn up --dir /var/lib/cairn --osds 5 --osd-size 100G");

  const downCommand = program
    .command("down")
    .description("Stop the daemons of a local cluster.")
    .option("--purge", "remove its folder too, with all data")
    .option(
      "--grace <duration>",
      "kill a daemon that still runs after this",
      durationValue,
      10_000,
    );
  withDir(withOutput(downCommand)).action(downAction);
  withExamples(downCommand, "cairn down", "cairn down --purge");

  const status = program
    .command("status")
    .description("Show the state of the cluster; of an image: its lock and who watches it.")
    .argument("[pool/image]", "an image", specValue);
  withCluster(status).action(statusAction);
  withExamples(
    status,
    "cairn status",
    "cairn status rbd/disk1",
    "cairn status --monitor 127.0.0.1:6789 --format json",
  );

  const health = program
    .command("health")
    .description("Show what is wrong with the cluster. Exit code 1 when it is HEALTH_ERR.");
  withCluster(health).action(healthAction);
  withExamples(health, "cairn health");
}

async function upAction(flags: UpFlags): Promise<void> {
  const [{ up }, { connectSession }] = await Promise.all([
    import("./local-cluster/up.js"),
    import("./connect.js"),
  ]);
  const report = await up(
    {
      dir: flags.dir,
      osdCount: flags.osds,
      osdBytes: flags.osdSize,
      timeoutMs: flags.timeout,
      say: (text) => {
        if (flags.progress) process.stderr.write(`${text}\n`);
      },
    },
    (monitor, clusterId) => connectSession({ monitor, clusterId }),
  );
  const { file, status, created, started, dir } = report;
  const { clusterId, monitor, http } = file;
  const result = { dir, created, started, clusterId, monitor, http, health: status.health.status };
  printResult(flags.format, result, () =>
    fieldsText([
      ["cluster", `${clusterId} in ${dir}`],
      ["health", status.health.status],
      ["started", started.length === 0 ? "nothing: all daemons run" : started.join(", ")],
      ["monitor", addressText(monitor)],
      ["metrics", `http://${addressText(http)}/metrics`],
    ]),
  );
}

async function downAction(flags: DownFlags): Promise<void> {
  const { down } = await import("./local-cluster/down.js");
  const report = await down({ dir: flags.dir, purge: flags.purge === true, graceMs: flags.grace });
  for (const name of report.killed) {
    process.stderr.write(
      `cairn: ${name} did not stop when asked to and was killed\n` +
        "  Nothing that it acknowledged is lost; it recovers at its next start.\n",
    );
  }
  printResult(flags.format, report, () => {
    const stopped = report.stopped.length === 0 ? "nothing was running" : report.stopped.join(", ");
    return report.purged ? `stopped: ${stopped}\nremoved ${report.dir}` : `stopped: ${stopped}`;
  });
}

async function statusAction(image: ImageSpec | undefined, flags: ClusterOptions): Promise<void> {
  if (image !== undefined) {
    const { imageStatusAction } = await import("./lock.js");
    return imageStatusAction(image, flags);
  }
  const status = await withMonitor(flags, (monitor) => monitor.command("status", {}));
  printResult(flags.format, status, () => statusText(status));
}

function statusText(status: ClusterStatus): string {
  const { osds, pgs, usage, monitor } = status;
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
    ["objects", `${objects}, ${formatSize(storedBytes)}${troubles.join("")}`],
    ["usage", `${formatSize(usedBytes)} of ${formatSize(totalBytes)}`],
    ...(status.flags.length === 0 ? [] : [["flags", status.flags.join(", ")] as const]),
  ]);
}

function healthText({ status, checks }: Health): string {
  return [status, ...checks.map(({ summary }) => summary)].join("; ");
}

async function healthAction(flags: ClusterOptions): Promise<void> {
  const health = await withMonitor(flags, (monitor) => monitor.command("health", {}));
  printResult(flags.format, health, () =>
    [
      health.status,
      ...health.checks.flatMap(({ name, severity, summary, remedy, detail }) => [
        `[${severity.replace("HEALTH_", "")}] ${name}: ${summary}`,
        ...detail.map((line) => `    ${line}`),
        `    -> ${remedy}`,
      ]),
    ].join("\n"),
  );
  if (health.status === "HEALTH_ERR") process.exitCode = 1;
}
