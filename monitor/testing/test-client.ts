// A control client for tests: dials a monitor, shakes hands, keeps what it receives.
import { connect, type Socket } from "node:net";
import type { Address } from "../../common/config.js";
import { StorageError } from "../../common/errors.js";
import { ControlChannel, clusterBytes } from "../../proto/control-channel.js";
import { type Entity, type Hello, protocolVersion } from "../../proto/handshake.js";
import {
  type CommandReply,
  decodeMessageFromMonitor,
  encodeMessage,
  type Maps,
  type MessageFromMonitor,
  type MessageToMonitor,
} from "../../proto/messages.js";

export class TestClient {
  readonly received: MessageFromMonitor[] = [];
  readonly socket: Socket;
  closed = false;
  private readonly channel: ControlChannel;
  private nextCommand = 1;
  private wake: () => void = () => undefined;

  private constructor(address: Address, self: Entity, clusterId: string | undefined) {
    const ours: Hello = {
      version: protocolVersion,
      cluster: clusterBytes(clusterId),
      self,
      requiredFeatures: 0,
      supportedFeatures: 0,
      expected: { kind: "monitor", id: 0n, incarnation: 0n },
      refusal: undefined,
    };
    this.channel = new ControlChannel({ ours, role: "dialer" });
    this.socket = connect(address.port, address.host);
    this.socket.on("close", () => {
      this.closed = true;
      this.wake();
    });
    this.socket.on("error", () => undefined);
    this.socket.write(this.channel.hello());
  }

  /** @throws the error with which either side refuses */
  static dial(
    address: Address,
    self: Entity = { kind: "client", id: 1n, incarnation: 1n },
    clusterId?: string,
  ): Promise<TestClient> {
    const client = new TestClient(address, self, clusterId);
    return new Promise((resolve, reject) => {
      client.socket.on("close", () => reject(new StorageError("disconnected", "closed")));
      client.socket.on("data", (chunk) => {
        for (const event of client.channel.receive(chunk)) {
          if (event.kind === "ready") resolve(client);
          if (event.kind === "refused") reject(event.error);
          if (event.kind === "message") {
            client.received.push(decodeMessageFromMonitor(event.meta));
            client.wake();
          }
        }
      });
    });
  }

  send(message: MessageToMonitor): void {
    this.socket.write(this.channel.encode(encodeMessage(message)));
  }

  /** The first message received that fits, now or within 5 s. */
  async next<T extends MessageFromMonitor>(
    fits: (message: MessageFromMonitor) => message is T,
  ): Promise<T> {
    const deadline = performance.now() + 5000;
    while (performance.now() < deadline) {
      const found = this.received.find(fits);
      if (found !== undefined) return found;
      if (this.closed) throw new StorageError("disconnected", "closed before the message came");
      await this.change();
    }
    throw new StorageError("timed_out", "the message did not come");
  }

  maps(fits: (maps: Maps) => boolean): Promise<Maps> {
    return this.next((message): message is Maps => message.kind === "maps" && fits(message));
  }

  async command(verb: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const id = this.nextCommand++;
    this.send({ kind: "command", id, verb, args });
    const reply = await this.next(
      (message): message is CommandReply => message.kind === "commandReply" && message.id === id,
    );
    if (reply.error !== undefined) throw StorageError.fromBody(reply.error);
    return reply.result;
  }

  async untilClosed(): Promise<void> {
    while (!this.closed) await this.change();
  }

  end(): void {
    this.socket.destroy();
  }

  private change(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
