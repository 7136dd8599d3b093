// A client's session with the monitor: dials, shakes hands, carries messages and commands, and
// dials again when the connection is lost.
//
// Invariants: one connection at a time; a command is answered once (its reply, or `disconnected`
// when the connection is lost before it came: whether it was carried out is then unknown); after
// close() nothing is called any more. It knows nothing of what a map means: MapCache does.
import { connect } from "node:net";
import type { Address, LogLevel } from "../../common/config.js";
import { StorageError, toStorageError } from "../../common/errors.js";
import type { Clock, Random } from "../../common/ports.js";
import type { CommandArgs, CommandResult, Verb } from "../../proto/commands.js";
import { ControlChannel, clusterBytes } from "../../proto/control-channel.js";
import type { ControlStream, DialControl } from "../../proto/control-stream.js";
import { clusterText, type Hello, protocolVersion } from "../../proto/handshake.js";
import {
  decodeMessageFromMonitor,
  encodeMessage,
  type Maps,
  type MessageFromMonitor,
  type MessageToMonitor,
} from "../../proto/messages.js";

export interface SessionOptions {
  monitor: Address;
  /** undefined: whichever cluster the monitor is of */
  clusterId?: string | undefined;
  /** random, of this process */
  clientId: bigint;
  clock: Clock;
  random: Random;
  /** default: TCP */
  dial?: DialControl;
  /** of the first connection; default 5000 */
  connectTimeoutMs?: number;
  /** a command that is not answered in this time fails with timed_out; default 30000 */
  commandTimeoutMs?: number;
}

export interface SessionListener {
  onMaps?(maps: Maps): void;
  /** connected, also again: subscribe here */
  onConnected?(): void;
  onLost?(error: StorageError): void;
  onLogLevel?(level: LogLevel): void;
  /** the monitor refuses this client for good */
  onRefused?(error: StorageError): void;
}

interface PendingCommand {
  verb: string;
  resolve(result: unknown): void;
  reject(error: StorageError): void;
  cancelTimer(): void;
}

const firstRetryMs = 50;
const maxRetryMs = 2000;

const dialTcp: DialControl = ({ host, port }) =>
  connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 });

export class MonitorSession {
  /** of the cluster, known once connected */
  clusterId: string | undefined;
  private socket: ControlStream | undefined;
  private channel: ControlChannel | undefined;
  private ready = false;
  private closed = false;
  private nextCommandId = 1;
  private retryMs = firstRetryMs;
  private readonly pending = new Map<number, PendingCommand>();

  private constructor(
    private readonly options: SessionOptions,
    private readonly listener: SessionListener,
  ) {
    this.clusterId = options.clusterId;
  }

  /**
   * @throws disconnected (nobody listens there), timed_out, and the error of a handshake that
   *   either side refused: wrong_cluster, incompatible_version...
   */
  static async connect(
    options: SessionOptions,
    listener: SessionListener = {},
  ): Promise<MonitorSession> {
    const session = new MonitorSession(options, listener);
    try {
      await session.dial();
    } catch (thrown) {
      session.close();
      throw thrown;
    }
    return session;
  }

  /** False while the connection is lost; it is dialed again and again. */
  connected(): boolean {
    return this.ready;
  }

  /** Sends a message; dropped when there is no connection (what matters is sent again later). */
  send(message: MessageToMonitor): void {
    if (!this.ready || this.socket === undefined || this.channel === undefined) return;
    this.socket.write(this.channel.encode(encodeMessage(message)));
  }

  /**
   * Has the monitor carry out a command.
   * @throws its error; disconnected; timed_out
   */
  command<V extends Verb>(verb: V, args: CommandArgs<V>): Promise<CommandResult<V>> {
    if (!this.ready) {
      return Promise.reject(
        new StorageError("disconnected", `${verb}: there is no connection to the monitor`),
      );
    }
    const id = this.nextCommandId++;
    return new Promise((resolve, reject) => {
      const timeoutMs = this.options.commandTimeoutMs ?? 30_000;
      const cancelTimer = this.options.clock.setTimer(timeoutMs, () => {
        this.pending.delete(id);
        reject(new StorageError("timed_out", `${verb}: the monitor did not answer`));
      });
      const settle = resolve as (result: unknown) => void;
      this.pending.set(id, { verb, resolve: settle, reject, cancelTimer });
      this.send({ kind: "command", id, verb, args });
    });
  }

  close(): void {
    this.closed = true;
    this.ready = false;
    this.failPending(new StorageError("canceled", "the session is closed"));
    this.socket?.destroy();
  }

  private hello(): Hello {
    const { clientId } = this.options;
    return {
      version: protocolVersion,
      cluster: clusterBytes(this.clusterId),
      self: { kind: "client", id: clientId, incarnation: clientId },
      requiredFeatures: 0,
      supportedFeatures: 0,
      expected: { kind: "monitor", id: 0n, incarnation: 0n },
      refusal: undefined,
    };
  }

  /** Resolves when the handshake is done. */
  private dial(): Promise<void> {
    const { monitor, clock, connectTimeoutMs = 5000 } = this.options;
    const where = `${monitor.host}:${monitor.port}`;
    return new Promise((resolve, reject) => {
      const channel = new ControlChannel({ ours: this.hello(), role: "dialer" });
      const socket = (this.options.dial ?? dialTcp)(monitor);
      this.channel = channel;
      this.socket = socket;
      let failure: StorageError | undefined;
      const fail = (error: StorageError) => {
        failure ??= error;
        socket.destroy();
      };
      const cancelTimer = clock.setTimer(connectTimeoutMs, () => {
        fail(new StorageError("timed_out", `the monitor at ${where} does not answer`));
      });
      socket.write(channel.hello());
      socket.on("error", (thrown) => fail(connectError(thrown, where)));
      socket.on("data", (chunk) => {
        try {
          this.receive(channel, chunk, fail, () => {
            cancelTimer();
            resolve();
          });
        } catch (thrown) {
          fail(toStorageError(thrown));
        }
      });
      socket.on("close", () => {
        cancelTimer();
        const error = failure ?? new StorageError("disconnected", `${where} closed the connection`);
        reject(error);
        this.lost(error);
      });
    });
  }

  private receive(
    channel: ControlChannel,
    chunk: Uint8Array,
    fail: (error: StorageError) => void,
    onReady: () => void,
  ): void {
    for (const event of channel.receive(chunk)) {
      if (this.closed) return;
      if (event.kind === "refused") fail(event.error);
      else if (event.kind === "ready") this.connectionReady(event.peer, onReady);
      else if (event.kind === "message") this.take(decodeMessageFromMonitor(event.meta), fail);
    }
  }

  private connectionReady(peer: Hello, onReady: () => void): void {
    this.clusterId = clusterText(peer.cluster);
    this.ready = true;
    this.retryMs = firstRetryMs;
    onReady();
    this.listener.onConnected?.();
  }

  private take(message: MessageFromMonitor, fail: (error: StorageError) => void): void {
    switch (message.kind) {
      case "maps":
        this.listener.onMaps?.(message);
        break;
      case "logLevel":
        this.listener.onLogLevel?.(message.level);
        break;
      case "refused": {
        const error = StorageError.fromBody(message.error);
        this.listener.onRefused?.(error);
        fail(error);
        break;
      }
      case "commandReply": {
        const command = this.pending.get(message.id);
        if (command === undefined) return;
        this.pending.delete(message.id);
        command.cancelTimer();
        if (message.error !== undefined) command.reject(StorageError.fromBody(message.error));
        else command.resolve(message.result);
      }
    }
  }

  private lost(error: StorageError): void {
    const wasReady = this.ready;
    this.ready = false;
    this.failPending(error);
    // A first connection that fails is the caller's matter: connect() has thrown.
    if (this.closed || (!wasReady && this.retryMs === firstRetryMs)) return;
    if (wasReady) this.listener.onLost?.(error);
    const jitterMs = this.options.random.below(Math.ceil(this.retryMs / 2));
    const delayMs = this.retryMs / 2 + jitterMs;
    this.retryMs = Math.min(maxRetryMs, this.retryMs * 2);
    this.options.clock.setTimer(delayMs, () => {
      // dial() reports its failure through lost(), which waits and dials again.
      if (!this.closed) this.dial().catch(() => undefined);
    });
  }

  private failPending(cause: StorageError): void {
    for (const [id, command] of this.pending) {
      this.pending.delete(id);
      command.cancelTimer();
      command.reject(
        new StorageError(
          "disconnected",
          `${command.verb}: the connection to the monitor was lost: ${cause.message}`,
          { remedy: "It may have been carried out or not; look, then try again." },
        ),
      );
    }
  }
}

function connectError(thrown: unknown, where: string): StorageError {
  const error = toStorageError(thrown, `reach the monitor at ${where}`);
  if (error.code !== "disconnected") return error;
  return new StorageError("disconnected", `no monitor answers at ${where}`, {
    remedy: "Start the cluster with `cairn up`, or give its address with --monitor HOST:PORT.",
    cause: thrown,
  });
}
