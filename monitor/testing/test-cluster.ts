// A Cluster in virtual time over a store in memory, with OSDs that boot on call.

import { defined } from "../../common/assert.js";
import { silentLog } from "../../common/log.js";
import { emptyMap } from "../../proto/fixtures.js";
import type { FailureReason, OsdBoot, OsdStats, PgStats } from "../../proto/messages.js";
import { findOsd, type OsdInfo, type OsdMap } from "../../proto/osd-map.js";
import type { PgPlacement } from "../../proto/placement.js";
import { Cluster, type ClusterOptions } from "../cluster.js";
import { fakeCrush } from "./fake-crush.js";
import { MemoryMapStore } from "./memory-map-store.js";
import { settle, VirtualClock } from "./virtual-clock.js";

export const testOptions: ClusterOptions = {
  statsStaleMs: 30_000,
};

/** The boot message of a test OSD. */
export function bootOf(osd: number, overrides: Partial<OsdBoot> = {}): OsdBoot {
  return {
    kind: "osdBoot",
    osd,
    uuid: `00000000-0000-4000-8000-${String(osd).padStart(12, "0")}`,
    incarnation: String(1000 + osd),
    address: { host: "127.0.0.1", port: 6800 + osd },
    sizeBytes: 20 * 2 ** 30,
    host: `host${osd}`,
    deviceClass: "ssd",
    ...overrides,
  };
}

/** A report of an OSD, with nothing in it but what is given. */
export function statsOf(osd: number, overrides: Partial<OsdStats> = {}): OsdStats {
  return {
    kind: "osdStats",
    osd,
    epoch: 1 as OsdStats["epoch"],
    usedBytes: 0,
    totalBytes: 20 * 2 ** 30,
    counters: {},
    histograms: {},
    rssBytes: 50 << 20,
    cpuSeconds: 1,
    slowOps: [],
    slowOpCount: 0,
    pgs: [],
    heartbeats: [],
    ...overrides,
  };
}

export class TestCluster {
  private constructor(
    readonly cluster: Cluster,
    readonly clock: VirtualClock,
    readonly store: MemoryMapStore,
  ) {}

  /** A cluster whose OSDs 0 .. osdCount - 1 are up, in and connected, 20 s after its start. */
  static async make(osdCount: number, options: Partial<ClusterOptions> = {}): Promise<TestCluster> {
    const clock = new VirtualClock();
    const store = new MemoryMapStore(emptyMap({ crush: fakeCrush.build([], "host") }));
    const ports = { store, crush: fakeCrush, clock, log: silentLog };
    const cluster = await Cluster.open(ports, { ...testOptions, ...options });
    const made = new TestCluster(cluster, clock, store);
    for (let osd = 0; osd < osdCount; osd += 1) made.connectAndBoot(osd);
    await clock.advance(20_000);
    return made;
  }

  map(): OsdMap {
    return this.cluster.map();
  }

  osd(id: number): OsdInfo {
    return defined(findOsd(this.map(), id), `osd.${id}`);
  }

  /** The ids of the OSDs that are up. */
  up(): number[] {
    return this.map()
      .osds.filter(({ up }) => up)
      .map(({ id }) => id);
  }

  connectAndBoot(osd: number, overrides: Partial<OsdBoot> = {}): void {
    const boot = bootOf(osd, overrides);
    this.cluster.handle({ kind: "osdConnected", osd, incarnation: boot.incarnation });
    this.cluster.handle(boot);
  }

  disconnect(osd: number): void {
    const { incarnation } = this.osd(osd);
    this.cluster.handle({ kind: "osdDisconnected", osd, incarnation });
  }

  report(reporter: number, target: number, reason: FailureReason = "heartbeat_timeout"): void {
    const targetIncarnation = this.osd(target).incarnation;
    const { epoch } = this.map();
    const kind = "osdFailure";
    this.cluster.handle({ kind, reporter, target, targetIncarnation, epoch, reason });
  }

  /** Every OSD reports those of the PGs that it leads as active+clean. */
  reportClean(
    overrides: Partial<PgStats> = {},
    which: (placement: PgPlacement) => boolean = () => true,
  ): void {
    const { epoch } = this.map();
    for (const osd of this.up()) {
      const pgs = [...this.cluster.placements().values()]
        .filter((placement) => placement.primary === osd && which(placement))
        .map(({ pgid, up, acting }) => ({
          pgid,
          up,
          acting,
          epoch,
          state: "active+clean",
          lastUpdate: { epoch, number: 1 },
          objects: 2,
          bytes: 8192,
          missing: 0,
          degraded: 0,
          misplaced: 0,
          unfound: 0,
          ...overrides,
        }));
      this.cluster.reportOsd(statsOf(osd, { epoch, pgs }));
    }
  }

  settle(): Promise<void> {
    return settle();
  }
}
