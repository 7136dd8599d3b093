// What an OSD does to its PGs when nobody asks for it: scrubs, and trimming of removed snapshots;
// and what reads tell of its disk.
import type { StorageError } from "../common/errors.js";
import type { Logger } from "../common/log.js";
import type { Clock } from "../common/ports.js";
import type { PgId } from "../common/units.js";
import type { OsdStats as CoreStats, NativePgStatus, OsdEvent } from "../native/index.js";
import type { ScrubPg } from "../proto/messages.js";
import type { OsdMap } from "../proto/osd-map.js";
import type { PgState } from "./peering/state.js";
import { ReadErrors } from "./read-errors.js";
import { type ScrubCore, ScrubService } from "./scrub/scrub-service.js";
import { type SnapTrimCore, SnapTrimService } from "./snaptrim/snap-trim-service.js";
import type { ReportInput } from "./stats.js";

export interface BackgroundPorts {
  self: number;
  core: ScrubCore & SnapTrimCore;
  log: Logger;
  clock: Clock;
  /** what a PG has to tell has changed */
  onChanged(): void;
  /** the disk is at its end: so is the OSD */
  onDiskFailed(error: StorageError): void;
}

export class Background {
  private readonly scrubs: ScrubService;
  private readonly trims: SnapTrimService;
  private readonly readErrors = new ReadErrors();

  constructor(private readonly ports: BackgroundPorts) {
    const { self, core, log, clock, onChanged } = ports;
    const common = { self, core, onChanged };
    this.scrubs = new ScrubService({
      ...common,
      log: log.child({ part: "scrub" }),
      wallMs: () => clock.wallMs(),
    });
    this.trims = new SnapTrimService({
      ...common,
      log: log.child({ part: "snaptrim" }),
      nowMs: () => clock.nowMs(),
    });
  }

  /** Before the native core goes on to this map. */
  beforeMap(map: OsdMap): void {
    this.trims.beforeMap(map);
  }

  /** What the PGs are by the newest map. @param isFull space is short */
  update(states: readonly PgState[], map: OsdMap, isFull: boolean): void {
    this.trims.update(states, map, isFull);
  }

  /** What the native core has of the PGs. */
  updateStored(states: readonly PgState[], statuses: readonly NativePgStatus[], map: OsdMap): void {
    this.scrubs.update(states, statuses, map);
  }

  /** The native core's counters, about once a second. */
  counted({ reads = 0, writes = 0, trimmedObjects = 0 }: CoreStats["counters"]): void {
    this.trims.countedClientOps(reads + writes - trimmedObjects);
  }

  /** To be called about once a second. */
  tick(): void {
    this.scrubs.tick();
    this.trims.tick();
  }

  /** The monitor passes on what somebody asks for. */
  onScrubCommand(command: ScrubPg): void {
    this.scrubs.onCommand(command);
  }

  /** An event of the native core. */
  onNativeEvent(event: OsdEvent): void {
    this.scrubs.onNativeEvent(event);
    this.trims.onNativeEvent(event);
    if (event.type === "readRepair") this.onReadRepair(event.damage);
  }

  /** What the report says of it. */
  report(): Pick<ReportInput, "scrubOf" | "snapTrimOf"> {
    return {
      scrubOf: (pgid: PgId) => this.scrubs.reportOf(pgid),
      snapTrimOf: (pgid: PgId) => this.trims.reportOf(pgid),
    };
  }

  private onReadRepair(damage: string): void {
    const { clock, log, onDiskFailed } = this.ports;
    const error = this.readErrors.met(damage, clock.nowMs());
    if (error === undefined) return;
    log.fatal({ code: error.code, reason: error.message }, "the disk cannot be read");
    onDiskFailed(error);
  }
}
