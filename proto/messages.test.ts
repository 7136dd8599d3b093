// Tests of the control messages: golden bytes (test/golden/proto/messages.json, written anew with
// UPDATE_GOLDEN=1), refusal of everything that does not fit, and the control channel.
import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Epoch } from "../common/units.js";
import { pgId } from "../common/units.js";
import { type ChannelEvent, ControlChannel, clusterBytes } from "./control-channel.js";
import { encodeCanonical, encodeValue } from "./encoding.js";
import { testClusterId, testMap, testOsd, testPool } from "./fixtures.js";
import { encodeFrame } from "./frame.js";
import { clusterText, type Hello, protocolVersion } from "./handshake.js";
import {
  decodeMessage,
  decodeMessageFromMonitor,
  decodeMessageToMonitor,
  encodeMessage,
  type Message,
} from "./messages.js";
import { makeIncremental, noHash } from "./osd-map.js";

const epoch = (value: number) => value as Epoch;
const map = testMap(2, {
  pools: [testPool(1, { name: "rbd" })],
  nextPoolId: 2,
  pgTemp: { [pgId(1, 5)]: [1, 0] },
  config: { log_level: "info" },
});
const { incremental } = makeIncremental(map, { osds: [testOsd(1, { up: false })] }, 1234);

const processStats = {
  counters: { frames_sent: 7 },
  histograms: { write: { boundsNs: [1000, 2000], counts: [1, 2, 0], sumNs: 4500 } },
  rssBytes: 52_428_800,
  cpuSeconds: 1.5,
  slowOps: [{ description: "write rbd_data.1", ageMs: 31_000 }],
  slowOpCount: 1,
};

const samples: Record<string, Message> = {
  subscribe: { kind: "subscribe", fromEpoch: epoch(3), haveHash: noHash },
  osdBoot: {
    kind: "osdBoot",
    osd: 1,
    uuid: "00000000-0000-4000-8000-000000000001",
    incarnation: "18446744073709551615",
    address: { host: "127.0.0.1", port: 6801 },
    sizeBytes: 21_474_836_480,
    host: "host1",
    deviceClass: "ssd",
  },
  osdAlive: { kind: "osdAlive", osd: 1, wantUpThru: epoch(9), epoch: epoch(10) },
  osdFailure: {
    kind: "osdFailure",
    reporter: 0,
    target: 1,
    targetIncarnation: "1001",
    epoch: epoch(10),
    reason: "connection_refused",
  },
  osdRecovered: { kind: "osdRecovered", reporter: 0, target: 1, targetIncarnation: "1001" },
  osdMarkMeDown: { kind: "osdMarkMeDown", osd: 1, incarnation: "1001" },
  osdStoreFailed: {
    kind: "osdStoreFailed",
    osd: 1,
    incarnation: "1001",
    error: { code: "io_error", message: "a write or flush of the disk failed" },
  },
  osdStartRefused: {
    kind: "osdStartRefused",
    osd: 1,
    uuid: "00000000-0000-4000-8000-000000000001",
    host: "host1",
    error: { code: "incompatible_version", message: "the store has format version 2" },
  },
  osdStats: {
    kind: "osdStats",
    osd: 0,
    epoch: epoch(10),
    usedBytes: 4096,
    totalBytes: 21_474_836_480,
    ...processStats,
    pgs: [
      {
        pgid: pgId(1, 31),
        state: "active+clean",
        epoch: epoch(10),
        up: [0, 1],
        acting: [0, 1],
        lastUpdate: { epoch: epoch(9), number: 77 },
        objects: 3,
        bytes: 12_288,
        missing: 0,
        degraded: 0,
        misplaced: 0,
        unfound: 0,
        scrub: {
          lastMs: 1_700_000_000_000,
          lastDeepMs: 0,
          errors: 2,
          objects: [
            {
              object: "rbd_header.1",
              good: [0],
              bad: [{ osd: 1, problem: "none", badBlocks: [3, 9], badBlockCount: 2 }],
            },
          ],
          running: "deep-scrub",
          finished: [{ request: 5, objects: 3, bytes: 12_288, errors: 2, repaired: 0 }],
        },
      },
    ],
    heartbeats: [{ peer: 1, ageMs: 12.5, roundTripUs: 80 }],
  },
  clientStats: { kind: "clientStats", daemon: "client.vm1", ...processStats },
  pgTemp: { kind: "pgTemp", osd: 0, epoch: epoch(10), pgid: pgId(1, 5), acting: [1, 0] },
  command: { kind: "command", id: 1, verb: "pool create", args: { name: "rbd", pgNum: 64 } },
  mapsFull: { kind: "maps", full: map, incrementals: [] },
  mapsIncremental: { kind: "maps", incrementals: [incremental] },
  commandReply: { kind: "commandReply", id: 1, result: { epoch: 11 } },
  commandError: {
    kind: "commandReply",
    id: 2,
    error: { code: "not_found", message: "there is no osd.9", remedy: "Look again." },
  },
  logLevel: { kind: "logLevel", level: "debug" },
  scrubPg: { kind: "scrubPg", pgid: pgId(1, 31), mode: "repair", request: 5 },
  refused: { kind: "refused", error: { code: "wrong_daemon", message: "another store" } },
};

const goldenFile = "test/golden/proto/messages.json";
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("golden bytes", () => {
  const made = {
    ...Object.fromEntries(
      Object.entries(samples).map(([name, m]) => [name, hex(encodeMessage(m))]),
    ),
    canonicalMap: hex(encodeCanonical(map)),
    mapHash: map.hash,
  };
  if (process.env.UPDATE_GOLDEN === "1") {
    writeFileSync(goldenFile, `${JSON.stringify(made, null, 1)}\n`);
  }
  const golden = JSON.parse(readFileSync(goldenFile, "utf8")) as Record<string, string>;

  it("has all messages, and no other", () => {
    expect(Object.keys(golden).sort()).toEqual(Object.keys(made).sort());
  });

  it.each(Object.entries(made))("%s", (name, bytes) => expect(bytes).toBe(golden[name]));

  it.each(Object.entries(samples))("%s decodes to what it was", (name, message) => {
    expect(decodeMessage(Buffer.from(golden[name] ?? "", "hex"))).toEqual(message);
  });
});

describe("what does not fit", () => {
  const refused = expect.objectContaining({ code: "protocol_error" });
  const bad: [string, unknown][] = [
    ["no map", 7],
    ["null", null],
    ["no kind", {}],
    ["an unknown kind", { kind: "toString" }],
    ["a member too many", { ...samples.osdAlive, more: 1 }],
    ["a member too few", { kind: "osdAlive", osd: 1 }],
    ["an OSD id out of range", { ...samples.osdAlive, osd: 32_768 }],
    ["a negative epoch", { ...samples.osdAlive, epoch: -1 }],
    ["an epoch above 32 bits", { ...samples.osdAlive, epoch: 2 ** 32 }],
    ["a fraction as id", { ...samples.osdAlive, osd: 1.5 }],
    ["a PG id of another form", { ...samples.pgTemp, pgid: "1.05" }],
    ["too many OSDs", { ...samples.pgTemp, acting: Array.from({ length: 17 }, (_, id) => id) }],
    ["an unknown reason", { ...samples.osdFailure, reason: "mood" }],
    ["an unknown error code", { kind: "refused", error: { code: "odd", message: "" } }],
    ["a long verb", { ...samples.command, verb: "a".repeat(65) }],
  ];
  it.each(bad)("is a protocol_error: %s", (_, value) => {
    expect(() => decodeMessage(encodeValue(value))).toThrow(refused);
  });

  it("is a protocol_error in the wrong direction", () => {
    const toMonitor = encodeValue(samples.subscribe);
    const fromMonitor = encodeValue(samples.logLevel);
    expect(() => decodeMessageFromMonitor(toMonitor)).toThrow(refused);
    expect(() => decodeMessageToMonitor(fromMonitor)).toThrow(refused);
  });

  it("is a protocol_error: every cut of every message, trailing bytes, deep nesting", () => {
    for (const message of Object.values(samples)) {
      const bytes = encodeMessage(message);
      for (let length = 0; length < bytes.length; length += 1) {
        expect(() => decodeMessage(bytes.subarray(0, length))).toThrow(refused);
      }
      expect(() => decodeMessage(Buffer.concat([bytes, Buffer.from([0])]))).toThrow(refused);
    }
    expect(() => decodeMessage(Buffer.alloc(1 << 20, 0x91))).toThrow(refused);
    expect(() => decodeMessage(Buffer.from("dd7fffffff01", "hex"))).toThrow(refused);
  });

  it("never throws anything else, whatever bytes are flipped", () => {
    let seed = 1;
    const random = (bound: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % bound;
    };
    const messages = Object.values(samples).map(encodeMessage);
    for (let round = 0; round < 3000; round += 1) {
      const bytes = Uint8Array.from(messages[random(messages.length)] ?? []);
      for (let flips = 0; flips < 3; flips += 1) bytes[random(bytes.length)] = random(256);
      try {
        decodeMessage(bytes);
      } catch (error) {
        expect(error).toEqual(refused);
      }
    }
  });
});

describe("control channel", () => {
  const hello = (overrides: Partial<Hello> = {}): Hello => ({
    version: protocolVersion,
    cluster: clusterBytes(testClusterId),
    self: { kind: "client", id: 7n, incarnation: 8n },
    requiredFeatures: 0,
    supportedFeatures: 0,
    expected: undefined,
    refusal: undefined,
    ...overrides,
  });
  const monitorSelf = { kind: "monitor", id: 0n, incarnation: 5n } as const;

  /** Lets both ends talk until neither has more to say. */
  function connect(ours: Hello) {
    const dialer = new ControlChannel({ ours, role: "dialer" });
    const acceptor = new ControlChannel({
      ours: hello({ self: monitorSelf }),
      role: "acceptor",
      acceptAnyCluster: true,
    });
    const atAcceptor: ChannelEvent[] = [...acceptor.receive(dialer.hello())];
    const sent = atAcceptor.flatMap((event) => (event.kind === "send" ? [event.bytes] : []));
    const atDialer = sent.flatMap((bytes) => [...dialer.receive(bytes)]);
    return { dialer, acceptor, atAcceptor, atDialer };
  }

  it("carries messages after the handshake", () => {
    const { dialer, acceptor, atAcceptor, atDialer } = connect(hello());
    expect(atAcceptor.map(({ kind }) => kind)).toEqual(["send", "ready"]);
    expect(atDialer).toMatchObject([{ kind: "ready", peer: { self: monitorSelf } }]);
    const meta = encodeMessage({ kind: "logLevel", level: "debug" });
    expect([...dialer.receive(acceptor.encode(meta))]).toMatchObject([{ kind: "message", meta }]);
  });

  it("refuses a foreign cluster and an unexpected daemon, at both ends", () => {
    const foreign = connect(
      hello({ cluster: clusterBytes("ffffffff-0000-4000-8000-000000000001") }),
    );
    const wrong = connect(hello({ expected: { kind: "osd", id: 1n, incarnation: 0n } }));
    for (const [ends, code] of [
      [foreign, "wrong_cluster"],
      [wrong, "wrong_daemon"],
    ] as const) {
      expect(ends.atAcceptor.at(-1)).toMatchObject({ kind: "refused", error: { code } });
      expect(ends.atDialer.at(-1)).toMatchObject({ kind: "refused", error: { code } });
    }
  });

  it("lets a client learn the cluster's id, but no OSD", () => {
    const unknown = clusterBytes(undefined);
    const { atDialer } = connect(hello({ cluster: unknown }));
    const [ready] = atDialer;
    expect(ready?.kind === "ready" && clusterText(ready.peer.cluster)).toBe(testClusterId);
    const osd = { kind: "osd", id: 1n, incarnation: 9n } as const;
    const { atAcceptor } = connect(hello({ cluster: unknown, self: osd }));
    expect(atAcceptor.at(-1)).toMatchObject({ kind: "refused", error: { code: "wrong_cluster" } });
  });

  it("ends on frames that have no place there", () => {
    const { acceptor } = connect(hello());
    const early = new ControlChannel({ ours: hello(), role: "acceptor" });
    const control = encodeFrame("control", 1n, new Uint8Array());
    expect(() => [...early.receive(control)]).toThrow(/control frame before the handshake/);
    const op = encodeFrame("op", 2n, new Uint8Array());
    expect(() => [...acceptor.receive(op)]).toThrow(/op frame on a control connection/);
  });
});
