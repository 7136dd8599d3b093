// The scrubs of this OSD: feeds the scrub machine with what the PGs are, native events and
// commands, and does its effects on the native core.
import type { Logger } from "../../common/log.js";
import { type PgId, parsePgId, pgId } from "../../common/units.js";
import { type NativeOsd, type NativePgStatus, native, type OsdEvent } from "../../native/index.js";
import type { ScrubPg } from "../../proto/messages.js";
import type { OsdMap } from "../../proto/osd-map.js";
import { fenceObject } from "../../proto/pg-split.js";
import type { PgScrub } from "../../proto/scrub.js";
import { type PgState, primaryOf } from "../peering/state.js";
import {
  initialScrubState,
  type ScrubCandidate,
  type ScrubEffect,
  type ScrubEvent,
  type ScrubState,
  step,
} from "./machine.js";
import { decodeScrubRecord, encodeScrubRecord, type Owns } from "./record.js";
import { type ScrubSettings, scrubSettings } from "./settings.js";

/** What this needs of the native core. */
export type ScrubCore = Pick<NativeOsd, "startScrub" | "stopScrub" | "setScrubRecord">;

export interface ScrubServicePorts {
  self: number;
  core: ScrubCore;
  log: Logger;
  wallMs(): number;
  /** what a PG's scrub has to tell has changed */
  onChanged(): void;
}

export class ScrubService {
  private state: ScrubState = initialScrubState;
  private settings: ScrubSettings | undefined;

  constructor(private readonly ports: ScrubServicePorts) {}

  /** What the PGs are now; then scrubs may begin. */
  update(states: readonly PgState[], statuses: readonly NativePgStatus[], map: OsdMap): void {
    const stored = new Map(statuses.map((status) => [pgId(status.pool, status.seed), status]));
    const pgs = states
      .filter((state) => primaryOf(state.interval) === this.ports.self)
      .flatMap((state): ScrubCandidate[] => {
        const status = stored.get(state.pgid);
        if (status === undefined) return [];
        const isWhole =
          state.name === "Clean" || (state.name === "Active" && state.missingCount === 0);
        const record = decodeScrubRecord(status.scrubRecord);
        const { pgid, interval } = state;
        return [{ pgid, interval: interval.first, isWhole, record, owns: ownsOf(status) }];
      });
    this.handle({ kind: "pgs", pgs });
    this.settings = scrubSettings(map);
    this.tick();
  }

  /** To be called about once a second. */
  tick(): void {
    if (this.settings !== undefined) this.handle({ kind: "tick", settings: this.settings });
  }

  /** The monitor passes on what somebody asks for. */
  onCommand({ pgid, mode, request }: ScrubPg): void {
    this.handle({ kind: "command", pgid, mode, request });
  }

  /** An event of the native core. */
  onNativeEvent(event: OsdEvent): void {
    switch (event.type) {
      case "scrubObject": {
        const { scrub, object, repaired, good, bad } = event;
        this.handle({ kind: "object", scrub, found: { object, repaired, good, bad } });
        break;
      }
      case "scrubProgress": {
        const { scrub, after, objects, bytes } = event;
        this.handle({ kind: "progress", scrub, after, objects, bytes });
        break;
      }
      case "scrubDone": {
        const { scrub, error } = event;
        this.handle({ kind: "done", scrub, ...(error === undefined ? {} : { code: error.code }) });
        if (error !== undefined) break;
        this.tick();
        this.ports.onChanged();
        break;
      }
      case "readRepair": {
        const { object, damage, error } = event;
        const fields = { pgid: pgId(event.pool, event.seed), object, damage };
        if (error === undefined) this.ports.log.warn(fields, "read repair: bad copy replaced");
        else this.ports.log.error({ ...fields, code: error.code }, "read repair failed");
        break;
      }
      default:
        break;
    }
  }

  /** What the primary reports of a PG; undefined: it is not known yet. */
  reportOf(pgid: PgId): PgScrub | undefined {
    const entry = this.state.pgs.get(pgid);
    if (entry === undefined) return undefined;
    const { running } = this.state;
    const { lastMs, lastDeepMs, copyErrors, blockErrors, objects } = entry.record;
    return {
      lastMs,
      lastDeepMs,
      errors: copyErrors + blockErrors,
      objects,
      ...(running?.pgid === pgid ? { running: running.job.mode } : {}),
      finished: [...entry.finished],
    };
  }

  private handle(event: ScrubEvent): void {
    const { state, effects } = step(this.state, event, this.ports.wallMs());
    this.state = state;
    for (const effect of effects) this.perform(effect);
  }

  private perform(effect: ScrubEffect): void {
    const { core, log } = this.ports;
    if (effect.kind === "log") {
      log[effect.level](effect.fields, effect.text);
      return;
    }
    const { pool, seed } = parsePgId(effect.pgid);
    const { interval } = effect;
    switch (effect.kind) {
      case "start": {
        const { scrub, mode, after, bytesPerSecond } = effect;
        const deep = mode !== "scrub";
        const spec = { scrub, deep, repair: mode === "repair", after, bytesPerSecond };
        core.startScrub(pool, seed, interval, spec);
        break;
      }
      case "stop":
        core.stopScrub(pool, seed, interval);
        break;
      case "store":
        core.setScrubRecord(pool, seed, interval, encodeScrubRecord(effect.record));
        break;
    }
  }
}

function ownsOf({ seed, pgNum }: NativePgStatus): Owns {
  return (object) =>
    pgNum === 0 || object === fenceObject || native.objectPgSeed(object, pgNum) === seed;
}
