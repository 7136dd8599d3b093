// Rates from two answers of the same process.
import { describe, expect, it } from "vitest";
import type { ActivitySource } from "./activity.js";
import { ActivityRates } from "./activity-rates.js";

const source = (more: Partial<ActivitySource>): ActivitySource => ({
  source: "1/image",
  description: "host1 pid 7",
  ...{ atMs: 0, reads: 0, readBytes: 0, readNs: 0, writes: 0, writeBytes: 0, writeNs: 0 },
  ...{ discards: 0, flushes: 0, errors: 0, throttled: 0, throttledNs: 0, inFlight: 0 },
  ...more,
});
const image = (...sources: ActivitySource[]) => [{ id: "a", name: "rbd/a", sources }];

describe("rates of activity", () => {
  it("are per second of the process's own clock, latencies means of the interval", () => {
    const rates = new ActivityRates();
    expect(rates.next(image(source({ atMs: 500, reads: 10, readNs: 9e9 })))).toEqual([]);
    const later = source({
      ...{ atMs: 2500, reads: 110, readBytes: 409_600, readNs: 9e9 + 2e8 },
      ...{ writes: 50, writeBytes: 204_800, writeNs: 1e8, inFlight: 3 },
    });
    const [row] = rates.next(image(later));
    expect(row).toMatchObject({ name: "rbd/a", users: ["host1 pid 7"], inFlight: 3 });
    expect(row).toMatchObject({ readIops: 50, writeIops: 25, iops: 75 });
    expect(row).toMatchObject({ readBytesPerS: 204_800, writeBytesPerS: 102_400 });
    expect(row).toMatchObject({ readLatencyMs: 2, writeLatencyMs: 2, latencyMs: 2 });
  });

  it("add up over all who have the image open", () => {
    const rates = new ActivityRates();
    const both = (atMs: number, reads: number) => [
      source({ atMs, reads }),
      source({ source: "2/image", description: "host2 pid 8", atMs: atMs + 7e6, reads: 3 * reads }),
    ];
    rates.next(image(...both(0, 0)));
    const [row] = rates.next(image(...both(1000, 10)));
    expect(row?.readIops).toBe(40);
    expect(row?.users).toEqual(["host1 pid 7", "host2 pid 8"]);
  });

  it("begin anew with a device that was opened anew", () => {
    const rates = new ActivityRates();
    rates.next(image(source({ atMs: 0, reads: 100 })));
    expect(rates.next(image(source({ atMs: 1000, reads: 5 })))).toEqual([]);
    const [row] = rates.next(image(source({ atMs: 2000, reads: 15 })));
    expect(row?.readIops).toBe(10);
    expect(rates.next([])).toEqual([]);
  });
});
