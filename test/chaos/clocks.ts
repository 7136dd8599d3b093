// The clock of the histories, read in the runner.
import { readFileSync } from "node:fs";

/** CLOCK_BOOTTIME, as the histories have it: the monotonic clock and the time asleep. */
export function bootTimeNs(): number {
  return Number(process.hrtime.bigint()) + sleptNs;
}

/** /proc/uptime has hundredths of a second: less than one is the rounding. */
const sleptNs = (() => {
  const uptimeNs = Number(readFileSync("/proc/uptime", "utf8").split(" ", 1)[0]) * 1e9;
  const differenceNs = uptimeNs - Number(process.hrtime.bigint());
  return Math.abs(differenceNs) < 1e9 ? 0 : differenceNs;
})();
