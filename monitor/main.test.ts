// Tests of the whole monitor with real sockets, files and HTTP; only CRUSH is a fake.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type MonitorConfig, MonitorConfigSchema, parseConfig } from "../common/config.js";
import type { Health, LogEntry } from "../proto/commands.js";
import type { Entity } from "../proto/handshake.js";
import type { Refused } from "../proto/messages.js";
import { addressFile, type MonitorHandle, mkfs, runMonitor } from "./main.js";
import { fakeCrush } from "./testing/fake-crush.js";
import { TestClient } from "./testing/test-client.js";
import { bootOf, statsOf } from "./testing/test-cluster.js";

let root = "";
let config: MonitorConfig;
let clusterId = "";
let monitor: MonitorHandle | undefined;
const clients: TestClient[] = [];

beforeEach(async () => {
  root = mkdtempSync(path.join(tmpdir(), "cairn-monitor-"));
  const dataDir = path.join(root, "mon");
  const log = { file: path.join(root, "mon.log"), level: "info" };
  config = parseConfig(MonitorConfigSchema, { dataDir, log }, "test");
  clusterId = await mkfs({ dataDir }, { crush: fakeCrush });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.end();
  await monitor?.close();
  monitor = undefined;
  rmSync(root, { recursive: true });
});

async function start(overrides: Partial<MonitorConfig> = {}): Promise<MonitorHandle> {
  monitor = await runMonitor({ ...config, ...overrides }, { crush: fakeCrush });
  return monitor;
}

async function dial(self?: Entity, cluster: string | undefined = clusterId): Promise<TestClient> {
  if (monitor === undefined) throw new Error("no monitor");
  const client = await TestClient.dial(monitor.address, self, cluster);
  clients.push(client);
  return client;
}

function osdEntity(id: number, incarnation = 1000 + id): Entity {
  return { kind: "osd", id: BigInt(id), incarnation: BigInt(incarnation) };
}

async function dialOsd(id: number, incarnation = 1000 + id): Promise<TestClient> {
  const client = await dial(osdEntity(id, incarnation));
  client.send({ kind: "subscribe", fromEpoch: 0 as never });
  client.send(bootOf(id, { incarnation: String(incarnation) }));
  await client.maps(({ full, incrementals }) =>
    [full?.osds, ...incrementals.map(({ changes }) => changes.osds)].some((osds) =>
      osds?.some((osd) => osd.id === id && osd.up && osd.incarnation === String(incarnation)),
    ),
  );
  return client;
}

function get(url: string): Promise<Response> {
  const address = monitor?.httpAddress;
  return fetch(`http://${address?.host}:${address?.port}${url}`);
}

const logText = () => readFileSync(path.join(root, "mon.log"), "utf8");

describe("the control server", () => {
  it("boots OSDs, pushes incrementals to subscribers, and answers commands", async () => {
    await start();
    const client = await dial();
    client.send({ kind: "subscribe", fromEpoch: 0 as never });
    const first = await client.maps(({ full }) => full !== undefined);
    expect(first.full).toMatchObject({ epoch: 1, clusterId });
    await dialOsd(0);
    const pushed = await client.maps(({ incrementals }) => incrementals.length > 0);
    expect(pushed.incrementals[0]).toMatchObject({ epoch: 2, previousHash: first.full?.hash });
    const { epoch } = (await client.command("osd out", { id: 0 })) as { epoch: number };
    expect(epoch).toBe(3);
    await expect(client.command("osd out", { id: 5 })).rejects.toMatchObject({
      code: "not_found",
      remedy: expect.any(String),
    });
  });

  it("takes an OSD down that is reported and whose connection broke", async () => {
    await start();
    const [first] = [await dialOsd(0), await dialOsd(1)];
    const dying = await dialOsd(2);
    dying.end();
    first.send({
      kind: "osdFailure",
      reporter: 0,
      target: 2,
      targetIncarnation: "1002",
      epoch: 4 as never,
      reason: "connection_reset",
    });
    await first.maps(({ incrementals }) =>
      incrementals.some(({ changes }) => changes.osds?.some(({ id, up }) => id === 2 && !up)),
    );
  });

  it("keeps its maps over a restart, and continues the chain", async () => {
    await start();
    await dialOsd(0);
    const before = monitor?.cluster.map();
    await monitor?.close();
    await start();
    expect(monitor?.cluster.map()).toEqual(before);
    const client = await dial();
    const haveHash = before?.hash ?? "";
    client.send({ kind: "subscribe", fromEpoch: ((before?.epoch ?? 0) + 1) as never, haveHash });
    await client.command("osd set", { flag: "noout" });
    const maps = await client.maps(() => true);
    expect(maps.incrementals).toMatchObject([{ previousHash: haveHash }]);
  });

  it("takes no reported OSD for gone because it is stopping itself", async () => {
    await start();
    const reporter = await dialOsd(0);
    for (const id of [1, 2]) await dialOsd(id);
    const { epoch } = monitor?.cluster.map() ?? { epoch: 0 };
    const report = {
      kind: "osdFailure",
      reporter: 0,
      target: 2,
      targetIncarnation: "1002",
    } as const;
    reporter.send({ ...report, epoch: epoch as never, reason: "connection_reset" });
    await reporter.command("health");
    await monitor?.close();
    await start();
    // Whether such a decision still became durable would be a race.
    expect(logText()).not.toContain("marked down");
    expect(monitor?.cluster.map().epoch).toBe(epoch);
  });

  it("refuses an OSD with another store, and a subscriber of another history", async () => {
    await start();
    await dialOsd(0);
    const isRefused = (message: { kind: string }): message is Refused => message.kind === "refused";
    const foreign = await dial(osdEntity(0, 55));
    const uuid = "00000000-0000-4000-8000-0000000000ff";
    foreign.send(bootOf(0, { incarnation: "55", uuid }));
    expect((await foreign.next(isRefused)).error.code).toBe("wrong_daemon");
    await foreign.untilClosed();
    const ahead = await dial();
    ahead.send({ kind: "subscribe", fromEpoch: 100 as never });
    expect((await ahead.next(isRefused)).error.code).toBe("corrupt");
  });

  it("refuses a foreign cluster in the handshake; a client may not know the id", async () => {
    await start();
    const other = "ffffffff-0000-4000-8000-000000000001";
    await expect(dial(undefined, other)).rejects.toMatchObject({ code: "wrong_cluster" });
    const client = await TestClient.dial(
      (monitor as MonitorHandle).address,
      { kind: "client", id: 1n, incarnation: 1n },
      undefined,
    );
    clients.push(client);
    expect(await client.command("health")).toMatchObject({ status: "HEALTH_WARN" });
  });

  it("pushes log levels as they are set, its own too", async () => {
    await start();
    const osd = await dialOsd(0);
    const client = await dial();
    await client.command("config set", { name: "log_level", value: "debug" });
    await osd.next((message): message is never => message.kind === "logLevel");
    await client.command("config set", { name: "mon.log_level", value: "silent" });
    const size = logText().length;
    await client.command("osd set", { flag: "noout" });
    expect(logText().length).toBe(size);
    const late = await dial(osdEntity(4));
    await late.next((message): message is never => message.kind === "logLevel");
  });

  it("ignores what an OSD says in another's name or incarnation: closes, or drops", async () => {
    await start();
    await dialOsd(0);
    const forger = await dialOsd(1);
    forger.send({ kind: "osdMarkMeDown", osd: 0, incarnation: "1000" });
    await forger.untilClosed();
    const early = await dial(osdEntity(2));
    early.send(statsOf(2));
    await early.command("health");
    const stale = await dial(osdEntity(0, 999));
    stale.send({ kind: "osdMarkMeDown", osd: 0, incarnation: "1000" });
    stale.send(statsOf(0, { usedBytes: 7 }));
    // On the same connection, so that it is answered after them.
    const { osds } = (await stale.command("osd ls")) as { osds: object[] };
    expect(osds).toMatchObject([{ id: 0, up: true }, { id: 1 }]);
    expect(osds[0]).not.toHaveProperty("usedBytes");
  });

  it("closes on garbage with one log line, and goes on serving", async () => {
    await start();
    const address = (monitor as MonitorHandle).address;
    const raw = connect(address.port, address.host);
    raw.write(Buffer.alloc(4096, 0x47));
    await new Promise((resolve) => raw.once("close", resolve));
    const client = await dial();
    client.socket.write(Buffer.from("CRN1garbage that is long enough to be a header"));
    await client.untilClosed();
    const lines = logText().split("\n");
    expect(lines.filter((line) => line.includes("protocol_error"))).toHaveLength(2);
    expect(await (await dial()).command("health")).toBeDefined();
  });

  it("counts starts that were refused, warns of them, and disturbs no OSD that runs", async () => {
    await start();
    const real = await dialOsd(0);
    (await dialOsd(1)).end();
    await real.command("osd down", { id: 1 });
    const error = { code: "incompatible_version", message: "format version 2" } as const;
    const { uuid } = bootOf(0);
    const say = async (osd: number, uuidOfStore: string) => {
      const client = await dial(osdEntity(osd, 9999));
      const words = { kind: "osdStartRefused", osd, uuid: uuidOfStore, host: "h", error } as const;
      client.send(words);
      await client.untilClosed();
    };
    await say(0, uuid);
    await say(1, uuid.replace(/0$/, "1"));
    await say(7, uuid.replace(/0$/, "7"));
    await say(0, uuid.replace(/0$/, "f"));
    const liar = await dial(osdEntity(2, 9999));
    liar.send({ kind: "osdStartRefused", osd: 1, host: "h", error });
    await liar.untilClosed();
    const text = await (await get("/metrics")).text();
    const line = (osd: number) =>
      `cairn_osd_start_refused_total{daemon="osd.${osd}",code="incompatible_version"} 1`;
    for (const osd of [0, 1, 7]) expect(text).toContain(line(osd));
    for (const code of ["wrong_daemon", "protocol_error"]) {
      expect(text).toContain(`cairn_refused_connections_total{daemon="mon",code="${code}"} 1`);
    }
    const health = (await real.command("health")) as Health;
    const warning = health.checks.find(({ name }) => name === "OSD_START_REFUSED");
    expect(warning?.detail).toEqual(["osd.1 (host h): incompatible_version: format version 2."]);
    expect(real.closed).toBe(false);
    expect(monitor?.cluster.map().osds[0]).toMatchObject({ up: true, incarnation: "1000" });
    await dialOsd(1, 2001);
    // Not even when they go down: of one a second process was refused, the other one has run since.
    for (const id of [0, 1]) await real.command("osd down", { id });
    const after = (await real.command("health")) as Health;
    expect(after.checks.map(({ name }) => name)).toContain("OSD_DOWN");
    expect(after.checks.map(({ name }) => name)).not.toContain("OSD_START_REFUSED");
    const log = (await real.command("log last", { count: 100 })) as { entries: LogEntry[] };
    const messages = log.entries.map(({ message }) => message);
    expect(messages).toContain("osd.1 could not start: incompatible_version: format version 2");
    expect(messages).toContain("OSD_START_REFUSED has cleared");
  });

  it("counts commands that it refuses, those that there are not as one", async () => {
    await start();
    const client = await dial();
    for (const verb of ["osd out", "constructor", "no such verb"]) {
      await expect(client.command(verb, { id: 9 })).rejects.toThrow();
    }
    const text = await (await get("/metrics")).text();
    const line = (verb: string, code: string, count: number) =>
      `cairn_refused_commands_total{daemon="mon",verb="${verb}",code="${code}"} ${count}`;
    expect(text).toContain(line("osd out", "not_found", 1));
    expect(text).toContain(line("unknown", "invalid_argument", 2));
  });

  it("leaves an OSD alone when another claims its id, and counts whom it refused", async () => {
    await start();
    const real = await dialOsd(0);
    const impostor = await dial(osdEntity(0, 9999));
    const uuid = "00000000-0000-4000-8000-00000000ffff";
    impostor.send(bootOf(0, { incarnation: "9999", uuid }));
    const refused = await impostor.next(
      (message): message is Refused => message.kind === "refused",
    );
    expect(refused.error.code).toBe("wrong_daemon");
    await impostor.untilClosed();
    const liar = await dialOsd(1);
    liar.send(statsOf(0));
    await liar.untilClosed();
    const elsewhere = clusterId.replace(/^./, (digit) => (digit === "f" ? "0" : "f"));
    await expect(dial(osdEntity(5), elsewhere)).rejects.toMatchObject({ code: "wrong_cluster" });
    // The real one is still served, as the same session.
    expect(real.closed).toBe(false);
    real.send(statsOf(0, { counters: { refused_connections_busy: 3, reads: 4 } }));
    const line = (daemon: string, code: string, count: number) =>
      `cairn_refused_connections_total{daemon="${daemon}",code="${code}"} ${count}`;
    await expect
      .poll(async () => (await get("/metrics")).text(), { timeout: 5000 })
      .toContain(line("osd.0", "busy", 3));
    const text = await (await get("/metrics")).text();
    for (const code of ["wrong_daemon", "protocol_error", "wrong_cluster"]) {
      expect(text).toContain(line("mon", code, 1));
    }
    expect(text).toContain('cairn_reads_total{daemon="osd.0"} 4');
    expect(monitor?.cluster.map().osds[0]).toMatchObject({ up: true, incarnation: "1000" });
  });

  it("lets an OSD that has restarted take the place of its own old connection", async () => {
    await start();
    const before = await dialOsd(0);
    await dialOsd(0, 2000);
    await before.untilClosed();
    expect(monitor?.cluster.map().osds[0]).toMatchObject({ up: true, incarnation: "2000" });
  });

  it("closes a connection that says nothing, in 3 s", async () => {
    await start();
    const address = (monitor as MonitorHandle).address;
    const raw = connect(address.port, address.host);
    const started = performance.now();
    await new Promise((resolve) => raw.once("close", resolve));
    expect(performance.now() - started).toBeLessThan(4500);
    expect(logText()).toContain("no handshake in time");
  });

  it("holds maps back from a slow reader, then catches it up", async () => {
    await start();
    const slow = await dial();
    slow.socket.pause();
    slow.send({ kind: "subscribe", fromEpoch: 0 as never });
    const client = await dial();
    const big = "x".repeat(500_000);
    for (let round = 0; round < 40; round += 1) {
      await monitor?.cluster.change({ crush: JSON.stringify({ osds: [], big, round }) });
    }
    const queued = monitor?.cluster.mapsSince(2);
    expect(queued?.incrementals).toHaveLength(8);
    slow.socket.resume();
    const last = monitor?.cluster.map().epoch;
    await slow.maps(({ full, incrementals }) => (incrementals.at(-1) ?? full)?.epoch === last);
    // One message for each epoch would mean that all of them were queued.
    expect(slow.received.length).toBeLessThan(35);
    expect(await client.command("health")).toBeDefined();
  });
});

describe("HTTP", () => {
  it("serves /api/v1 as JSON that fits its schemas", async () => {
    await start();
    for (const id of [0, 1, 2]) (await dialOsd(id)).send(statsOf(id, { usedBytes: 4096 }));
    const client = await dial();
    await client.command("pool create", { name: "rbd", pgNum: 8 });
    const status = await (await get("/api/v1/status")).json();
    expect(status).toMatchObject({ clusterId, osds: { up: 3 }, pgs: { total: 8 } });
    expect(await (await get("/api/v1/osds")).json()).toMatchObject({
      osds: [{ id: 0, up: true, usedBytes: 4096 }, { id: 1 }, { id: 2 }],
    });
    const pgs = (await (await get("/api/v1/pgs?pool=rbd")).json()) as { pgs: object[] };
    expect(pgs.pgs).toHaveLength(8);
    expect(await (await get("/api/v1/pools")).json()).toMatchObject({ pools: [{ name: "rbd" }] });
    expect(await (await get("/api/v1/health")).json()).toMatchObject({ status: "HEALTH_WARN" });
    await client.command("pool set", { name: "rbd", setting: "pg_num", value: "16" });
    const splits = [{ pool: "rbd", pgNum: 16, pgpNum: 8 }];
    expect(await (await get("/api/v1/status")).json()).toMatchObject({ splits });
    expect(await (await get("/api/v1/pools")).json()).toMatchObject({
      pools: [{ name: "rbd", pgNum: 16, pgpNum: 8 }],
    });
    const metrics = (await (await get("/metrics")).text()).split("\n");
    expect(metrics).toContain('cairn_pool_pg_num{pool="rbd"} 16');
    expect(metrics).toContain('cairn_pool_pgp_num{pool="rbd"} 8');
  });

  it.each([
    ["/api/v1/nothing", 404, "not_found"],
    ["/api/v1/pgs?pool=none", 404, "not_found"],
    ["/api/v1/pgs?colour=red", 400, "invalid_argument"],
    ["/api/v1/images", 400, "invalid_argument"],
    ["/api/v1/images?pool=none", 404, "not_found"],
    ["/api/v1/images?pool=rbd", 501, "unsupported_feature"],
  ])("answers %s with %i %s", async (url, status, code) => {
    await start();
    await (await dial()).command("pool create", { name: "rbd", pgNum: 8 });
    const response = await get(url);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { code, message: expect.any(String) } });
  });

  it("lists images through its port", async () => {
    const images = [{ name: "vm1", id: "a1", sizeBytes: 4 << 20 }];
    const listImages = () => Promise.resolve(images);
    monitor = await runMonitor(config, { crush: fakeCrush, listImages });
    await (await dial()).command("pool create", { name: "rbd", pgNum: 8 });
    expect(await (await get("/api/v1/images?pool=rbd")).json()).toEqual({ images });
  });

  it("shows cluster gauges and every daemon's counters and histograms in /metrics", async () => {
    await start();
    const histogram = { boundsNs: [9000, 15_000, 2e10], counts: [4, 2, 1], sumNs: 3e9 };
    const osd = await dialOsd(0);
    osd.send(
      statsOf(0, {
        counters: {
          frames_sent: 9,
          refused_maps_corrupt: 2,
          net_connections_unix: 4,
          store_metadata_cache_bytes: 5,
        },
        histograms: { write: histogram },
      }),
    );
    const { kind: _kind, osd: _osd, epoch: _epoch, ...rest } = statsOf(0);
    const { pgs: _pgs, heartbeats: _beats, usedBytes: _used, totalBytes: _total, ...own } = rest;
    const client = await dial();
    client.send({ kind: "clientStats", daemon: "client.vm1", ...own, counters: { reads: 3 } });
    await client.command("health");
    const response = await get("/metrics");
    expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    const lines = (await response.text()).split("\n");
    for (const line of [
      "# TYPE cairn_write_seconds histogram",
      'cairn_write_seconds_bucket{le="0.00001",daemon="osd.0"} 4',
      'cairn_write_seconds_bucket{le="0.00002",daemon="osd.0"} 6',
      'cairn_write_seconds_bucket{le="10",daemon="osd.0"} 6',
      'cairn_write_seconds_bucket{le="+Inf",daemon="osd.0"} 7',
      'cairn_write_seconds_sum{daemon="osd.0"} 3',
      'cairn_write_seconds_count{daemon="osd.0"} 7',
      'cairn_frames_sent_total{daemon="osd.0"} 9',
      'cairn_refused_maps_total{daemon="osd.0",code="corrupt"} 2',
      'cairn_net_connections{daemon="osd.0",transport="unix"} 4',
      'cairn_store_metadata_cache_bytes{daemon="osd.0"} 5',
      'cairn_reads_total{daemon="client.vm1"} 3',
      'cairn_osd_up{daemon="osd.0"} 1',
      'cairn_osd_slow{daemon="osd.0"} 0',
      'cairn_osd_failed{daemon="osd.0"} 0',
      'cairn_osd_full_state{daemon="osd.0"} 0',
      "cairn_map_epoch 2",
      'cairn_process_cpu_seconds_total{daemon="osd.0"} 1',
    ]) {
      expect(lines.map(sortedLabels)).toContain(sortedLabels(line));
    }
    expect(lines.filter((line) => line.startsWith("# TYPE cairn_osd_up "))).toHaveLength(1);
    osd.end();
    client.end();
    await expect
      .poll(async () => /frames_sent|reads/.test(await (await get("/metrics")).text()))
      .toBe(false);
  });
});

/** A sample line with its labels in order: their order means nothing. */
function sortedLabels(line: string): string {
  return line.replace(/\{(.*)\}/, (_, labels: string) => `{${labels.split(",").sort().join()}}`);
}

describe("runMonitor", () => {
  it("keeps its folder private, writes nothing else, removes its address file", async () => {
    await start();
    expect(statSync(config.dataDir).mode & 0o777).toBe(0o700);
    const addresses = JSON.parse(readFileSync(addressFile(config.dataDir), "utf8"));
    expect(addresses).toMatchObject({ clusterId, control: monitor?.address });
    await monitor?.close();
    expect(readdirSync(root).sort()).toEqual(["mon", "mon.log"]);
    expect(readdirSync(config.dataDir).sort()).toEqual(["cluster-log.jsonl", "head", "store"]);
  });

  it("refuses a second monitor on the folder, and busy ports, and stays usable", async () => {
    await start();
    await expect(runMonitor(config, { crush: fakeCrush })).rejects.toMatchObject({
      code: "busy",
      message: expect.stringContaining(config.dataDir),
    });
    const busy = createServer();
    await new Promise<void>((resolve) => busy.listen(0, "127.0.0.1", resolve));
    const { port } = busy.address() as { port: number };
    await monitor?.close();
    const taken = { host: "127.0.0.1", port };
    for (const overrides of [{ listen: taken }, { http: taken }]) {
      await expect(start(overrides)).rejects.toMatchObject({
        code: "address_in_use",
        message: expect.stringContaining(`127.0.0.1:${port}`),
      });
    }
    await new Promise((resolve) => busy.close(resolve));
    await start();
  });

  it("makes no cluster twice, and none of a wrong kind", async () => {
    const { dataDir } = config;
    const ports = { crush: fakeCrush };
    await expect(mkfs({ dataDir }, ports)).rejects.toMatchObject({ code: "already_exists" });
    const other = path.join(root, "other");
    for (const wrong of [{ clusterId: "x" }, { failureDomain: "moon" }]) {
      await expect(mkfs({ dataDir: other, ...wrong }, ports)).rejects.toMatchObject({
        code: "invalid_argument",
      });
    }
    await expect(runMonitor({ ...config, dataDir: other }, ports)).rejects.toMatchObject({
      code: "not_found",
    });
    expect(readdirSync(root)).not.toContain("other");
  });
});
