// Levels of use, through the whole cluster in virtual time.
import { expect, it } from "vitest";
import { statsOf, TestCluster } from "../testing/test-cluster.js";

async function reported(test: TestCluster, usedRatio: number) {
  test.cluster.reportOsd(statsOf(1, { usedBytes: usedRatio * 1e6, totalBytes: 1e6 }));
  await test.settle();
  return test.osd(1).fullState;
}

it("takes each level at its ratio, and leaves it only when use is clearly below", async () => {
  const test = await TestCluster.make(2);
  const seen = [];
  for (const ratio of [0.84, 0.85, 0.845, 0.9, 0.95, 0.945, 0.935, 0.895, 0.88, 0.83]) {
    seen.push(await reported(test, ratio));
  }
  expect(seen).toEqual([
    undefined,
    "nearfull",
    "nearfull",
    "backfillfull",
    "full",
    "full",
    "backfillfull",
    "backfillfull",
    "nearfull",
    undefined,
  ]);
  expect(test.osd(0).fullState).toBeUndefined();
});

it("makes no epoch while the level stays, and follows the settings", async () => {
  const test = await TestCluster.make(2);
  await reported(test, 0.86);
  const { epoch } = test.map();
  await reported(test, 0.87);
  expect(test.map().epoch).toBe(epoch);
  await test.cluster.change({ config: { "mon.full_ratio": "0.86" } });
  expect(await reported(test, 0.87)).toBe("full");
});

it("ignores a report of an OSD that is down", async () => {
  const test = await TestCluster.make(2);
  test.cluster.handle({ kind: "osdDown", osd: 1 });
  await test.settle();
  expect(await reported(test, 0.99)).toBeUndefined();
});
