// The network under the control connections of a simulated cluster: byte streams between daemons
// and the monitor in virtual time, with delay, partitions, and ends that die.
//
// Invariants: what a stream delivers comes in order, each once, or the stream closes; across a
// partition nothing is delivered, and both ends close when it lasts; a dead process hears nothing.
import { EventEmitter } from "node:events";
import type { ControlStream } from "../../proto/control-stream.js";
import type { SeededRandom } from "./random.js";
import type { ProcessClock, VirtualTime } from "./virtual-time.js";

const retransmitMs = 50;
/** A stream whose packets do not get through for this long is given up, as by TCP keepalive. */
export const peerGoneMs = 20_000;

interface Packet {
  dueMs: number;
  deliver: (peer: SimStream) => void;
}

/** One end of a stream. */
class SimStream extends EventEmitter implements ControlStream {
  readonly writableLength = 0;
  peer: SimStream | undefined;
  closed = false;
  /** on their way to the peer, in order; the first one has a timer */
  readonly packets: Packet[] = [];
  /** how long the first one has been stopped by a partition */
  stoppedMs = 0;

  constructor(
    private readonly network: ControlNetwork,
    readonly host: string,
    readonly clock: ProcessClock,
  ) {
    super();
  }

  get remoteAddress(): string | undefined {
    return this.peer?.host;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.closed) {
      const copy = Buffer.from(bytes);
      this.transmit((peer) => peer.emit("data", copy));
    }
    return true;
  }

  end(done?: () => void): void {
    this.transmit((peer) => peer.close("the peer has closed"));
    if (done !== undefined) this.clock.setTimer(0, done);
  }

  destroy(): void {
    if (this.closed) return;
    this.transmit((peer) => peer.close("the peer has closed"));
    this.close(undefined);
  }

  /** Does something at the other end, behind all that was sent before. */
  transmit(deliver: (peer: SimStream) => void): void {
    this.packets.push({ dueMs: this.network.arrivalMs(), deliver });
    if (this.packets.length === 1) this.network.carryNext(this);
  }

  close(error: string | undefined): void {
    if (this.closed) return;
    this.closed = true;
    this.network.forget(this);
    this.clock.setTimer(0, () => {
      if (error !== undefined && this.listenerCount("error") > 0) {
        this.emit("error", new Error(error));
      }
      this.emit("close");
    });
  }
}

export class ControlNetwork {
  /** "from to": packets that do not arrive */
  private readonly partitions = new Set<string>();
  private readonly streams = new Set<SimStream>();
  maxDelayMs = 1;

  constructor(
    private readonly time: VirtualTime,
    private readonly random: SeededRandom,
  ) {}

  /** Begins to connect a process with a listener on another host. */
  dial(
    from: { host: string; clock: ProcessClock },
    to: { host: string; clock: ProcessClock; accept(stream: ControlStream): void },
  ): ControlStream {
    const near = new SimStream(this, from.host, from.clock);
    const far = new SimStream(this, to.host, to.clock);
    near.peer = far;
    far.peer = near;
    this.streams.add(near);
    this.streams.add(far);
    near.transmit(() => {
      to.accept(far);
      far.transmit(() => near.emit("connect"));
    });
    return near;
  }

  partition(from: string, to: string): void {
    this.partitions.add(`${from} ${to}`);
  }

  heal(from: string, to: string): void {
    this.partitions.delete(`${from} ${to}`);
  }

  /** A process has died: its peers hear of it. */
  endAll(clock: ProcessClock): void {
    for (const stream of [...this.streams]) if (stream.clock === clock) stream.destroy();
  }

  forget(stream: SimStream): void {
    this.streams.delete(stream);
  }

  /** When what is sent now is there: by the time of the world, which no process's clock has. */
  arrivalMs(): number {
    return this.nowMs() + 0.02 + (this.random.below(1000) / 1000) * this.maxDelayMs;
  }

  private nowMs(): number {
    return this.time.nowNs() / 1e6;
  }

  /** Delivers the first packet of a stream when it is due and no partition is in its way. */
  carryNext(from: SimStream, afterMs?: number): void {
    const to = from.peer;
    const packet = from.packets[0];
    if (to === undefined || packet === undefined) return;
    // The network's own time decides when it arrives, the receiver's process when it is heard.
    this.time.schedule(afterMs ?? Math.max(0, packet.dueMs - this.nowMs()), () => {
      if (this.partitions.has(`${from.host} ${to.host}`)) {
        from.stoppedMs += retransmitMs;
        if (from.stoppedMs < peerGoneMs) {
          this.carryNext(from, retransmitMs);
          return;
        }
        from.close("the peer does not answer any more");
        to.close("the peer does not answer any more");
        from.packets.length = 0;
        return;
      }
      from.stoppedMs = 0;
      from.packets.shift();
      to.clock.setTimer(0, () => {
        if (!to.closed) packet.deliver(to);
      });
      this.carryNext(from);
    });
  }
}
