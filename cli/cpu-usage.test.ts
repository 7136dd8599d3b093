// CPU time between two readings, and what is not known of it.
import { describe, expect, it } from "vitest";
import { cpuUsage, type Reading } from "./cpu-usage.js";

const before: Reading = {
  clientUs: 100,
  osds: new Map([
    ["osd.0", { life: "10 1", cpuUs: 1000 }],
    ["osd.1", { life: "11 1", cpuUs: 2000 }],
  ]),
  monitor: new Map([["mon", { life: "9 1", cpuUs: 50 }]]),
};
const readingOf = (osds: Reading["osds"]): Reading => ({
  clientUs: 150,
  osds,
  monitor: new Map([["mon", { life: "9 1", cpuUs: 57 }]]),
});

describe("cpuUsage", () => {
  it("is what was used between two readings", () => {
    const osds = new Map([
      ["osd.0", { life: "10 1", cpuUs: 1300 }],
      ["osd.1", { life: "11 1", cpuUs: 2004 }],
    ]);
    expect(cpuUsage(before, readingOf(osds), "proc")).toEqual({
      client: 50,
      osds: 304,
      monitor: 7,
      source: "proc",
      notes: [],
    });
  });

  it("is not known of daemons that were restarted, that ended or that began", () => {
    const restarted = new Map([
      ["osd.0", { life: "10 77", cpuUs: 30 }],
      ["osd.1", { life: "11 1", cpuUs: 2004 }],
    ]);
    expect(cpuUsage(before, readingOf(restarted), "proc")).toMatchObject({
      client: 50,
      osds: null,
      monitor: 7,
      notes: ["osd.0 did not run all the time: its CPU time is not known"],
    });
    const ended = new Map([["osd.0", { life: "10 1", cpuUs: 1300 }]]);
    expect(cpuUsage(before, readingOf(ended), "proc").notes).toHaveLength(1);
    const begun = cpuUsage(readingOf(ended), before, "reports");
    expect(begun).toMatchObject({ osds: null, source: "reports" });
  });
});
