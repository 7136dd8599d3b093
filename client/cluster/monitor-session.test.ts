// The session against a monitor of a few lines: handshake, commands, and a connection that is lost.
import { createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock, systemRandom } from "../../common/ports.js";
import { ControlChannel, clusterBytes } from "../../proto/control-channel.js";
import { protocolVersion } from "../../proto/handshake.js";
import {
  decodeMessageToMonitor,
  encodeMessage,
  type MessageFromMonitor,
  type MessageToMonitor,
} from "../../proto/messages.js";
import { MonitorSession, type SessionListener, type SessionOptions } from "./monitor-session.js";

const clusterId = "00000000-0000-4000-8000-000000000001";

class FakeMonitor {
  readonly sockets = new Set<Socket>();
  readonly received: MessageToMonitor[] = [];
  answer: (message: MessageToMonitor) => MessageFromMonitor | undefined = () => undefined;
  private readonly server: Server = createServer((socket) => this.accept(socket));

  async listen(port = 0): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(port, "127.0.0.1", resolve));
    const address = this.server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  dropConnections(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.dropConnections();
    await closed;
  }

  private accept(socket: Socket): void {
    this.sockets.add(socket);
    const channel = new ControlChannel({
      ours: {
        version: protocolVersion,
        cluster: clusterBytes(clusterId),
        self: { kind: "monitor", id: 0n, incarnation: 1n },
        requiredFeatures: 0,
        supportedFeatures: 0,
        expected: undefined,
        refusal: undefined,
      },
      role: "acceptor",
      acceptAnyCluster: true,
    });
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      for (const event of channel.receive(chunk)) {
        if (event.kind === "send") socket.write(event.bytes);
        if (event.kind !== "message") continue;
        const message = decodeMessageToMonitor(event.meta);
        this.received.push(message);
        const reply = this.answer(message);
        if (reply !== undefined) socket.write(channel.encode(encodeMessage(reply)));
      }
    });
  }
}

let monitor: FakeMonitor | undefined;
let session: MonitorSession | undefined;

afterEach(async () => {
  session?.close();
  await monitor?.close();
});

async function start(
  options: Partial<SessionOptions> = {},
  listener: SessionListener = {},
): Promise<{ monitor: FakeMonitor; session: MonitorSession }> {
  monitor = new FakeMonitor();
  const port = await monitor.listen();
  session = await MonitorSession.connect(optionsFor(port, options), listener);
  return { monitor, session };
}

function optionsFor(port: number, options: Partial<SessionOptions> = {}): SessionOptions {
  return {
    monitor: { host: "127.0.0.1", port },
    clientId: 7n,
    clock: systemClock,
    random: systemRandom,
    ...options,
  };
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!holds()) {
    expect(performance.now()).toBeLessThan(deadline);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe("MonitorSession", () => {
  it("learns the cluster's id, and carries commands", async () => {
    const started = await start();
    started.monitor.answer = (message) =>
      message.kind === "command"
        ? { kind: "commandReply", id: message.id, result: { status: "HEALTH_OK", checks: [] } }
        : undefined;
    expect(started.session.clusterId).toBe(clusterId);
    expect(await started.session.command("health", {})).toEqual({
      status: "HEALTH_OK",
      checks: [],
    });
  });

  it("throws the monitor's error of a command", async () => {
    const started = await start();
    started.monitor.answer = (message) =>
      message.kind === "command"
        ? {
            kind: "commandReply",
            id: message.id,
            error: { code: "not_found", message: "no osd.9", remedy: "look" },
          }
        : undefined;
    await expect(started.session.command("osd out", { id: 9 })).rejects.toMatchObject({
      code: "not_found",
      message: "no osd.9",
      remedy: "look",
    });
  });

  it("gives up a command that is not answered, and one whose connection is lost", async () => {
    const started = await start({ commandTimeoutMs: 30 });
    const slow = started.session.command("health", {});
    await expect(slow).rejects.toMatchObject({ code: "timed_out" });
    started.monitor.answer = () => {
      started.monitor.dropConnections();
      return undefined;
    };
    const lost = started.session.command("health", {});
    await expect(lost).rejects.toMatchObject({ code: "disconnected" });
  });

  it("says when nobody listens, and when it is another cluster", async () => {
    const unused = new FakeMonitor();
    const port = await unused.listen();
    await unused.close();
    await expect(MonitorSession.connect(optionsFor(port))).rejects.toMatchObject({
      code: "disconnected",
      message: /no monitor answers at 127\.0\.0\.1/,
    });
    const other = "00000000-0000-4000-8000-00000000000f";
    await expect(start({ clusterId: other })).rejects.toMatchObject({ code: "wrong_cluster" });
  });

  it("gives up a monitor that accepts and says nothing", async () => {
    const mute = createServer(() => undefined);
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    const address = mute.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const connecting = MonitorSession.connect(optionsFor(port, { connectTimeoutMs: 50 }));
    await expect(connecting).rejects.toMatchObject({ code: "timed_out" });
    mute.close();
  });

  it("dials again when the connection is lost, and says both", async () => {
    const events: string[] = [];
    const started = await start(
      {},
      {
        onConnected: () => events.push("connected"),
        onLost: () => events.push("lost"),
      },
    );
    started.monitor.dropConnections();
    await until(() => events.length === 3);
    expect(events).toEqual(["connected", "lost", "connected"]);
    expect(started.session.connected()).toBe(true);
  });
});
