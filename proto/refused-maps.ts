// Maps that a daemon could not take (gaps, forks, damage, rules that nothing can be placed by),
// counted by the code of what is wrong with them. Pure.
import type { ErrorCode } from "../common/errors.js";

/** The names of the counters in reports begin so; behind it is the code. */
export const refusedMapsPrefix = "refused_maps_";

export class RefusedMaps {
  private readonly times = new Map<ErrorCode, number>();

  add(code: ErrorCode): void {
    this.times.set(code, (this.times.get(code) ?? 0) + 1);
  }

  /** As counters of a report. */
  counters(): Record<string, number> {
    const named = [...this.times].map(([code, times]) => [`${refusedMapsPrefix}${code}`, times]);
    return Object.fromEntries(named);
  }
}
