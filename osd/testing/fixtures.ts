// Values for tests.
import type { PgInfo } from "../../proto/peering.js";

/** A PgInfo of an empty copy, with other values in it. */
export function testInfo(overrides: Partial<PgInfo>): PgInfo {
  return {
    lastUpdate: [0, 0],
    logTail: 0,
    lastEpochStarted: 0,
    missingCount: 0,
    leaseMs: 0,
    leaseHolder: -1,
    ...overrides,
  };
}
