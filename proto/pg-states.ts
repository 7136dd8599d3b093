// The words that a PG's state is made of, joined by "+": those that its primary reports
// (osd/stats.ts) and those of the monitor (monitor/services/pg-stats.ts).

export const pgStateWords = [
  "activating",
  "active",
  "backfill_toofull",
  "backfill_wait",
  "clean",
  "deep",
  "degraded",
  "down",
  "inconsistent",
  "peered",
  "peering",
  "recovering",
  "recovery_toofull",
  "recovery_unfound",
  "recovery_wait",
  "repair",
  "scrubbing",
  "snaptrim",
  "snaptrim_wait",
  "stale",
  "undersized",
  "unknown",
] as const;
