// What `cairn up` waits for, and what it does not.
import { describe, expect, it } from "vitest";
import { isHealthy } from "./healthy.js";

function status(names: readonly string[], clean: number) {
  const checks = names.map((name) => ({
    name,
    severity: "HEALTH_WARN" as const,
    summary: name,
    remedy: "",
    detail: [],
  }));
  const level = checks.length === 0 ? ("HEALTH_OK" as const) : ("HEALTH_WARN" as const);
  return {
    health: { status: level, checks },
    pgs: { total: 32, byState: { "active+clean": clean } },
  };
}

describe("a cluster is healthy enough for `cairn up`", () => {
  it("when nothing is left that waiting would end", () => {
    expect(isHealthy(status([], 32))).toBe(true);
    expect(isHealthy(status(["OSDMAP_FLAGS", "OSD_SLOW"], 32))).toBe(true);
  });

  it("not while PGs or OSDs are on their way", () => {
    expect(isHealthy(status([], 31))).toBe(false);
    expect(isHealthy(status(["OSDMAP_FLAGS", "OSD_DOWN"], 32))).toBe(false);
  });
});
