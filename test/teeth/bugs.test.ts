// The list of planted bugs is the one in the core, and an outcome is read as what it is.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { plantedBugs } from "./bugs.js";
import { hunters } from "./hunters.js";

const root = join(fileURLToPath(import.meta.url), "../../..");

describe("the planted bugs", () => {
  it("are those of the core, at least twelve, each with somebody to catch it", () => {
    const source = readFileSync(join(root, "native/core/base/planted_bug.cc"), "utf8");
    const inCore = [...source.matchAll(/return "(\w+)";/g)].map(([, name]) => name);
    expect(plantedBugs.map(({ name }) => name).sort()).toEqual(inCore.sort());
    expect(plantedBugs.length).toBeGreaterThanOrEqual(12);
    for (const { hunters: names } of plantedBugs) expect(names.length).toBeGreaterThan(0);
  });
});

describe("an outcome", () => {
  it("is a catch only with a finding", () => {
    const { explore, chaos, fsx, "fuzz-virtqueue": fuzz } = hunters;
    for (const { outcome } of [chaos, fsx]) {
      expect(outcome(1, "FINDING fought/31: stale write")).toBe("caught");
      expect(outcome(1, "chaos: ip is not installed")).toBe("broken");
    }
    expect(explore.outcome(1, "FINDING a block is lost")).toBe("caught");
    expect(explore.outcome(1, "cannot open")).toBe("broken");
    expect(explore.outcome(2, "FINDING")).toBe("broken");
    expect(explore.outcome(0, "")).toBe("clean");
    expect(fuzz.outcome(77, "SUMMARY: AddressSanitizer: SEGV")).toBe("caught");
    expect(fuzz.outcome(1, "no such file")).toBe("broken");
  });
});
