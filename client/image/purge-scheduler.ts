// Looks every now and then which trash is due to be purged by the schedules of the map, and purges
// it. Runs in the monitor's process, as a client of the cluster.
import { type StorageError, toStorageError } from "../../common/errors.js";
import type { Clock } from "../../common/ports.js";
import type { OsdMap } from "../../proto/osd-map.js";
import {
  lastDueMs,
  type PurgeSchedule,
  schedulesFor,
  schedulesOf,
} from "../../proto/purge-schedule.js";
import type { Images } from "./images.js";
import { Namespaces } from "./namespaces.js";
import { purgeByPlan } from "./trash-purge.js";
import type { PurgeRun } from "./trash-purge-record.js";

export interface PurgeSchedulerPorts {
  clock: Clock;
  map(): OsdMap;
  /** of a pool, or of a namespace of it */
  images(pool: string, namespace: string): Promise<Images>;
  /** a purge has been made */
  onPurged(place: string, run: PurgeRun): void;
  /** a purge has failed: it is tried again with the next look */
  onFailed(place: string, error: StorageError): void;
}

const lookEveryMs = 10_000;

export class PurgeScheduler {
  private cancel: () => void = () => undefined;
  private stopped = false;
  /** by place: the newest moment for which nothing is left to do */
  private readonly done = new Map<string, number>();

  constructor(private readonly ports: PurgeSchedulerPorts) {}

  start(): void {
    this.cancel = this.ports.clock.setTimer(lookEveryMs, () => {
      void this.look().finally(() => {
        if (!this.stopped) this.start();
      });
    });
  }

  /** What is under way is not waited for. */
  stop(): void {
    this.stopped = true;
    this.cancel();
  }

  private async look(): Promise<void> {
    const map = this.ports.map();
    const schedules = schedulesOf(map);
    if (schedules.length === 0) return;
    for (const { name } of map.pools) {
      const concerned = schedules.filter(({ pool }) => pool === undefined || pool === name);
      if (concerned.length > 0 && !this.stopped) await this.lookAtPool(name, concerned);
    }
  }

  private async lookAtPool(pool: string, schedules: readonly PurgeSchedule[]): Promise<void> {
    // Nothing of the pool is due before one of its schedules is: then nobody asks the cluster.
    if (lastDueMs(schedules, this.ports.clock.wallMs()) === undefined) return;
    try {
      const { scope } = await this.ports.images(pool, "");
      const namespaces = (await new Namespaces(scope).list()).map(({ name }) => name);
      for (const namespace of ["", ...namespaces]) {
        if (!this.stopped) await this.purgeIfDue(pool, namespace, schedules);
      }
    } catch (thrown) {
      this.failed(pool, thrown);
    }
  }

  private async purgeIfDue(
    pool: string,
    namespace: string,
    schedules: readonly PurgeSchedule[],
  ): Promise<void> {
    const { ports } = this;
    const place = namespace === "" ? pool : `${pool}/${namespace}`;
    const own = schedulesFor(schedules, { pool, namespace });
    const dueMs = lastDueMs(own, ports.clock.wallMs());
    if (dueMs === undefined || (this.done.get(place) ?? -1) >= dueMs) return;
    try {
      const run = await purgeByPlan(await ports.images(pool, namespace), dueMs);
      if (run === "busy") return;
      this.done.set(place, dueMs);
      if (run !== "made") ports.onPurged(place, run);
    } catch (thrown) {
      this.failed(place, thrown);
    }
  }

  private failed(place: string, thrown: unknown): void {
    if (!this.stopped) this.ports.onFailed(place, toStorageError(thrown));
  }
}
