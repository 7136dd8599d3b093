// What an OSD knows when it comes up: by maps in which it was not, and by its copies alone.
import { expect, it } from "vitest";
import { defined } from "../../common/assert.js";
import { pgId } from "../../common/units.js";
import { Coverage } from "./coverage.js";
import { SeededRandom } from "./random.js";
import { SimCluster } from "./sim-cluster.js";
import { Trace } from "./trace.js";

async function twoOsds(): Promise<SimCluster> {
  const driftsPpm = { osds: [0, 0], monitor: 0, clients: [] };
  const shape = { osds: 2, clients: 0, pgNum: 1, size: 2, minSize: 1, logEntriesKept: 100 };
  const random = new SeededRandom(7n);
  return SimCluster.start(
    { ...shape, driftsPpm },
    random,
    (nowNs) => new Trace(nowNs),
    new Coverage(),
  );
}

const isUp = (cluster: SimCluster, id: number) => cluster.map().osds[id]?.up === true;

it("what happened while it was down is not forgotten when it stops before it is up", async () => {
  const cluster = await twoOsds();
  const { time } = cluster;
  const state = () => cluster.pgs().find(({ pgid }) => pgid === pgId(cluster.pool(), 0))?.state;
  cluster.osd(0).kill(false);
  await cluster.command("osd down", { id: 0 });
  // osd.1 serves alone.
  expect(await time.run(20_000, () => state()?.includes("active") === true)).toBe(true);
  await cluster.command("osd set", { flag: "noup" });
  cluster.osd(0).start();
  await time.run(3000);
  expect(isUp(cluster, 0)).toBe(false);
  cluster.osd(0).kill(false);
  cluster.osd(1).kill(false);
  await cluster.command("osd down", { id: 1 });
  await cluster.command("osd unset", { flag: "noup" });
  cluster.osd(0).start();
  expect(await time.run(20_000, () => isUp(cluster, 0))).toBe(true);
  await time.run(10_000);
  expect(state()).toContain("down");
  cluster.osd(1).start();
  expect(await cluster.untilClean(60_000)).toBe(true);
  cluster.destroy();
});

it("copies that are divided are not served by a map from before the split", async () => {
  const cluster = await twoOsds();
  const { time } = cluster;
  const before = cluster.map();
  await cluster.command("pool set", { name: "sim", setting: "pg_num", value: "2" });
  expect(await cluster.untilClean(60_000)).toBe(true);
  // As if its power had failed before it had stored the map.
  const core = defined(cluster.osd(0).core(), "a core");
  await time.complete(core.setMeta("osdmap", JSON.stringify(before)), 1000, "store a map");
  for (const osd of cluster.osds) osd.kill(false);
  await cluster.restartMonitor(before);
  await cluster.command("osd down", { id: 1 });
  cluster.osd(0).start();
  await time.run(5000);
  expect(cluster.osd(0).failed?.code).toBe("wrong_cluster");
  await cluster.command("pool set", { name: "sim", setting: "pg_num", value: "2" });
  cluster.osd(0).start();
  const areActive = () => cluster.pgs().every(({ state }) => state.split("+").includes("active"));
  expect(await time.run(20_000, areActive)).toBe(true);
  cluster.destroy();
});
