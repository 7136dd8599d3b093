// One control connection at the monitor: handshake, messages in, maps and replies out.
//
// Bounds: a peer has handshakeTimeoutMs to say who it is; at most maxCommands commands are under
// way; maps are not queued for a slow reader, only the epoch that it has is remembered, and the
// rest is sent when its socket has drained; a peer that lets more than maxQueuedBytes pile up is
// disconnected. Any violation of the protocol ends the connection with one log line.
import { AssertionError, defined } from "../common/assert.js";
import type { LogLevel } from "../common/config.js";
import { type ErrorCode, StorageError, toStorageError } from "../common/errors.js";
import type { Logger } from "../common/log.js";
import type { CancelTimer, Clock } from "../common/ports.js";
import { ControlChannel } from "../proto/control-channel.js";
import type { ControlStream } from "../proto/control-stream.js";
import { maxMetaBytes } from "../proto/frame.js";
import { entityText, type Hello } from "../proto/handshake.js";
import {
  type Command,
  decodeMessageToMonitor,
  encodeMessage,
  type Maps,
  type MessageFromMonitor,
  type MessageToMonitor,
} from "../proto/messages.js";

/** What a session needs of its server. */
export interface SessionHost {
  ours: Hello;
  log: Logger;
  clock: Clock;
  handshakeTimeoutMs: number;
  onReady(session: Session): void;
  onMessage(session: Session, message: Exclude<MessageToMonitor, Command>): void;
  runCommand(verb: string, args: unknown): Promise<unknown>;
  /** a command is answered with an error */
  onCommandRefused(verb: string, code: ErrorCode): void;
  /** the connection ends because of who the peer is or what it sent; counts by code */
  onRefused(code: ErrorCode): void;
  onClosed(session: Session): void;
  /** maps for a subscriber that has all epochs below; undefined: none. @throws corrupt */
  mapsSince(fromEpoch: number, haveHash?: string): Maps | undefined;
  newestEpoch(): number;
}

const maxCommands = 64;
const maxQueuedBytes = 64 << 20;
const lingerMs = 1000;
/** Above this nothing is pushed until the socket has drained. */
const pushBelowBytes = 1 << 20;

export class Session {
  private readonly channel: ControlChannel;
  private readonly cancelHandshakeTimer: CancelTimer;
  private hello: Hello | undefined;
  /** next epoch to send; undefined: not subscribed */
  private nextEpoch: number | undefined;
  private commands = 0;
  private closed = false;

  constructor(
    private readonly socket: ControlStream,
    private readonly host: SessionHost,
  ) {
    this.channel = new ControlChannel({
      ours: host.ours,
      role: "acceptor",
      acceptAnyCluster: true,
    });
    this.cancelHandshakeTimer = host.clock.setTimer(host.handshakeTimeoutMs, () => {
      host.onRefused("timed_out");
      this.end("no handshake in time");
    });
    socket.on("data", (chunk) => this.receive(chunk));
    socket.on("drain", () => this.pushMaps());
    socket.on("error", (error) => this.end(error.message));
    socket.on("close", () => this.end("closed by the peer"));
  }

  /** Who is at the other end; only after onReady. */
  peer(): Hello["self"] {
    if (this.hello === undefined) throw new StorageError("not_active", "no handshake yet");
    return this.hello.self;
  }

  /** The OSD's id; undefined: it is no OSD. */
  osdId(): number | undefined {
    const { kind, id } = this.peer();
    return kind === "osd" ? Number(id) : undefined;
  }

  incarnation(): string {
    return String(this.peer().incarnation);
  }

  send(message: MessageFromMonitor): void {
    if (this.closed) return;
    const meta = encodeMessage(message);
    if (meta.length > maxMetaBytes) {
      this.sendTooLarge(message, meta.length);
      return;
    }
    this.socket.write(this.channel.encode(meta));
    if (this.socket.writableLength > maxQueuedBytes) this.end("it does not read");
  }

  private sendTooLarge(message: MessageFromMonitor, length: number): void {
    const what = `${message.kind} of ${length} bytes is more than a frame takes (${maxMetaBytes})`;
    if (message.kind !== "commandReply") {
      this.end(what);
      return;
    }
    const error = new StorageError("too_large", what, { remedy: "Ask for less, as for one pool." });
    this.send({ kind: "commandReply", id: message.id, error: error.toJSON() });
  }

  setLogLevel(level: LogLevel): void {
    this.send({ kind: "logLevel", level });
  }

  /** Sends what a subscriber lacks, if its socket takes it now. */
  pushMaps(): void {
    while (!this.closed && this.nextEpoch !== undefined) {
      if (this.socket.writableLength >= pushBelowBytes) return;
      const maps = this.host.mapsSince(this.nextEpoch);
      if (maps === undefined) return;
      this.nextEpoch = lastEpochOf(maps) + 1;
      this.send(maps);
    }
  }

  /** Sends the newest epoch once more: the peer acts as if it did not have it. */
  resendMaps(): void {
    if (this.nextEpoch === undefined) return;
    this.nextEpoch = Math.min(this.nextEpoch, this.host.newestEpoch());
    this.pushMaps();
  }

  /** Tells the peer why it must not go on, then closes. */
  refuse(error: StorageError): void {
    if (this.closed) return;
    this.host.onRefused(error.code);
    this.send({ kind: "refused", error: error.toJSON() });
    this.end(`refused: ${error.message}`);
  }

  /** Closes; what was written before still leaves, if the peer takes it within lingerMs. */
  end(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.cancelHandshakeTimer();
    const peer = this.hello === undefined ? "unknown" : entityText(this.hello.self);
    this.host.log.info({ peer, from: this.socket.remoteAddress, reason }, "connection closed");
    const cancelLinger = this.host.clock.setTimer(lingerMs, () => this.socket.destroy());
    this.socket.once("close", cancelLinger);
    this.socket.end(() => this.socket.destroy());
    this.host.onClosed(this);
  }

  private receive(chunk: Buffer): void {
    if (this.closed) return;
    try {
      for (const event of this.channel.receive(chunk)) {
        if (this.closed) return;
        if (event.kind === "send") this.socket.write(event.bytes);
        else if (event.kind === "refused") this.fail(event.error);
        else if (event.kind === "ready") this.ready(event.peer);
        else this.take(decodeMessageToMonitor(event.meta));
      }
    } catch (thrown) {
      if (thrown instanceof AssertionError) throw thrown;
      this.fail(toStorageError(thrown));
    }
  }

  private fail(error: StorageError): void {
    this.host.onRefused(error.code);
    this.end(`${error.code}: ${error.message}`);
  }

  private ready(hello: Hello): void {
    this.cancelHandshakeTimer();
    this.hello = hello;
    this.host.onReady(this);
  }

  private take(message: MessageToMonitor): void {
    if (message.kind === "command") {
      void this.runCommand(message);
    } else if (message.kind === "subscribe") {
      this.subscribe(message.fromEpoch, message.haveHash);
    } else {
      this.host.onMessage(this, message);
    }
  }

  private subscribe(fromEpoch: number, haveHash: string | undefined): void {
    try {
      this.host.mapsSince(fromEpoch, haveHash);
    } catch (thrown) {
      this.refuse(toStorageError(thrown));
      return;
    }
    this.nextEpoch = fromEpoch;
    this.pushMaps();
  }

  private async runCommand({ id, verb, args }: Command): Promise<void> {
    if (this.commands >= maxCommands) {
      const error = new StorageError("busy", `more than ${maxCommands} commands under way`);
      this.host.onCommandRefused(verb, error.code);
      this.send({ kind: "commandReply", id, error: error.toJSON() });
      return;
    }
    this.commands += 1;
    try {
      const result = await this.host.runCommand(verb, args);
      this.send({ kind: "commandReply", id, result });
    } catch (thrown) {
      if (thrown instanceof AssertionError) throw thrown;
      const error = toStorageError(thrown, verb);
      this.host.onCommandRefused(verb, error.code);
      this.send({ kind: "commandReply", id, error: error.toJSON() });
    } finally {
      this.commands -= 1;
    }
  }
}

function lastEpochOf(maps: Maps): number {
  return defined(maps.incrementals.at(-1) ?? maps.full, "a map in the message").epoch;
}
