// The last words of an OSD that cannot start: that they are said, and that nobody waits for them
// for long. Real sockets; the monitor is one that does what a test wants.
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { OsdConfigSchema, parseConfig } from "../common/config.js";
import { StorageError } from "../common/errors.js";
import { systemClock } from "../common/ports.js";
import { ControlChannel, clusterBytes } from "../proto/control-channel.js";
import { decodeMessageToMonitor, type MessageToMonitor } from "../proto/messages.js";
import { identityFile, writeIdentity } from "./identity.js";
import { runOsd } from "./main.js";
import { dialTcp } from "./monitor-session.js";
import { tellStartRefused, tellTimeoutMs } from "./start-refusal.js";

const clusterId = "d1a1b2c3-0000-4000-8000-000000000001";
const storeId = "d1a1b2c3-0000-4000-8000-0000000000aa";
const error = new StorageError("corrupt", "m".repeat(5000), { remedy: "Look." });
let dataDir = "";
let server: Server;
let heard: MessageToMonitor[] = [];
const sockets: Socket[] = [];

beforeEach(() => {
  dataDir = mkdtempSync(path.join(tmpdir(), "cairn-refusal-"));
  heard = [];
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  if (server.listening) server.close();
  rmSync(dataDir, { recursive: true });
});

/** @param takesNote it reads, and closes when it has heard a message */
async function monitorThat(takesNote: boolean): Promise<number> {
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    const ours = {
      version: 1,
      cluster: clusterBytes(clusterId),
      self: { kind: "monitor", id: 0n, incarnation: 1n } as const,
      requiredFeatures: 0,
      supportedFeatures: 0,
      expected: undefined,
      refusal: undefined,
    };
    const channel = new ControlChannel({ ours, role: "acceptor" });
    if (!takesNote) return;
    socket.on("data", (chunk) => {
      for (const event of channel.receive(chunk)) {
        if (event.kind === "send") socket.write(event.bytes);
        if (event.kind !== "message") continue;
        heard.push(decodeMessageToMonitor(event.meta));
        socket.end();
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  return typeof bound === "object" && bound !== null ? bound.port : 0;
}

function configOf(port: number, id = 3) {
  const monitor = { host: "127.0.0.1", port };
  const log = { file: path.join(dataDir, "log"), level: "info" };
  return parseConfig(OsdConfigSchema, { id, dataDir, monitor, log, host: "h" }, "test");
}

const tell = (port: number, id?: number) =>
  tellStartRefused(configOf(port, id), error, {
    incarnation: 5n,
    clock: systemClock,
    dial: dialTcp,
  });

it("says who it is, which store it has, and why it cannot start", async () => {
  const port = await monitorThat(true);
  await writeIdentity(dataDir, { osd: 3, clusterId, storeId });
  expect(await tell(port)).toBe(true);
  const text = { code: "corrupt", message: "m".repeat(1024), remedy: "Look." };
  const words = { kind: "osdStartRefused", osd: 3, host: "h", error: text };
  expect(heard).toEqual([{ ...words, uuid: storeId }]);
  // On another OSD's folder it has no store to name.
  expect(await tell(port, 4)).toBe(true);
  expect(heard[1]).toEqual({ ...words, osd: 4 });
});

it("waits two seconds for a monitor that says nothing, and not for none", async () => {
  const port = await monitorThat(false);
  await writeIdentity(dataDir, { osd: 3, clusterId, storeId });
  const beginMs = performance.now();
  expect(await tell(port)).toBe(false);
  const waitedMs = performance.now() - beginMs;
  expect(waitedMs).toBeGreaterThan(tellTimeoutMs - 5);
  expect(waitedMs).toBeLessThan(tellTimeoutMs + 3000);
  for (const socket of sockets.splice(0)) socket.destroy();
  server.close();
  await once(server, "close");
  const againMs = performance.now();
  expect(await tell(port)).toBe(false);
  expect(performance.now() - againMs).toBeLessThan(tellTimeoutMs);
});

it("has nobody to tell when the identity file is damaged", async () => {
  const port = await monitorThat(true);
  writeFileSync(identityFile(dataDir), "{");
  expect(await tell(port)).toBe(false);
  expect(sockets).toHaveLength(0);
});

it("a daemon that is refused its store says so, and ends alike if nobody listens", async () => {
  await writeIdentity(dataDir, { osd: 3, clusterId, storeId });
  writeFileSync(path.join(dataDir, "store"), Buffer.alloc(1 << 20));
  const refusalAt = async (port: number) => {
    const thrown: unknown = await runOsd(configOf(port)).catch((error: unknown) => error);
    if (!(thrown instanceof StorageError)) throw new Error("it was not refused");
    return thrown.toJSON();
  };
  const port = await monitorThat(true);
  const refusal = await refusalAt(port);
  expect(refusal.code).toBe("not_found");
  expect(heard).toEqual([
    { kind: "osdStartRefused", osd: 3, uuid: storeId, host: "h", error: refusal },
  ]);
  server.close();
  await once(server, "close");
  expect(await refusalAt(port)).toEqual(refusal);
  expect(await refusalAt(await monitorThat(false))).toEqual(refusal);
});
