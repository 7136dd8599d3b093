// What strangers and damaged stores can send to a cluster of real processes: each is refused with a
// named code, counted in /metrics, and disturbs nobody else. Raw sockets speak to the OSD's native
// listener and to the monitor's.
import { once } from "node:events";
import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ClusterClient } from "../../client/index.js";
import type { Address } from "../../common/config.js";
import type { ErrorCode } from "../../common/errors.js";
import type { ClusterStatus, Health, OsdRow } from "../../proto/commands.js";
import { clusterBytes } from "../../proto/control-channel.js";
import { encodeFrame } from "../../proto/frame.js";
import { type Entity, encodeHello, type Hello } from "../../proto/handshake.js";
import { encodeMessage } from "../../proto/messages.js";
import { makeIncremental } from "../../proto/osd-map.js";
import { MapProxy } from "./map-proxy.js";
import { headerOf, send } from "./stranger.js";
import { damageSuperblocks, patchSuperblock, putBlocks } from "./superblock.js";
import { cairn, cairnJson, callNoOsdSlow, daemonPid, SteadyWriter, spawnCairn } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-bad-input-"));
const dir = path.join(folder, "cluster");
const client: Entity = { kind: "client", id: 77n, incarnation: 78n };

let clusterId = "";
let control: Address;
let http: Address;
let osds: OsdRow[] = [];
let writer: SteadyWriter;

beforeAll(async () => {
  const up = await cairnJson<{ clusterId: string }>(dir, "up", "--osds", "3", "--osd-size", "4G");
  clusterId = up.clusterId;
  const addresses = JSON.parse(readFileSync(path.join(dir, "mon", "addresses.json"), "utf8"));
  control = addresses.control;
  http = addresses.http;
  osds = await cairnJson<OsdRow[]>(dir, "osd", "ls");
  await callNoOsdSlow(dir);
  await cairnJson(dir, "create", "rbd/load", "--size", "16M");
  writer = await SteadyWriter.start(dir, "rbd/load", 4);
});

afterAll(async () => {
  await writer.stop();
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

/** A sample of /metrics now, by how its line begins; 0: there is none. */
async function metric(sample: string): Promise<number> {
  const text = await (await fetch(`http://${http.host}:${http.port}/metrics`)).text();
  const line = text.split("\n").find((each) => each.startsWith(`${sample} `));
  return Number(line?.slice(sample.length) ?? 0);
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

const identity = ({ id, up, incarnation, upFrom }: OsdRow) => ({ id, up, incarnation, upFrom });

/** The OSDs are the same lives as ever, the PGs are clean, and the writer writes on. */
async function expectUndisturbed(): Promise<void> {
  const { writes } = writer;
  const rows = await cairnJson<OsdRow[]>(dir, "osd", "ls");
  expect(rows.map(identity)).toEqual(osds.map(identity));
  const status = await cairnJson<ClusterStatus>(dir, "status");
  expect(status.pgs.byState).toEqual({ "active+clean": status.pgs.total });
  expect(status.health.checks).toEqual([]);
  await expect.poll(() => writer.writes).toBeGreaterThan(writes + 20);
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
  const noRule = 99;

  it.each([
    ["pool create", ["pool", "create", "odd", "--crush-rule", `${noRule}`]],
    ["pool set", ["pool", "set", "rbd", "crush_rule", `${noRule}`]],
  ])("is not made by an operator's %s, and that is counted", async (verb, args) => {
    const labels = `daemon="mon",verb="${verb}",code="invalid_argument"`;
    const sample = `cairn_refused_commands_total{${labels}}`;
    const before = await metric(sample);
    const { code, stderr } = await cairn(dir, ...args);
    expect(code).toBe(2);
    expect(stderr).toContain(`no rule ${noRule}`);
    expect(await metric(sample)).toBe(before + 1);
    await expectUndisturbed();
  });

  it("is not taken by OSD and client, which count it and go on by the one before", async () => {
    const proxy = await MapProxy.listen(control);
    const stop = await restartAt(2, proxy.address);
    const client = await ClusterClient.connect({ monitor: proxy.address, log: () => undefined });
    client.reportStats("client.test", 100);
    try {
      osds = await cairnJson<OsdRow[]>(dir, "osd", "ls");
      const sample = (daemon: string) =>
        `cairn_refused_maps_total{daemon="${daemon}",code="corrupt"}`;
      const daemons = ["osd.2", "client.test"];
      for (const daemon of daemons) expect(await metric(sample(daemon))).toBe(0);
      const map = client.map();
      const pools = map.pools.map((pool) => ({ ...pool, crushRule: noRule }));
      const { incremental } = makeIncremental(map, { pools }, map.modifiedAt);
      expect(proxy.inject({ kind: "maps", incrementals: [incremental] })).toBe(daemons.length);
      for (const daemon of daemons) await expect.poll(() => metric(sample(daemon))).toBe(1);
      await expectUndisturbed();
      const pool = client.pool("rbd").id;
      expect(await client.io.operate(pool, "probe", [{ code: "touch" }])).toBeDefined();
      await client.io.operate(pool, "probe", [{ code: "remove" }]);
    } finally {
      await client.close();
      await stop();
      proxy.close();
    }
  });
});

/** Ends an OSD, and runs it in the foreground on another monitor's address. @returns ends that */
async function restartAt(id: number, { host, port }: Address): Promise<() => Promise<void>> {
  await stopOsd(id);
  const args = ["osd", "--id", `${id}`, "--monitor", `${host}:${port}`];
  const child = spawnCairn(dir, ...args);
  await untilClean();
  return async () => {
    const exit = once(child, "exit");
    child.kill("SIGTERM");
    await exit;
  };
}

async function stopOsd(id: number): Promise<void> {
  process.kill(daemonPid(dir, `osd.${id}`), "SIGTERM");
  const isUp = async () => (await cairnJson<OsdRow[]>(dir, "osd", "ls"))[id]?.up;
  await vi.waitFor(async () => expect(await isUp()).toBe(false), { timeout: 30_000 });
}

async function untilClean(): Promise<void> {
  const states = async () => {
    const { osds: counts, pgs } = await cairnJson<ClusterStatus>(dir, "status");
    return { up: counts.up, ...pgs.byState };
  };
  const clean = { up: 3, "active+clean": 32 };
  await vi.waitFor(async () => expect(await states()).toEqual(clean), { timeout: 60_000 });
}

interface StoreCase {
  name: string;
  code: ErrorCode;
  text: string;
  /** makes it so; @returns takes it back */
  spoil(): () => void;
}

describe("a store that an OSD must not run on", () => {
  const store = path.join(dir, "osd.2", "store");
  const patched = (offset: number, value: number) => () => {
    const before = patchSuperblock(store, offset, value);
    return () => {
      patchSuperblock(store, offset, before);
    };
  };
  const cases: StoreCase[] = [
    {
      name: "a newer version's",
      code: "incompatible_version",
      text: "format version 2",
      spoil: patched(12, 2),
    },
    {
      name: "with an unknown feature bit",
      code: "unsupported_feature",
      text: "feature bit 7",
      spoil: patched(16, 0x80),
    },
    {
      name: "another cluster's",
      code: "wrong_cluster",
      text: "the store belongs to cluster ed5e0000",
      spoil: patched(40, 0x5eed),
    },
    {
      name: "another OSD's",
      code: "wrong_daemon",
      text: "the store belongs to osd.1",
      spoil: patched(72, 1),
    },
    {
      name: "with both superblocks damaged",
      code: "corrupt",
      text: "does not match its checksum",
      spoil: () => {
        const blocks = damageSuperblocks(store);
        return () => putBlocks(store, blocks);
      },
    },
    {
      name: "that is not there",
      code: "not_found",
      text: "No such file",
      spoil: () => {
        renameSync(store, `${store}.away`);
        return () => renameSync(`${store}.away`, store);
      },
    },
  ];
  const samples = cases.map(({ code }) => sampleOf(code));

  function sampleOf(code: ErrorCode): string {
    return `cairn_osd_start_refused_total{daemon="osd.2",code="${code}"}`;
  }

  beforeAll(async () => {
    await cairn(dir, "up");
    await untilClean();
    await stopOsd(2);
    osds = await cairnJson<OsdRow[]>(dir, "osd", "ls");
  });

  it.each(cases)("$name: refused, counted, named in health", async ({ code, text, spoil }) => {
    const before = await Promise.all(samples.map(metric));
    const { writes } = writer;
    const restore = spoil();
    const refused = await cairn(dir, "osd", "--id", "2", "--dir", dir);
    restore();
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(text);
    const added = cases.map((each) => Number(each.code === code));
    const expected = before.map((count, index) => count + (added[index] ?? 0));
    expect(await Promise.all(samples.map(metric))).toEqual(expected);
    const health = await cairnJson<Health>(dir, "health");
    const warning = health.checks.find(({ name }) => name === "OSD_START_REFUSED");
    expect(warning?.detail).toEqual([expect.stringMatching(`^osd\\.2 .*: ${code}: .*${text}`)]);
    const log = await cairn(dir, "log", "last", "100");
    expect(log.stdout).toMatch(new RegExp(`osd\\.2 could not start: ${code}: .*${text}`));
    // The two that are left serve on, as the same lives.
    const rows = await cairnJson<OsdRow[]>(dir, "osd", "ls");
    expect(rows.map(identity)).toEqual(osds.map(identity));
    await expect.poll(() => writer.writes).toBeGreaterThan(writes + 20);
  });

  it("is forgotten when the OSD comes back, with its store as it was", async () => {
    expect((await cairn(dir, "up")).code).toBe(0);
    await untilClean();
    const { checks } = await cairnJson<Health>(dir, "health");
    expect(checks.map(({ name }) => name)).not.toContain("OSD_START_REFUSED");
  });
});

describe("a second process on the store of an OSD that runs", () => {
  it("is refused and counted, and no word of it is in health", async () => {
    const sample = 'cairn_osd_start_refused_total{daemon="osd.1",code="busy"}';
    const config = JSON.parse(readFileSync(path.join(dir, "cluster.json"), "utf8"));
    osds = await cairnJson<OsdRow[]>(dir, "osd", "ls");
    const { host, port } = config.monitor;
    const data = ["--data", path.join(dir, "osd.1"), "--monitor", `${host}:${port}`];
    const second = await cairn(dir, "osd", "--id", "1", ...data, "--listen", "127.0.0.1:0");
    expect(second.code).toBe(1);
    expect(await metric(sample)).toBe(1);
    await expectUndisturbed();
  });
});
