// Answers what others want to know of a device that is open here: `cairn top`, `cairn trace`.
import type { DeviceHandle, DeviceStats } from "../../native/binding.js";
import { failedReply } from "./image-lock.js";
import { type Activity, reportOf } from "./inspection-record.js";
import type { InspectRequest, LockReply } from "./lock-record.js";
import type { Scope } from "./scope.js";

/** Traces whose end is remembered, for those who ask again. */
const rememberedTraces = 16;
/** So many run at a time: each takes memory and time of the device's thread. */
const tracesAtOnce = 4;

interface Trace {
  /** undefined: it runs */
  reply: LockReply | undefined;
}

export class DeviceInspector {
  private readonly traces = new Map<string, Trace>();

  constructor(
    private readonly scope: Scope,
    private readonly device: DeviceHandle,
  ) {}

  /** Rejects with the errors of the native client. */
  async answer(request: InspectRequest): Promise<LockReply> {
    if (request.op === "device.trace") return this.trace(request);
    const { io, cluster, ports } = this.scope;
    const stats = await io.deviceStats(this.device);
    const activity = activityOf(cluster.description, ports.clock.nowMs(), stats);
    return { answer: "done", inspection: { activity } };
  }

  private trace({ request, durationMs, every }: Extract<InspectRequest, { op: "device.trace" }>) {
    const known = this.traces.get(request);
    if (known !== undefined) return known.reply ?? { answer: "working" as const };
    const running = [...this.traces.values()].filter(({ reply }) => reply === undefined);
    if (running.length >= tracesAtOnce) {
      const message = "others trace this image already: try again when they are through";
      return { answer: "failed" as const, code: "busy", message };
    }
    const trace: Trace = { reply: undefined };
    this.traces.set(request, trace);
    this.forgetOldest();
    const { description } = this.scope.cluster;
    void this.scope.io.traceDevice(this.device, { durationMs, every }).then(
      (found) => {
        trace.reply = { answer: "done", inspection: { trace: reportOf(description, found) } };
      },
      (thrown: unknown) => {
        trace.reply = failedReply(thrown);
      },
    );
    return { answer: "working" as const };
  }

  private forgetOldest(): void {
    for (const [request, { reply }] of this.traces) {
      if (this.traces.size <= rememberedTraces) return;
      if (reply !== undefined) this.traces.delete(request);
    }
  }
}

function activityOf(description: string, atMs: number, stats: DeviceStats): Activity {
  const { counters, histograms } = stats;
  const count = (name: string) => counters[name] ?? 0;
  return {
    description,
    atMs,
    reads: count("reads"),
    readBytes: count("readBytes"),
    readNs: histograms.read?.sumNs ?? 0,
    writes: count("writes"),
    writeBytes: count("writeBytes"),
    writeNs: histograms.write?.sumNs ?? 0,
    discards: count("discards"),
    flushes: count("flushes"),
    errors: count("errors"),
    throttled: count("throttled"),
    throttledNs: count("throttledNs"),
    inFlight: count("inFlight"),
  };
}
