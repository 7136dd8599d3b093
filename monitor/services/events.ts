// What the monitor's services react to and what they ask for: the vocabulary of their
// step(state, event, context) -> effects. Nothing here does anything.
import type { LogLevel } from "../../common/config.js";
import type { StorageError } from "../../common/errors.js";
import type {
  OsdAlive,
  OsdBoot,
  OsdFailure,
  OsdMarkMeDown,
  OsdRecovered,
  OsdStats,
  OsdStoreFailed,
  PgTemp,
} from "../../proto/messages.js";
import type { MapChanges, OsdMap } from "../../proto/osd-map.js";

/** What every step sees besides its own state. */
export interface StepContext {
  /**
   * The map being made: the newest epoch with the changes already agreed on for the next one. Its
   * epoch is that next epoch, which all changes of this step will be part of.
   */
  map: OsdMap;
  /** monotonic */
  nowMs: number;
}

export type MonitorEvent =
  | OsdBoot
  | OsdAlive
  | OsdFailure
  | OsdRecovered
  | OsdMarkMeDown
  | OsdStoreFailed
  | OsdStats
  | PgTemp
  /** an OSD's connection to the monitor has finished its handshake, or is gone */
  | { kind: "osdConnected"; osd: number; incarnation: string }
  | { kind: "osdDisconnected"; osd: number; incarnation: string }
  /** commands of the operator */
  | { kind: "osdOut"; osd: number }
  | { kind: "osdIn"; osd: number }
  | { kind: "osdDown"; osd: number }
  /** a deadline that a service asked for may have come */
  | { kind: "tick" };

export type Effect =
  /** becomes part of the next epoch */
  | { kind: "change"; changes: MapChanges }
  /** handle the event again when the next epoch has been made */
  | { kind: "retry"; event: MonitorEvent }
  /** this OSD must not run: tell it and close its connection */
  | { kind: "refuse"; osd: number; error: StorageError }
  /** send it the newest maps again: it does not know that it is down, or up */
  | { kind: "resendMaps"; osd: number }
  | { kind: "log"; level: LogLevel; message: string; fields: Record<string, unknown> };

/** The effect that writes a log line. */
export function logEffect(
  level: LogLevel,
  message: string,
  fields: Record<string, unknown> = {},
): Effect {
  return { kind: "log", level, message, fields };
}
