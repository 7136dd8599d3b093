// What an OSD tells the monitor of a peer that does not answer, and of one that answers again.
// Pure: from an event of the native heartbeat to the message.
import type { FailureReason, OsdFailure, OsdRecovered } from "../proto/messages.js";
import { findOsd, type OsdMap } from "../proto/osd-map.js";

const failureReasons: Readonly<Record<string, FailureReason>> = {
  heartbeat_timeout: "heartbeat_timeout",
  connection_refused: "connection_refused",
  loop_hung: "loop_stalled",
  disk_hung: "disk_stalled",
};

/** @returns undefined when the map does not show that life of the peer up: that is no news */
export function failureOf(
  map: OsdMap | undefined,
  reporter: number,
  target: number,
  incarnation: bigint,
  text: string,
): OsdFailure | undefined {
  const targetIncarnation = String(incarnation);
  const osd = map === undefined ? undefined : findOsd(map, target);
  if (map === undefined || !osd?.up || osd.incarnation !== targetIncarnation) return undefined;
  const reason = failureReasons[text] ?? "heartbeat_timeout";
  return { kind: "osdFailure", reporter, target, targetIncarnation, epoch: map.epoch, reason };
}

export function recoveryOf(reporter: number, target: number, incarnation: bigint): OsdRecovered {
  return { kind: "osdRecovered", reporter, target, targetIncarnation: String(incarnation) };
}
