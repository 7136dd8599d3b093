// Maps with rules that nothing can be placed by: whoever gets one refuses it by a named error,
// counts it for /metrics, and goes on by the map before. The monitor is one that hands out what it
// is told to; the OSD and the clients are real.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ClusterClient } from "../../client/index.js";
import type { Epoch } from "../../common/units.js";
import { defaultMap, printCrushMap } from "../../crush/index.js";
import { mkfsOsd } from "../../osd/index.js";
import { emptyMap, testClusterId, testOsd, testPool } from "../../proto/fixtures.js";
import type { ClientStats, MessageToMonitor, OsdStats } from "../../proto/messages.js";
import { findOsd } from "../../proto/osd-map.js";
import { FakeMonitor } from "./fake-monitor.js";
import { cairn } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-bad-map-"));
const crush = printCrushMap(defaultMap([{ id: 0, weight: 1, host: "host0", deviceClass: "ssd" }]));
const pool = testPool(1, { name: "rbd", pgNum: 4, size: 1, minSize: 1 });
const timeout = 30_000;
const noRule = 99;

let monitor: FakeMonitor;
let osd: ChildProcess;
let osdStats: OsdStats | undefined;
let clientStats: ClientStats | undefined;
let wholeMapsAsked = 0;

/** What a monitor does for one OSD: it shows it up, and when it was alive. */
function answer(message: MessageToMonitor): void {
  const known = findOsd(monitor.map(), 0);
  switch (message.kind) {
    case "osdBoot": {
      const { uuid, incarnation, address, sizeBytes } = message;
      const upFrom = (monitor.map().epoch + 1) as Epoch;
      const up = { uuid, incarnation, address, sizeBytes, upFrom };
      if (known?.incarnation !== incarnation) monitor.publish({ osds: [testOsd(0, up)] });
      break;
    }
    case "osdAlive":
      if (known !== undefined) {
        monitor.publish({ osds: [{ ...known, upThru: message.wantUpThru }] });
      }
      break;
    case "osdStats":
      osdStats = message;
      break;
    case "clientStats":
      clientStats = message;
      break;
    case "subscribe":
      if (message.fromEpoch === 0) wholeMapsAsked += 1;
      break;
  }
}

const refused = (stats: OsdStats | ClientStats | undefined) =>
  stats?.counters.refused_maps_corrupt ?? 0;
const pgStates = () => [...new Set(osdStats?.pgs.map(({ state }) => state))];

beforeAll(async () => {
  monitor = await FakeMonitor.listen(
    emptyMap({ crush, maxOsd: 1, pools: [pool], nextPoolId: 2, epoch: 1 as Epoch }),
  );
  monitor.onMessage = answer;
  const dataDir = path.join(folder, "osd.0");
  await mkfsOsd({
    id: 0,
    dataDir,
    clusterId: testClusterId,
    sizeBytes: 2 ** 30,
    walBytes: 4 << 20,
  });
  const { host, port } = monitor.address;
  const places = ["--monitor", `${host}:${port}`, "--listen", "127.0.0.1:0", "--host", "host0"];
  const args = ["osd", "--id", "0", "--data", dataDir, ...places];
  const log = ["--log-file", path.join(folder, "osd.0.log")];
  osd = spawn(process.execPath, [path.resolve("bin/cairn"), ...args, ...log], { stdio: "ignore" });
});

afterAll(async () => {
  osd.kill("SIGKILL");
  if (osd.exitCode === null && osd.signalCode === null) await once(osd, "exit");
  monitor.close();
  rmSync(folder, { recursive: true, force: true });
});

it("is refused by OSD and client, and counted; both serve on by the map before", async () => {
  await expect.poll(pgStates, { timeout }).toEqual(["active+clean"]);
  const client = await ClusterClient.connect({ monitor: monitor.address, log: () => undefined });
  client.reportStats("client.test", 100);
  const touch = () => client.io.operate(pool.id, "probe", [{ code: "touch" }]);
  try {
    expect(await touch()).toBeDefined();
    const { epoch } = monitor.map();
    const askedBefore = wholeMapsAsked;
    const sinceMs = performance.now();
    monitor.publish({ pools: [{ ...pool, crushRule: noRule }] });
    await expect.poll(() => refused(osdStats), { timeout }).toBeGreaterThan(1);
    await expect.poll(() => refused(clientStats), { timeout }).toBe(1);
    expect(osdStats?.epoch).toBe(epoch);
    expect(pgStates()).toEqual(["active+clean"]);
    expect(await touch()).toBeDefined();
    expect(osd.exitCode).toBe(null);
    // Asked for once a second: the one that it gets is not better.
    const seconds = (performance.now() - sinceMs) / 1000;
    expect(wholeMapsAsked - askedBefore).toBeLessThan(seconds + 3);
    // A map that is good again is taken.
    monitor.publish({ pools: [pool] });
    await expect.poll(() => osdStats?.epoch, { timeout }).toBeGreaterThan(epoch + 1);
    await expect.poll(pgStates, { timeout }).toEqual(["active+clean"]);
    expect(await touch()).toBeDefined();
  } finally {
    await client.close();
  }
});

it("ends a client that has no other map with a named error", async () => {
  const impossible = crush.replace("step take default", "step take nowhere");
  const other = await FakeMonitor.listen(emptyMap({ crush: impossible, pools: [pool] }));
  const { host, port } = other.address;
  const args = ["ls", "rbd", "--monitor", `${host}:${port}`];
  const { code, stdout, stderr } = await cairn(path.join(folder, "none"), ...args);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain("nowhere");
  const connected = ClusterClient.connect({ monitor: other.address });
  await expect(connected).rejects.toMatchObject({ code: "corrupt" });
  other.close();
});
