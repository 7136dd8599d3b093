// A monitor that says what it is told to, over real sockets: it hands out one map at a time, whole,
// and shows what it hears.
import { createServer, type Server, type Socket } from "node:net";
import type { Address } from "../../common/config.js";
import { ControlChannel, clusterBytes } from "../../proto/control-channel.js";
import type { MessageToMonitor } from "../../proto/messages.js";
import { decodeMessageToMonitor, encodeMessage } from "../../proto/messages.js";
import { type MapChanges, makeIncremental, type OsdMap } from "../../proto/osd-map.js";

export class FakeMonitor {
  /** told of each message, and by which connection */
  onMessage: (message: MessageToMonitor, socket: Socket) => void = () => undefined;
  private readonly channels = new Map<Socket, ControlChannel>();

  private constructor(
    private newest: OsdMap,
    private readonly server: Server,
  ) {}

  static async listen(first: OsdMap): Promise<FakeMonitor> {
    const server = createServer();
    const monitor = new FakeMonitor(first, server);
    server.on("connection", (socket) => monitor.accept(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return monitor;
  }

  get address(): Address {
    const bound = this.server.address();
    if (typeof bound !== "object" || bound === null) throw new Error("the server does not listen");
    return { host: "127.0.0.1", port: bound.port };
  }

  map(): OsdMap {
    return this.newest;
  }

  /** The next epoch, to everybody. */
  publish(changes: MapChanges): void {
    this.newest = makeIncremental(this.newest, changes, this.newest.modifiedAt).map;
    for (const socket of this.channels.keys()) this.sendMap(socket);
  }

  close(): void {
    for (const socket of this.channels.keys()) socket.destroy();
    this.server.close();
  }

  private accept(socket: Socket): void {
    const channel = new ControlChannel({
      ours: {
        version: 1,
        cluster: clusterBytes(this.newest.clusterId),
        self: { kind: "monitor", id: 0n, incarnation: 1n },
        requiredFeatures: 0,
        supportedFeatures: 0,
        expected: undefined,
        refusal: undefined,
      },
      role: "acceptor",
      acceptAnyCluster: true,
    });
    socket.on("error", () => undefined);
    socket.on("close", () => this.channels.delete(socket));
    socket.on("data", (chunk) => {
      for (const event of channel.receive(chunk)) {
        if (event.kind === "send") socket.write(event.bytes);
        if (event.kind !== "message") continue;
        this.channels.set(socket, channel);
        const message = decodeMessageToMonitor(event.meta);
        if (message.kind === "subscribe") this.sendMap(socket);
        this.onMessage(message, socket);
      }
    });
  }

  private sendMap(socket: Socket): void {
    const maps = encodeMessage({ kind: "maps", full: this.newest, incrementals: [] });
    const frame = this.channels.get(socket)?.encode(maps);
    if (frame !== undefined) socket.write(frame);
  }
}
