// A relay between daemons or clients and a real monitor: it passes everything on, and puts maps of
// a test's own making into the stream, as a monitor that has gone wrong would.
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Address } from "../../common/config.js";
import { FrameDecoder, FrameEncoder } from "../../proto/frame.js";
import { encodeMessage, type Maps } from "../../proto/messages.js";

export class MapProxy {
  /** towards those who dialed; after their handshake */
  private readonly sinks = new Map<Socket, FrameEncoder>();

  private constructor(
    private readonly monitor: Address,
    private readonly server: Server,
  ) {}

  static async listen(monitor: Address): Promise<MapProxy> {
    const server = createServer();
    const proxy = new MapProxy(monitor, server);
    server.on("connection", (socket) => proxy.relay(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get address(): Address {
    const bound = this.server.address();
    if (typeof bound !== "object" || bound === null) throw new Error("the server does not listen");
    return { host: "127.0.0.1", port: bound.port };
  }

  /** Sends maps to everybody who is connected. @returns how many that are */
  inject(maps: Maps): number {
    const meta = encodeMessage(maps);
    for (const [socket, encoder] of this.sinks) socket.write(encoder.encode("control", meta));
    return this.sinks.size;
  }

  close(): void {
    for (const socket of this.sinks.keys()) socket.destroy();
    this.server.close();
  }

  /** What the monitor says is numbered anew: injected frames come in between. */
  private relay(inner: Socket): void {
    const outer = connect(this.monitor.port, this.monitor.host);
    const decoder = new FrameDecoder();
    const encoder = new FrameEncoder();
    const end = () => {
      this.sinks.delete(inner);
      inner.destroy();
      outer.destroy();
    };
    for (const socket of [inner, outer]) socket.on("error", end).on("close", end);
    inner.on("data", (chunk) => outer.write(chunk));
    outer.on("data", (chunk) => {
      for (const { type, meta, data } of decoder.push(chunk)) {
        inner.write(encoder.encode(type, meta, data));
        if (type === "hello") this.sinks.set(inner, encoder);
      }
    });
  }
}
