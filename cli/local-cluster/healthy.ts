// When `cairn up` has nothing more to wait for. Pure.
import type { ClusterStatus } from "../../proto/commands.js";

/** Warnings that waiting does not end: an operator's flag, or a disk that is slow or filling. */
const standingWarnings: ReadonlySet<string> = new Set([
  "OSDMAP_FLAGS",
  "OSD_SLOW",
  "SLOW_OPS",
  "OSD_NEARFULL",
  "OSD_BACKFILLFULL",
]);

export function isHealthy({ health, pgs }: Pick<ClusterStatus, "health" | "pgs">): boolean {
  const others = health.checks.filter(({ name }) => !standingWarnings.has(name));
  return others.length === 0 && (pgs.byState["active+clean"] ?? 0) === pgs.total;
}
