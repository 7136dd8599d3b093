// /metrics: the cluster's gauges, and every daemon's counters and latency histograms as it reported
// them last, labelled daemon="osd.0". One Registry per monitor, filled when it is scraped; so
// nothing runs between scrapes.
import { type Metric, Registry } from "prom-client";
import type { ClusterStatus } from "../proto/commands.js";
import type { ClientStats, Histogram, OsdStats } from "../proto/messages.js";
import { fullStates, type OsdMap, pgpNumOf } from "../proto/osd-map.js";
import { refusedMapsPrefix } from "../proto/refused-maps.js";
import type { StatsState } from "./services/pg-stats.js";

/** What a scrape shows. */
export interface MetricsInput {
  status: ClusterStatus;
  map: OsdMap;
  stats: StatsState;
  /** by the monitor, by code */
  refused: ReadonlyMap<string, number>;
  /** by verb and code */
  refusedCommands: ReadonlyMap<string, ReadonlyMap<string, number>>;
  /** starts that were refused, by OSD and code */
  refusedStarts: ReadonlyMap<number, ReadonlyMap<string, number>>;
  /** of monitors in this monitor's folder */
  ownRefusedStarts: Readonly<Record<string, number>>;
}

type Labels = Record<string, string>;
interface Sample {
  metricName?: string;
  labels: Labels;
  value: number;
}
type SampleType = "gauge" | "counter" | "histogram";

/** Bounds of the exported histograms, in seconds: 1-2-5 steps from 10 us to 10 s. */
export const latencyBoundsS: readonly number[] = [-5, -4, -3, -2, -1, 0]
  .flatMap((power) => [1, 2, 5].map((step) => Number(`${step}e${power}`)))
  .concat(10);

/** A metric whose samples come from elsewhere. prom-client asks no more of a metric than this. */
class ReportedMetric {
  readonly samples: Sample[] = [];

  constructor(
    readonly name: string,
    readonly help: string,
    private readonly type: SampleType,
  ) {}

  add(labels: Labels, value: number, metricName?: string): void {
    this.samples.push(metricName === undefined ? { labels, value } : { metricName, labels, value });
  }

  get() {
    const { name, help, type, samples: values } = this;
    return Promise.resolve({ name, help, type, values, aggregator: "sum" });
  }

  reset(): void {
    this.samples.length = 0;
  }
}

/** The metrics of one scrape, by name. */
class Scrape {
  private readonly metrics = new Map<string, ReportedMetric>();

  metric(name: string, help: string, type: SampleType): ReportedMetric {
    const known = this.metrics.get(name);
    if (known !== undefined) return known;
    const made = new ReportedMetric(name, help, type);
    this.metrics.set(name, made);
    return made;
  }

  gauge(name: string, help: string, value: number, labels: Labels = {}): void {
    this.metric(name, help, "gauge").add(labels, value);
  }

  counter(name: string, help: string, value: number, labels: Labels): void {
    this.metric(name, help, "counter").add(labels, value);
  }

  histogram(name: string, help: string, histogram: Histogram, labels: Labels): void {
    const metric = this.metric(name, help, "histogram");
    const { cumulative, count } = rebucketed(histogram);
    latencyBoundsS.forEach((bound, index) => {
      metric.add({ ...labels, le: String(bound) }, cumulative[index] ?? 0, `${name}_bucket`);
    });
    metric.add({ ...labels, le: "+Inf" }, count, `${name}_bucket`);
    metric.add(labels, histogram.sumNs / 1e9, `${name}_sum`);
    metric.add(labels, count, `${name}_count`);
  }

  registerIn(registry: Registry): void {
    registry.clear();
    for (const metric of this.metrics.values()) {
      registry.registerMetric(metric as unknown as Metric);
    }
  }
}

/**
 * A reported histogram over latencyBoundsS. A reported bucket that straddles a bound counts above
 * it, so that latencies never look better than they are.
 */
export function rebucketed(histogram: Histogram): { cumulative: number[]; count: number } {
  const cumulative = latencyBoundsS.map((bound) =>
    histogram.counts.reduce((sum, count, index) => {
      const upperNs = histogram.boundsNs[index];
      return upperNs !== undefined && upperNs <= bound * 1e9 ? sum + count : sum;
    }, 0),
  );
  return { cumulative, count: histogram.counts.reduce((sum, count) => sum + count, 0) };
}

const healthValues = { HEALTH_OK: 0, HEALTH_WARN: 1, HEALTH_ERR: 2 } as const;

export class Metrics {
  readonly registry = new Registry();

  /** The text of a scrape, in Prometheus' format. */
  text(input: MetricsInput): Promise<string> {
    const scrape = new Scrape();
    addCluster(scrape, input);
    for (const { stats } of input.stats.osds.values()) addOsd(scrape, stats);
    for (const { stats } of input.stats.clients.values()) {
      addProcess(scrape, stats, { daemon: stats.daemon });
    }
    addMonitor(scrape, input);
    scrape.registerIn(this.registry);
    return this.registry.metrics();
  }
}

function addCluster(scrape: Scrape, { status, map }: MetricsInput): void {
  const health = healthValues[status.health.status];
  scrape.gauge("cairn_health_status", "0 HEALTH_OK, 1 HEALTH_WARN, 2 HEALTH_ERR", health);
  for (const check of status.health.checks) {
    const labels = { name: check.name, severity: check.severity };
    scrape.gauge("cairn_health_detail", "1 for each health check that is not fine", 1, labels);
  }
  scrape.gauge("cairn_map_epoch", "Newest epoch of the cluster map", status.epoch);
  scrape.gauge("cairn_pools", "Pools", status.pools);
  scrape.gauge("cairn_pgs", "Placement groups", status.pgs.total);
  for (const [state, count] of Object.entries(status.pgs.byState)) {
    scrape.gauge("cairn_pg_state", "Placement groups by state", count, { state });
  }
  scrape.gauge("cairn_cluster_used_bytes", "Bytes used on all OSDs", status.usage.usedBytes);
  scrape.gauge("cairn_cluster_total_bytes", "Size of all OSDs", status.usage.totalBytes);
  scrape.gauge("cairn_objects", "Objects", status.usage.objects);
  for (const pool of map.pools) {
    const labels = { pool: pool.name };
    scrape.gauge("cairn_pool_pg_num", "PGs of the pool", pool.pgNum, labels);
    const placedHelp = "PGs of the pool that CRUSH places; the others are where their parents are";
    scrape.gauge("cairn_pool_pgp_num", placedHelp, pgpNumOf(pool), labels);
  }
  for (const osd of map.osds) {
    const labels = { daemon: `osd.${osd.id}` };
    scrape.gauge("cairn_osd_up", "1 when the OSD is up", Number(osd.up), labels);
    scrape.gauge("cairn_osd_in", "1 when the OSD is in", Number(osd.in), labels);
    const { slow = false, failed, fullState } = osd;
    scrape.gauge("cairn_osd_slow", "1 when the OSD is marked slow", Number(slow), labels);
    const isFailed = Number(failed !== undefined);
    scrape.gauge("cairn_osd_failed", "1 when the OSD's store has failed", isFailed, labels);
    const level = fullState === undefined ? 0 : 1 + fullStates.indexOf(fullState);
    const levels = "0, 1 nearfull, 2 backfillfull, 3 full";
    scrape.gauge("cairn_osd_full_state", levels, level, labels);
  }
}

function addOsd(scrape: Scrape, stats: OsdStats): void {
  const labels = { daemon: `osd.${stats.osd}` };
  scrape.gauge("cairn_osd_used_bytes", "Bytes used on the OSD", stats.usedBytes, labels);
  scrape.gauge("cairn_osd_total_bytes", "Size of the OSD", stats.totalBytes, labels);
  for (const { peer, roundTripUs } of stats.heartbeats) {
    const name = "cairn_osd_heartbeat_round_trip_seconds";
    const pair = { ...labels, peer: `osd.${peer}` };
    scrape.gauge(name, "Round trip of the last heartbeat", roundTripUs / 1e6, pair);
  }
  addProcess(scrape, stats, labels);
}

type ProcessStats = Pick<
  ClientStats,
  "counters" | "histograms" | "rssBytes" | "cpuSeconds" | "slowOpCount"
>;

/** Reported counters with the code of the refusal behind the prefix. */
const refusals = [
  {
    prefix: "refused_connections_",
    name: "cairn_refused_connections_total",
    help: "Connections that ended because of who the peer was or what it sent",
  },
  {
    prefix: refusedMapsPrefix,
    name: "cairn_refused_maps_total",
    help: "Cluster maps that could not be taken",
  },
] as const;

/** Reported figures that can fall, by their names in the report. */
const reportedGauges: ReadonlyMap<string, string> = new Map([
  ["store_metadata_cache_bytes", "Memory of headers, block maps and reference counts"],
]);

/** Reported numbers of connections with the transport, tcp or unix, behind the prefix. */
const connectionsPrefix = "net_connections_";

function addProcess(scrape: Scrape, stats: ProcessStats, labels: Labels): void {
  addUsage(scrape, stats.rssBytes, stats.cpuSeconds, labels);
  scrape.gauge("cairn_slow_ops", "Operations that take too long", stats.slowOpCount, labels);
  for (const [name, value] of Object.entries(stats.counters)) {
    if (name.startsWith(connectionsPrefix)) {
      const transport = name.slice(connectionsPrefix.length);
      const all = { ...labels, transport };
      scrape.gauge("cairn_net_connections", "Open connections of block data", value, all);
      continue;
    }
    const gaugeHelp = reportedGauges.get(name);
    if (gaugeHelp !== undefined) {
      scrape.gauge(`cairn_${name}`, gaugeHelp, value, labels);
      continue;
    }
    const refusal = refusals.find(({ prefix }) => name.startsWith(prefix));
    if (refusal !== undefined) {
      const code = name.slice(refusal.prefix.length);
      scrape.counter(refusal.name, refusal.help, value, { ...labels, code });
      continue;
    }
    scrape.counter(`cairn_${name}_total`, `Native counter ${name}`, value, labels);
  }
  for (const [name, histogram] of Object.entries(stats.histograms)) {
    const help = `Native latency histogram ${name}`;
    scrape.histogram(`cairn_${name}_seconds`, help, histogram, labels);
  }
}

function addUsage(scrape: Scrape, rssBytes: number, cpuSeconds: number, labels: Labels): void {
  const rssHelp = "Resident memory of the daemon";
  scrape.gauge("cairn_process_resident_memory_bytes", rssHelp, rssBytes, labels);
  const cpuHelp = "CPU time of the daemon, user and system";
  scrape.counter("cairn_process_cpu_seconds_total", cpuHelp, cpuSeconds, labels);
}

function addMonitor(scrape: Scrape, input: MetricsInput): void {
  const { user, system } = process.cpuUsage();
  const labels = { daemon: "mon" };
  addUsage(scrape, process.memoryUsage.rss(), (user + system) / 1e6, labels);
  const [{ name, help }] = refusals;
  for (const [code, value] of input.refused) {
    scrape.counter(name, help, value, { ...labels, code });
  }
  for (const [verb, byCode] of input.refusedCommands) {
    const commands = "cairn_refused_commands_total";
    for (const [code, value] of byCode) {
      const all = { ...labels, verb, code };
      scrape.counter(commands, "Commands that were answered with an error", value, all);
    }
  }
  for (const [code, value] of Object.entries(input.ownRefusedStarts)) {
    const starts = "cairn_monitor_start_refused_total";
    scrape.counter(starts, "Starts of the monitor that ended before it served", value, {
      ...labels,
      code,
    });
  }
  for (const [osd, byCode] of input.refusedStarts) {
    const starts = "cairn_osd_start_refused_total";
    for (const [code, value] of byCode) {
      const all = { daemon: `osd.${osd}`, code };
      scrape.counter(starts, "Starts of the OSD that ended before it had booted", value, all);
    }
  }
}
