// The trimming of removed snapshots on this OSD: tells the native core which snapshots are removed,
// feeds the machine with maps, PGs and native events, and does its effects on the native core.
import type { Logger } from "../../common/log.js";
import { type PgId, parsePgId } from "../../common/units.js";
import type { NativeOsd, OsdEvent } from "../../native/index.js";
import type { OsdMap } from "../../proto/osd-map.js";
import { type PgState, primaryOf } from "../peering/state.js";
import {
  initialTrimState,
  reportOf,
  step,
  type TrimCandidate,
  type TrimEffect,
  type TrimEvent,
  type TrimState,
} from "./machine.js";
import { trimmedPools, trimSettings } from "./settings.js";

/** What this needs of the native core. */
export type SnapTrimCore = Pick<NativeOsd, "setRemovedSnaps" | "startSnapTrim" | "stopSnapTrim">;

export interface SnapTrimServicePorts {
  self: number;
  core: SnapTrimCore;
  log: Logger;
  /** monotonic */
  nowMs(): number;
  /** what a PG's trim has to tell has changed */
  onChanged(): void;
}

/** Objects of one PG whose change is under way. */
const objectsInFlight = 8;

export class SnapTrimService {
  private state: TrimState = initialTrimState;
  /** what the native core was told last */
  private told = "[]";
  private counted: { total: number; atMs: number } | undefined;

  constructor(private readonly ports: SnapTrimServicePorts) {}

  /**
   * Before the native core goes on to this map: who sends an operation by it may rely on a removed
   * snapshot getting no new clone.
   */
  beforeMap(map: OsdMap): void {
    const pools = [...trimmedPools(map)].map(([pool, { removed, purged }]) => ({
      pool,
      snaps: [...removed],
      runs: purged.flat(),
    }));
    const told = JSON.stringify(pools);
    if (told === this.told) return;
    this.told = told;
    this.ports.core.setRemovedSnaps(pools);
  }

  /**
   * What the map and the PGs are now.
   * @param isFull space is short: PGs whose copies are not all whole are trimmed, too
   */
  update(states: readonly PgState[], map: OsdMap, isFull: boolean): void {
    const pgs = states
      .filter((state) => primaryOf(state.interval) === this.ports.self)
      .map(({ pgid, name, interval }): TrimCandidate => {
        const serves = name === "Active" || name === "Recovering";
        const isReady = name === "Clean" || (isFull && serves);
        return { pgid, interval: interval.first, isReady };
      });
    this.handle({ kind: "pgs", pgs });
    this.handle({ kind: "map", pools: trimmedPools(map), settings: trimSettings(map, isFull) });
  }

  /** How many operations of clients there have been so far; to be told about once a second. */
  countedClientOps(total: number): void {
    const atMs = this.ports.nowMs();
    const { total: before, atMs: beforeMs } = this.counted ?? { total, atMs };
    this.counted = { total, atMs };
    if (atMs <= beforeMs) return;
    const clientOpsPerSecond = Math.max(0, ((total - before) * 1000) / (atMs - beforeMs));
    this.handle({ kind: "load", clientOpsPerSecond });
  }

  /** To be called about once a second. */
  tick(): void {
    this.handle({ kind: "tick" });
  }

  /** An event of the native core. */
  onNativeEvent(event: OsdEvent): void {
    if (event.type !== "snapTrimDone") return;
    const { trim, error } = event;
    this.handle({ kind: "done", trim, ...(error === undefined ? {} : { code: error.code }) });
  }

  /** @see reportOf */
  reportOf(pgid: PgId): ReturnType<typeof reportOf> {
    return reportOf(this.state, pgid);
  }

  private handle(event: TrimEvent): void {
    const { state, effects } = step(this.state, event, this.ports.nowMs());
    this.state = state;
    for (const effect of effects) this.perform(effect);
  }

  private perform(effect: TrimEffect): void {
    const { core, log } = this.ports;
    switch (effect.kind) {
      case "start": {
        const { pool, seed } = parsePgId(effect.pgid);
        const { interval, trim, removed, objectsPerSecond } = effect;
        const spec = {
          trim,
          removed: [...removed],
          maxInFlight: objectsInFlight,
          objectsPerSecond,
        };
        core.startSnapTrim(pool, seed, interval, spec);
        this.ports.onChanged();
        break;
      }
      case "stop": {
        const { pool, seed } = parsePgId(effect.pgid);
        core.stopSnapTrim(pool, seed, effect.interval);
        break;
      }
      case "changed":
        this.ports.onChanged();
        break;
      case "log":
        log[effect.level](effect.fields, effect.text);
        break;
    }
  }
}
