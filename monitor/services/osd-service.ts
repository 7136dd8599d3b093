// The OSD service: which OSDs exist, are up, are in. Pure: step() changes its state object and
// returns effects.
//
// Invariants: an OSD goes up or down at most once in an epoch (what comes sooner is retried in the
// next one); a restarted OSD, which has a new incarnation, is shown down before it is shown up
// again, so that its PGs see a new interval; an id belongs to one store uuid for ever.
// Failure reports are the failure detector's.
import { StorageError } from "../../common/errors.js";
import { type Epoch, epoch, noEpoch } from "../../common/units.js";
import { hasFlag } from "../../proto/map-flags.js";
import type { OsdAlive, OsdBoot, OsdMarkMeDown, OsdStoreFailed } from "../../proto/messages.js";
import {
  findOsd,
  fullWeight,
  type MapChanges,
  type OsdInfo,
  type OsdMap,
} from "../../proto/osd-map.js";
import { failureDomainOf } from "./config-service.js";
import { type Effect, logEffect, type MonitorEvent, type StepContext } from "./events.js";
import { changesUp, downRecord, isReturn } from "./osd-record.js";

export interface OsdServiceOptions {
  /** a down OSD is marked out after this long; 0: never */
  downOutIntervalMs: number;
  /** no OSD is marked out automatically when fewer than this share is in (Ceph's default) */
  minInRatio: number;
  /** the text CRUSH map of these OSDs */
  buildCrush(osds: readonly OsdInfo[], failureDomain: string): string;
}

/** How often an OSD came back that was marked down although it ran. */
interface Returns {
  count: number;
  lastMs: number;
}

export interface OsdServiceState {
  /** since when each OSD that is down and in has been seen so */
  readonly downSinceMs: Map<number, number>;
  readonly returns: Map<number, Returns>;
  /** boots that wait for their back-off */
  readonly heldBoots: Map<number, { boot: OsdBoot; notBeforeMs: number }>;
}

/** The state of a monitor that has just started. */
export function initialOsdState(): OsdServiceState {
  return { downSinceMs: new Map(), returns: new Map(), heldBoots: new Map() };
}

/** An OSD that was marked down wrongly may return at once, then after 1 s, 2 s, 4 s ... 60 s. */
const firstBackoffMs = 1000;
const maxBackoffMs = 60_000;
/** Without a wrong mark-down for this long its count starts anew. */
const forgetReturnsMs = 300_000;

/** @returns what has to happen because of the event; nothing for events of other services */
export function stepOsd(
  state: OsdServiceState,
  event: MonitorEvent,
  context: StepContext,
  options: OsdServiceOptions,
): Effect[] {
  switch (event.kind) {
    case "osdBoot":
      return boot(state, event, context, options);
    case "osdAlive":
      return alive(event, context);
    case "osdMarkMeDown":
      return markMeDown(event, context);
    case "osdStoreFailed":
      return storeFailed(event, context);
    case "osdDisconnected":
      state.heldBoots.delete(event.osd);
      return [];
    case "osdOut":
      return setIn(event.osd, false, context);
    case "osdIn":
      return setIn(event.osd, true, context);
    case "osdDown":
      return commandedDown(event.osd, context);
    case "tick":
      return [...releaseBoots(state, context, options), ...outLongDown(state, context, options)];
    default:
      return [];
  }
}

/** When the next tick has something to do; undefined: never, as things are. */
export function osdDeadlineMs(
  state: OsdServiceState,
  map: OsdMap,
  options: OsdServiceOptions,
): number | undefined {
  const held = [...state.heldBoots.values()].map(({ notBeforeMs }) => notBeforeMs);
  const outs = mayMarkOut(map, options)
    ? [...state.downSinceMs]
        .filter(([id]) => waitsForOut(map, id))
        .map(([, sinceMs]) => sinceMs + options.downOutIntervalMs)
    : [];
  const all = [...held, ...outs];
  return all.length === 0 ? undefined : Math.min(...all);
}

/** Takes notice of which OSDs are down and in. To be called with each new map. */
export function observeDown(state: OsdServiceState, map: OsdMap, nowMs: number): void {
  const waiting = map.osds.map(({ id }) => id).filter((id) => waitsForOut(map, id));
  for (const id of state.downSinceMs.keys()) {
    if (!waiting.includes(id)) state.downSinceMs.delete(id);
  }
  for (const id of waiting) if (!state.downSinceMs.has(id)) state.downSinceMs.set(id, nowMs);
}

function waitsForOut(map: OsdMap, id: number): boolean {
  const osd = findOsd(map, id);
  return osd?.up === false && osd.in;
}

// ---- boot

function boot(
  state: OsdServiceState,
  event: OsdBoot,
  context: StepContext,
  options: OsdServiceOptions,
): Effect[] {
  const { map } = context;
  const refusal = bootRefusal(event, map);
  if (refusal !== undefined) return [{ kind: "refuse", osd: event.osd, error: refusal }];
  const before = findOsd(map, event.osd);
  if (before?.up && before.incarnation === event.incarnation) {
    return [{ kind: "resendMaps", osd: event.osd }];
  }
  if (hasFlag(map, "noup")) return [logEffect("warn", "boot ignored: noup is set", event)];
  if (before !== undefined && changesUp(before, map)) return [{ kind: "retry", event }];
  if (before?.up) {
    const changes: MapChanges = { osds: [downRecord(before, map.epoch)] };
    const fields = { osd: event.osd, incarnation: event.incarnation };
    return [
      { kind: "change", changes },
      { kind: "retry", event },
      logEffect("info", "OSD restarted: marked down first", fields),
    ];
  }
  const notBeforeMs = before === undefined ? 0 : backoffEndMs(state, event, before, context.nowMs);
  if (notBeforeMs > context.nowMs) {
    state.heldBoots.set(event.osd, { boot: event, notBeforeMs });
    const waitMs = notBeforeMs - context.nowMs;
    return [logEffect("warn", "boot held back: it keeps going down", { osd: event.osd, waitMs })];
  }
  if (isReturn(before, event)) countReturn(state, event.osd, context.nowMs);
  state.heldBoots.delete(event.osd);
  try {
    return comeUp(event, before, context, options);
  } catch (thrown) {
    // No CRUSH map can be built with it: a host named like another bucket, too many items.
    if (!(thrown instanceof StorageError)) throw thrown;
    return [{ kind: "refuse", osd: event.osd, error: thrown }];
  }
}

/** Why the OSD that says this can't be the one of that id; undefined: it can. */
export function bootRefusal(event: OsdBoot, map: OsdMap): StorageError | undefined {
  const known = findOsd(map, event.osd);
  if (known !== undefined && known.uuid !== event.uuid) {
    return new StorageError(
      "wrong_daemon",
      `osd.${event.osd} of this cluster has the store ${known.uuid}, not ${event.uuid}`,
      { remedy: "Start it on its own store, or give the new store another OSD id." },
    );
  }
  const twin = map.osds.find((osd) => osd.uuid === event.uuid && osd.id !== event.osd);
  if (twin !== undefined) {
    return new StorageError(
      "wrong_daemon",
      `the store ${event.uuid} is that of osd.${twin.id}, not of osd.${event.osd}`,
      { remedy: `Start it with the id ${twin.id}.` },
    );
  }
  if (event.address.port === 0) {
    return new StorageError("invalid_argument", `osd.${event.osd} reports port 0`);
  }
  return undefined;
}

/** 0 unless it was marked down while it was alive, and that more than once lately. */
function backoffEndMs(
  state: OsdServiceState,
  event: OsdBoot,
  before: OsdInfo,
  nowMs: number,
): number {
  const returns = state.returns.get(event.osd);
  if (returns === undefined || !isReturn(before, event)) return 0;
  if (nowMs - returns.lastMs > forgetReturnsMs) return 0;
  return returns.lastMs + Math.min(firstBackoffMs * 2 ** returns.count, maxBackoffMs);
}

function countReturn(state: OsdServiceState, osd: number, nowMs: number): void {
  const before = state.returns.get(osd);
  const recent = before !== undefined && nowMs - before.lastMs <= forgetReturnsMs;
  state.returns.set(osd, { count: recent ? before.count + 1 : 0, lastMs: nowMs });
}

function comeUp(
  event: OsdBoot,
  before: OsdInfo | undefined,
  context: StepContext,
  options: OsdServiceOptions,
): Effect[] {
  const { map } = context;
  const reported = {
    id: event.osd,
    uuid: event.uuid,
    address: event.address,
    incarnation: event.incarnation,
    sizeBytes: event.sizeBytes,
    host: event.host,
    deviceClass: event.deviceClass,
    up: true,
    upFrom: map.epoch,
  };
  const after: OsdInfo =
    before === undefined
      ? {
          ...reported,
          in: !hasFlag(map, "noin"),
          weight: fullWeight,
          upThru: noEpoch,
          downAt: noEpoch,
        }
      : { ...backIn(before, map), ...reported };
  const changes: MapChanges = { osds: [after], maxOsd: Math.max(map.maxOsd, event.osd + 1) };
  if (before === undefined || isElsewhere(before, after)) {
    const others = map.osds.filter((osd) => osd.id !== after.id);
    const osds = [...others, after].sort((a, b) => a.id - b.id);
    changes.crush = options.buildCrush(osds, failureDomainOf(map.config));
  }
  const fields = { osd: event.osd, incarnation: event.incarnation, epoch: map.epoch };
  return [{ kind: "change", changes }, logEffect("info", "OSD is up", fields)];
}

/** The record of an OSD that comes up again: whatever was wrong with its disk is seen anew. */
function backIn(osd: OsdInfo, map: OsdMap): OsdInfo {
  const { slow: _slow, failed: _failed, ...kept } = osd;
  if (hasFlag(map, "noin")) return kept;
  const { autoOut, ...rest } = kept;
  return autoOut ? { ...rest, in: true } : rest;
}

function isElsewhere(before: OsdInfo, after: OsdInfo): boolean {
  return (
    before.host !== after.host ||
    before.deviceClass !== after.deviceClass ||
    before.sizeBytes !== after.sizeBytes
  );
}

function releaseBoots(
  state: OsdServiceState,
  context: StepContext,
  options: OsdServiceOptions,
): Effect[] {
  const due = [...state.heldBoots.values()].filter((held) => held.notBeforeMs <= context.nowMs);
  return due.flatMap((held) => boot(state, held.boot, context, options));
}

// ---- while it is up

function alive(event: OsdAlive, { map }: StepContext): Effect[] {
  const osd = findOsd(map, event.osd);
  if (osd === undefined || !osd.up) return [{ kind: "resendMaps", osd: event.osd }];
  const published = map.epoch - 1;
  const reached = Math.min(Math.max(event.wantUpThru, event.epoch), published);
  if (reached <= osd.upThru) return [{ kind: "resendMaps", osd: event.osd }];
  return [{ kind: "change", changes: { osds: [{ ...osd, upThru: epoch(reached) }] } }];
}

function markMeDown(event: OsdMarkMeDown, { map }: StepContext): Effect[] {
  const osd = findOsd(map, event.osd);
  if (osd === undefined || !osd.up || osd.incarnation !== event.incarnation) {
    return [{ kind: "resendMaps", osd: event.osd }];
  }
  if (changesUp(osd, map)) return [{ kind: "retry", event }];
  const clean: { lastCleanBegin: Epoch; lastCleanEnd: Epoch } = {
    lastCleanBegin: osd.upFrom,
    lastCleanEnd: map.epoch,
  };
  return [
    { kind: "change", changes: { osds: [{ ...downRecord(osd, map.epoch), ...clean }] } },
    logEffect("info", "OSD stopped cleanly", { osd: event.osd, epoch: map.epoch }),
  ];
}

/** The OSD itself says so: not even nodown keeps it up. */
function storeFailed(event: OsdStoreFailed, { map }: StepContext): Effect[] {
  const osd = findOsd(map, event.osd);
  if (osd === undefined || !osd.up || osd.incarnation !== event.incarnation) return [];
  if (changesUp(osd, map)) return [{ kind: "retry", event }];
  const { code, message } = event.error;
  const failed = { code, message: message.slice(0, 1024) };
  return [
    { kind: "change", changes: { osds: [{ ...downRecord(osd, map.epoch), failed }] } },
    logEffect("error", "an OSD's store has failed", { osd: osd.id, code, reason: message }),
  ];
}

function setIn(id: number, isIn: boolean, { map }: StepContext): Effect[] {
  const osd = findOsd(map, id);
  if (osd === undefined || (osd.in === isIn && !osd.autoOut)) return [];
  const { autoOut: _, ...rest } = osd;
  return [
    { kind: "change", changes: { osds: [{ ...rest, in: isIn }] } },
    logEffect("info", `OSD marked ${isIn ? "in" : "out"} by command`, { osd: id }),
  ];
}

function commandedDown(id: number, { map }: StepContext): Effect[] {
  const osd = findOsd(map, id);
  if (osd === undefined || !osd.up) return [];
  if (changesUp(osd, map)) return [{ kind: "retry", event: { kind: "osdDown", osd: id } }];
  return [
    { kind: "change", changes: { osds: [downRecord(osd, map.epoch)] } },
    logEffect("warn", "OSD marked down by command", { osd: id, epoch: map.epoch }),
  ];
}

// ---- down for long

/**
 * True when the map allows to mark one more OSD out: data moves away from it then. In a small
 * cluster the ratio stops that after the first, since the rest has no room to take over.
 */
function mayMarkOut(map: OsdMap, options: OsdServiceOptions): boolean {
  const inCount = map.osds.filter((osd) => osd.in).length;
  const ratio = inCount / Math.max(1, map.osds.length);
  return options.downOutIntervalMs > 0 && !hasFlag(map, "noout") && ratio >= options.minInRatio;
}

function outLongDown(
  state: OsdServiceState,
  { map, nowMs }: StepContext,
  options: OsdServiceOptions,
): Effect[] {
  if (!mayMarkOut(map, options)) return [];
  const longest = [...state.downSinceMs]
    .filter(([id, sinceMs]) => {
      return waitsForOut(map, id) && nowMs - sinceMs >= options.downOutIntervalMs;
    })
    .sort(([, a], [, b]) => a - b)[0];
  const osd = longest && findOsd(map, longest[0]);
  if (osd === undefined) return [];
  return [
    { kind: "change", changes: { osds: [{ ...osd, in: false, autoOut: true }] } },
    { kind: "retry", event: { kind: "tick" } },
    logEffect("warn", "OSD marked out: down for long", { osd: osd.id }),
  ];
}
