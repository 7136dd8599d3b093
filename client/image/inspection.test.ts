// What processes that have an image open tell others: activity and traces.
import { describe, expect, it } from "vitest";
import type { NativeHistogram, NativeTrace, NativeTraceDirection } from "../../native/binding.js";
import { FakeCluster } from "../testing/fake-cluster.js";
import { imageActivity, traceImage } from "./activity.js";
import { figuresOf, percentileNs } from "./inspection-record.js";
import { decodeReply, encodeReply } from "./lock-record.js";
import { openLocked } from "./open-locked.js";

const histogram = (...values: number[]): NativeHistogram => {
  const boundsNs = [...new Set(values)].sort((a, b) => a - b);
  return {
    boundsNs,
    counts: boundsNs.map((bound) => values.filter((value) => value === bound).length),
    count: values.length,
    sumNs: values.reduce((sum, value) => sum + value, 0),
    maxNs: Math.max(0, ...values),
  };
};

const direction = (...totals: number[]): NativeTraceDirection => ({
  total: histogram(...totals),
  stages: {
    queue: histogram(),
    client: histogram(),
    network: histogram(...totals),
    primaryQueue: histogram(),
    primary: histogram(),
    disk: histogram(),
    replicas: histogram(),
  },
  replica: histogram(),
  replicaCommit: histogram(),
});

async function inUse() {
  const cluster = new FakeCluster();
  const user = cluster.client();
  const { id } = await user.images.create("a", 2 ** 24);
  const image = await openLocked(user.images, "a");
  const asker = cluster.client();
  return { cluster, id, image, io: user.io, user, scope: asker.images.scope };
}

describe("activity of an image", () => {
  it("is told by who has it open, lock or no lock", async () => {
    const { io, image, id, scope, user } = await inUse();
    io.statistics.set(image.handle, {
      counters: { reads: 5, readBytes: 20_480, inFlight: 2 },
      histograms: { read: histogram(10, 20) },
    });
    const [found, ...others] = await imageActivity(scope, id);
    expect(others).toEqual([]);
    const { description } = user.images.scope.cluster;
    expect(found).toMatchObject({ description, reads: 5, readNs: 30, writes: 0, inFlight: 2 });
    await image.close();
    expect(await imageActivity(scope, id)).toEqual([]);
  });

  it("of an image that is gone is none", async () => {
    const { scope } = await inUse();
    expect(await imageActivity(scope, "0123456789abcdef")).toEqual([]);
  });
});

describe("a trace of an image", () => {
  it("is asked for once, and fetched when it is over", async () => {
    const { cluster, io, id, scope } = await inUse();
    const traced = traceImage(scope, id, { durationMs: 2000, every: 10 });
    await cluster.pass(1000);
    expect(io.traces.map(({ options }) => options)).toEqual([{ durationMs: 2000, every: 10 }]);
    await cluster.pass(1200);
    const [reads, writes] = [direction(), direction(100, 300)];
    const trace: NativeTrace = { reads, writes, discards: direction(7), flushes: direction() };
    io.traces[0]?.end(trace);
    await cluster.pass(500);
    const [found] = await traced;
    expect(found?.writes.total).toMatchObject({ count: 2, meanNs: 200, p99Ns: 300, maxNs: 300 });
    expect(found?.reads.total.count).toBe(0);
    expect(found?.discards?.total).toMatchObject({ count: 1, meanNs: 7 });
    expect(found?.flushes).toBeUndefined();
    expect(io.traces).toHaveLength(1);
  });

  it("of an image that nobody has open is refused", async () => {
    const { image, id, scope } = await inUse();
    await image.close();
    const traced = traceImage(scope, id, { durationMs: 1, every: 1 });
    await expect(traced).rejects.toMatchObject({ code: "not_found" });
  });

  it("is refused when too many run", async () => {
    const { cluster, id, scope } = await inUse();
    const options = { durationMs: 1000, every: 1 };
    const running = Array.from({ length: 4 }, () => traceImage(scope, id, options));
    for (const trace of running) trace.catch(() => undefined);
    await cluster.pass(10);
    await expect(traceImage(scope, id, options)).rejects.toMatchObject({ code: "busy" });
  });

  it("fits into the answer to a notification, whatever the numbers are", () => {
    const huge = figuresOf(histogram(2 ** 40, 2 ** 52 + 1));
    const stages = Object.fromEntries(
      ["total", "queue", "client", "network", "primaryQueue", "primary", "disk"]
        .concat(["replicas", "replica", "replicaCommit"])
        .map((name) => [name, huge]),
    );
    const kinds = { reads: stages, writes: stages, discards: stages, flushes: stages };
    const trace = { description: "h".repeat(256), ...kinds };
    const reply = encodeReply({ answer: "done", inspection: { trace } } as never);
    expect(reply.length).toBeLessThanOrEqual(4096);
    expect(decodeReply(reply).inspection?.trace?.reads.total).toEqual(huge);
  });
});

describe("percentiles of a histogram", () => {
  it("are upper edges of buckets, never above the highest value", () => {
    const found = histogram(...Array.from({ length: 100 }, (_, at) => at + 1));
    expect([0.5, 0.99, 1].map((share) => percentileNs(found, share))).toEqual([50, 99, 100]);
    expect(percentileNs({ ...found, maxNs: 42 }, 0.99)).toBe(42);
    expect(percentileNs(histogram(), 0.5)).toBe(0);
  });
});
