// What strangers and damaged stores can send to a cluster of real processes: each is refused with a
// named code, counted in /metrics, and disturbs nobody else. Raw sockets speak to the OSD's native
// listener and to the monitor's.
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ClusterClient } from "../../client/index.js";
import type { Address } from "../../common/config.js";
import type { ErrorCode } from "../../common/errors.js";
import { native } from "../../native/index.js";
import type { ClusterStatus, OsdRow } from "../../proto/commands.js";
import { clusterBytes } from "../../proto/control-channel.js";
import { crc32c } from "../../proto/crc32c.js";
import { encodeFrame, FrameDecoder, frameHeaderBytes } from "../../proto/frame.js";
import { decodeHello, type Entity, encodeHello, type Hello } from "../../proto/handshake.js";
import { encodeMessage } from "../../proto/messages.js";
import { cairn, cairnJson, daemonPid } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-bad-input-"));
const dir = path.join(folder, "cluster");
const answerTimeoutMs = 20_000;
const client: Entity = { kind: "client", id: 77n, incarnation: 78n };

let clusterId = "";
let control: Address;
let http: Address;
let osds: OsdRow[] = [];

beforeAll(async () => {
  const up = await cairnJson<{ clusterId: string }>(dir, "up", "--osds", "3", "--osd-size", "4G");
  clusterId = up.clusterId;
  const addresses = JSON.parse(readFileSync(path.join(dir, "mon", "addresses.json"), "utf8"));
  control = addresses.control;
  http = addresses.http;
  osds = await cairnJson<OsdRow[]>(dir, "osd", "ls");
});

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

function hello(overrides: Partial<Hello> = {}): Hello {
  return {
    version: 1,
    cluster: clusterBytes(clusterId),
    self: client,
    requiredFeatures: 0,
    supportedFeatures: 0,
    expected: undefined,
    refusal: undefined,
    ...overrides,
  };
}

function helloFrame(overrides: Partial<Hello> = {}): Uint8Array {
  return encodeFrame("hello", 1n, encodeHello(hello(overrides)));
}

interface Answer {
  /** of the hello that came back; undefined: none came */
  refusal: ErrorCode | "welcome" | undefined;
  closed: boolean;
}

/**
 * Sends the first piece, and the others when a hello has come back; hears what comes until the
 * other side closes.
 */
function send(to: Address, first: Uint8Array, ...rest: Uint8Array[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = connect(to.port, to.host);
    const decoder = new FrameDecoder();
    const answer: Answer = { refusal: undefined, closed: false };
    const timer = setTimeout(() => {
      socket.destroy();
      resolve(answer);
    }, answerTimeoutMs);
    socket.on("data", (chunk) => {
      try {
        for (const frame of decoder.push(chunk)) {
          if (frame.type !== "hello") continue;
          answer.refusal = decodeHello(frame.meta).refusal ?? "welcome";
          for (const piece of rest) socket.write(piece);
        }
      } catch (error) {
        reject(error);
      }
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve({ ...answer, closed: true });
    });
    socket.write(first);
  });
}

/** A header with these lengths and right checksums, and nothing behind it. */
function headerOf(type: number, sequence: bigint, metaLength: number, dataLength: number) {
  const bytes = encodeFrame("ping", sequence, new Uint8Array(0));
  const view = new DataView(bytes.buffer);
  view.setUint8(5, type);
  view.setUint32(8, metaLength, true);
  view.setUint32(12, dataLength, true);
  view.setUint32(28, crc32c(bytes.subarray(0, 28), 0), true);
  return bytes.subarray(0, frameHeaderBytes);
}

const otherCluster = () => {
  const bytes = clusterBytes(clusterId);
  bytes[0] = (bytes[0] ?? 0) ^ 0xff;
  return bytes;
};

interface Case {
  name: string;
  bytes(): [Uint8Array, ...Uint8Array[]];
  /** what the hello that comes back says; undefined: the connection just closes */
  refusal: ErrorCode | "welcome" | undefined;
  counted: ErrorCode;
}

const everywhere: Case[] = [
  {
    name: "unknown feature bits that it must know",
    bytes: () => [helloFrame({ requiredFeatures: 0x8000_0000 })],
    refusal: "unsupported_feature",
    counted: "unsupported_feature",
  },
  {
    name: "another cluster's id",
    bytes: () => [helloFrame({ cluster: otherCluster() })],
    refusal: "wrong_cluster",
    counted: "wrong_cluster",
  },
  {
    name: "a newer protocol version",
    bytes: () => [helloFrame({ version: 2 })],
    refusal: "incompatible_version",
    counted: "incompatible_version",
  },
  {
    name: "a hello for somebody else",
    bytes: () => [helloFrame({ expected: { kind: "osd", id: 999n, incarnation: 0n } })],
    refusal: "wrong_daemon",
    counted: "wrong_daemon",
  },
  {
    name: "a frame before the handshake",
    bytes: () => [encodeFrame("ping", 1n, new Uint8Array(20))],
    refusal: undefined,
    counted: "protocol_error",
  },
  {
    name: "a length that overflows before the handshake",
    bytes: () => [headerOf(1, 1n, 0xffff_ffff, 0xffff_ffff)],
    refusal: undefined,
    counted: "protocol_error",
  },
  {
    name: "a hello that is too long for a stranger",
    bytes: () => [headerOf(1, 1n, 5000, 0)],
    refusal: undefined,
    counted: "protocol_error",
  },
  {
    name: "a length that overflows after the handshake",
    bytes: () => [helloFrame(), headerOf(2, 2n, 0xffff_ffff, 0)],
    refusal: "welcome",
    counted: "protocol_error",
  },
  {
    name: "an unknown frame type",
    bytes: () => [helloFrame(), headerOf(200, 2n, 0, 0)],
    refusal: "welcome",
    counted: "protocol_error",
  },
];

const atTheOsd: Case[] = [
  ...everywhere,
  {
    name: "an OSD with a peer's id and another incarnation",
    bytes: () => [helloFrame({ self: { kind: "osd", id: 1n, incarnation: 4711n } })],
    refusal: "permission_denied",
    counted: "permission_denied",
  },
  {
    name: "an OSD with its own id",
    bytes: () => [helloFrame({ self: { kind: "osd", id: 0n, incarnation: 4711n } })],
    refusal: "permission_denied",
    counted: "permission_denied",
  },
  {
    name: "a client that sends what only OSDs send",
    bytes: () => [helloFrame(), encodeFrame("replicate", 2n, new Uint8Array(40))],
    refusal: "welcome",
    counted: "protocol_error",
  },
  {
    name: "an operation whose counts lie",
    bytes: () => [helloFrame(), encodeFrame("op", 2n, new Uint8Array(60).fill(0xff))],
    refusal: "welcome",
    counted: "protocol_error",
  },
];

const atTheMonitor: Case[] = [
  ...everywhere,
  {
    name: "a control message that is none",
    bytes: () => [helloFrame(), encodeFrame("control", 2n, new Uint8Array(40).fill(0xc1))],
    refusal: "welcome",
    counted: "protocol_error",
  },
  {
    name: "a boot in the name of another OSD's store",
    bytes: () => [
      helloFrame({ self: { kind: "osd", id: 1n, incarnation: 4711n } }),
      encodeFrame("control", 2n, encodeMessage(bootOfAnImpostor())),
    ],
    refusal: "welcome",
    counted: "wrong_daemon",
  },
];

function bootOfAnImpostor() {
  return {
    kind: "osdBoot" as const,
    osd: 1,
    uuid: "00000000-0000-4000-8000-00000000ffff",
    incarnation: "4711",
    address: { host: "127.0.0.1", port: 9 },
    sizeBytes: 2 ** 32,
    host: "elsewhere",
    deviceClass: "ssd",
  };
}

/** What a daemon has refused, by code. */
async function refusedBy(daemon: string): Promise<Record<string, number>> {
  const text = await (await fetch(`http://${http.host}:${http.port}/metrics`)).text();
  const line = new RegExp(
    `^cairn_refused_connections_total\\{daemon="${daemon}",code="([a-z_]+)"\\} (\\d+)$`,
    "gm",
  );
  return Object.fromEntries([...text.matchAll(line)].map((match) => [match[1], Number(match[2])]));
}

/** Sends each case, checks its answer, and then that exactly these were counted. */
async function refuseAll(cases: readonly Case[], to: Address, daemon: string): Promise<void> {
  const expected = await refusedBy(daemon);
  for (const { name, bytes, refusal, counted } of cases) {
    expect(await send(to, ...bytes()), name).toEqual({ refusal, closed: true });
    expected[counted] = (expected[counted] ?? 0) + 1;
  }
  // OSDs report every few seconds.
  await expect.poll(() => refusedBy(daemon), { timeout: 30_000 }).toEqual(expected);
}

async function expectUndisturbed(): Promise<void> {
  const rows = await cairnJson<OsdRow[]>(dir, "osd", "ls");
  const identity = ({ id, up, incarnation, upFrom }: OsdRow) => ({ id, up, incarnation, upFrom });
  expect(rows.map(identity)).toEqual(osds.map(identity));
  const status = await cairnJson<ClusterStatus>(dir, "status");
  // Not the health: on a busy machine an OSD can be called slow.
  expect(status.pgs.byState).toEqual({ "active+clean": status.pgs.total });
  await cairnJson(dir, "create", "rbd/probe", "--size", "8M");
  await cairnJson(dir, "rm", "rbd/probe");
}

describe("strangers", () => {
  it("are refused by an OSD, by name and number", async () => {
    const [osd] = osds;
    if (osd === undefined) throw new Error("no OSD");
    await refuseAll(atTheOsd, osd.address, "osd.0");
    await expectUndisturbed();
  });

  it("are refused by the monitor, by name and number", async () => {
    await refuseAll(atTheMonitor, control, "mon");
    await expectUndisturbed();
  });

  it("do not stop the others by saying nothing", async () => {
    const silent = Array.from({ length: 300 }, () => connect(control.port, control.host));
    for (const socket of silent) socket.on("error", () => undefined);
    await expectUndisturbed();
    for (const socket of silent) socket.destroy();
  });
});

describe("an operation beyond the limits", () => {
  it("ends at the client, at once, and its connections stay", async () => {
    const cluster = await ClusterClient.connect({ monitor: control, log: () => undefined });
    try {
      const pool = cluster.pool("rbd").id;
      const key = "k".repeat(1025);
      const value = Buffer.alloc((1 << 20) + 1);
      const set = (object: string, step: { key: string; value?: Uint8Array }) =>
        cluster.io.operate(pool, object, [{ code: "omapSet", ...step }]);
      await expect(set("probe", { key })).rejects.toMatchObject({ code: "too_large" });
      await expect(set("probe", { key: "k", value })).rejects.toMatchObject({ code: "too_large" });
      const long = set("n".repeat(256), { key: "k" });
      await expect(long).rejects.toMatchObject({ code: "invalid_argument" });
      const many = Array.from({ length: 65 }, () => ({ code: "touch" as const }));
      const tooMany = cluster.io.operate(pool, "probe", many);
      await expect(tooMany).rejects.toMatchObject({ code: "invalid_argument" });
      expect(await cluster.io.operate(pool, "probe", [{ code: "touch" }])).toBeDefined();
      expect((await cluster.io.stats()).counters).toMatchObject({ connectionLosses: 0 });
      await cluster.io.operate(pool, "probe", [{ code: "remove" }]);
    } finally {
      await cluster.close();
    }
  });
});

describe("a map with an impossible rule", () => {
  it("is not taken from a user: a pool names a rule that exists", async () => {
    const args = ["pool", "create", "odd", "--crush-rule", "99"];
    const { code, stderr } = await cairn(dir, ...args);
    expect(code).toBe(2);
    expect(stderr).toContain("no rule 99");
  });
});

/**
 * Changes a field of both copies of an OSD's superblock, and makes their checksums right.
 * @returns what was there
 */
function patchSuperblock(file: string, offset: number, value: number): number {
  const blockBytes = 4096;
  const fd = openSync(file, "r+");
  const block = Buffer.alloc(blockBytes);
  readSync(fd, block, 0, blockBytes, 0);
  const last = Number(block.readBigUInt64LE(88)) - blockBytes;
  const before = block.readUInt32LE(offset);
  for (const at of [0, last]) {
    readSync(fd, block, 0, blockBytes, at);
    block.writeUInt32LE(value, offset);
    block.writeUInt32LE(0, 8);
    block.writeUInt32LE(native.crc32c(block, 0), 8);
    writeSync(fd, block, 0, blockBytes, at);
  }
  closeSync(fd);
  return before;
}

describe("a store that this program does not understand", () => {
  const store = path.join(dir, "osd.2", "store");
  const versionAt = 12;
  const incompatibleAt = 16;
  const clusterAt = 40;
  const start = () => cairn(dir, "osd", "--id", "2", "--dir", dir);

  it("is refused: a newer version, an unknown feature, another cluster's", async () => {
    process.kill(daemonPid(dir, "osd.2"), "SIGTERM");
    const isDown = async () => (await cairnJson<OsdRow[]>(dir, "osd", "ls"))[2]?.up;
    await expect.poll(isDown, { timeout: 30_000 }).toBe(false);
    const refused = [
      { at: versionAt, value: 2, text: "format version 2" },
      { at: incompatibleAt, value: 0x80, text: "feature bit 7" },
      { at: clusterAt, value: 0x5eed, text: "the store belongs to cluster ed5e0000" },
    ];
    for (const { at, value, text } of refused) {
      const normal = patchSuperblock(store, at, value);
      const { code, stderr } = await start();
      expect(code, text).toBe(1);
      expect(stderr).toContain(text);
      patchSuperblock(store, at, normal);
    }
    // The two that are left serve on, and the third comes back with its store as it was.
    await cairnJson(dir, "create", "rbd/two", "--size", "8M");
    const args = [path.resolve("bin/cairn"), "osd", "--id", "2", "--dir", dir];
    const again = spawn(process.execPath, args, { stdio: "ignore" });
    const states = async () => (await cairnJson<ClusterStatus>(dir, "status")).pgs.byState;
    await expect.poll(states, { timeout: 60_000 }).toEqual({ "active+clean": 32 });
    again.kill("SIGTERM");
    await once(again, "exit");
  });
});
