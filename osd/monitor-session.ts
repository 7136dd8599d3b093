// The OSD's connection to the monitor: dials, shakes hands, and dials again after a loss, with
// exponential back-off. It keeps no message for later: whoever sends knows what to say anew when
// the session is ready again.
import { createConnection } from "node:net";
import type { Address } from "../common/config.js";
import { type StorageError, toStorageError } from "../common/errors.js";
import type { Logger } from "../common/log.js";
import type { CancelTimer, Clock } from "../common/ports.js";
import { ControlChannel } from "../proto/control-channel.js";
import type { ControlStream, DialControl } from "../proto/control-stream.js";
import type { Crc32c } from "../proto/crc32c.js";
import type { Hello } from "../proto/handshake.js";
import {
  decodeMessageFromMonitor,
  encodeMessage,
  type MessageFromMonitor,
  type MessageToMonitor,
} from "../proto/messages.js";

export interface MonitorSessionOptions {
  address: Address;
  hello: Hello;
  crc32c: Crc32c;
  clock: Clock;
  log: Logger;
  dial: DialControl;
  /** the handshake is done */
  onReady(): void;
  onMessage(message: MessageFromMonitor): void;
}

const firstRetryMs = 100;
const maxRetryMs = 5000;
const handshakeTimeoutMs = 5000;

/** Dials by TCP. */
export const dialTcp: DialControl = (address) => createConnection({ ...address, noDelay: true });

export class MonitorSession {
  private socket: ControlStream | undefined;
  private channel: ControlChannel | undefined;
  private ready = false;
  private wasReady = false;
  private closed = false;
  private retryMs = firstRetryMs;
  private cancelTimer: CancelTimer = () => undefined;

  constructor(private readonly options: MonitorSessionOptions) {}

  isReady(): boolean {
    return this.ready;
  }

  /** Dials for the first time. */
  open(): void {
    const { address, hello, crc32c, clock, dial } = this.options;
    const channel = new ControlChannel({ ours: hello, role: "dialer", crc32c });
    const socket = dial(address);
    this.socket = socket;
    this.channel = channel;
    this.cancelTimer = clock.setTimer(handshakeTimeoutMs, () => this.lose("no handshake in time"));
    socket.on("connect", () => socket.write(channel.hello()));
    socket.on("data", (chunk) => this.receive(socket, channel, chunk));
    socket.on("error", (error) => this.lose(error.message, socket));
    socket.on("close", () => this.lose("closed by the monitor", socket));
  }

  /** False when there is no session now: the message is lost. */
  send(message: MessageToMonitor): boolean {
    if (!this.ready || this.socket === undefined || this.channel === undefined) return false;
    this.socket.write(this.channel.encode(encodeMessage(message)));
    return true;
  }

  /** Closes; what was sent before still leaves. */
  close(): void {
    this.closed = true;
    this.ready = false;
    this.cancelTimer();
    const socket = this.socket;
    socket?.end(() => socket.destroy());
  }

  private receive(socket: ControlStream, channel: ControlChannel, chunk: Buffer): void {
    if (this.closed || socket !== this.socket) return;
    try {
      for (const event of channel.receive(chunk)) {
        if (event.kind === "send") socket.write(event.bytes);
        else if (event.kind === "refused") this.refused(event.error);
        else if (event.kind === "ready") this.shakenHands();
        else this.options.onMessage(decodeMessageFromMonitor(event.meta));
        if (this.closed || socket !== this.socket) return;
      }
    } catch (thrown) {
      const error = toStorageError(thrown);
      this.lose(`${error.code}: ${error.message}`, socket);
    }
  }

  /**
   * Before the first session a refusal is for good: this OSD is of another cluster or version.
   * Later
   * another program may sit at the monitor's address for a while.
   */
  private refused(error: StorageError): void {
    if (this.wasReady) throw error;
    this.close();
    this.options.onMessage({ kind: "refused", error: error.toJSON() });
  }

  private shakenHands(): void {
    this.cancelTimer();
    this.ready = true;
    this.wasReady = true;
    this.retryMs = firstRetryMs;
    this.options.log.info({ monitor: this.options.address }, "connected to the monitor");
    this.options.onReady();
  }

  private lose(reason: string, socket = this.socket): void {
    if (this.closed || socket === undefined || socket !== this.socket) return;
    this.cancelTimer();
    this.socket = undefined;
    this.ready = false;
    socket.destroy();
    const { clock, log, address } = this.options;
    log.warn({ monitor: address, reason, retryMs: this.retryMs }, "no session with the monitor");
    this.cancelTimer = clock.setTimer(this.retryMs, () => this.open());
    this.retryMs = Math.min(2 * this.retryMs, maxRetryMs);
  }
}
