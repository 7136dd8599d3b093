// The cluster log: its bound, its order, and what a restart of the monitor finds of it.
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { silentLog } from "../common/log.js";
import { followHealth } from "./commands.js";
import { EventLog, maxLogEntries, openEventLog } from "./event-log.js";
import { TestCluster } from "./testing/test-cluster.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-event-log-"));
afterAll(() => rmSync(folder, { recursive: true }));

const clock = { wallMs: () => 1_700_000_000_000 };

it("keeps the newest entries, and numbers them on", () => {
  const log = new EventLog(clock);
  for (let at = 1; at <= maxLogEntries + 5; at += 1) log.add("info", `entry ${at}`);
  expect(log.last(maxLogEntries + 5)).toHaveLength(maxLogEntries);
  expect(log.last(2).map(({ message }) => message)).toEqual(["entry 1004", "entry 1005"]);
  expect(log.last(10, 1003).map(({ seq }) => seq)).toEqual([1004, 1005]);
  expect(log.lastSeq()).toBe(1005);
});

it("outlives a restart, and a torn last line", () => {
  const open = () => openEventLog(folder, clock, silentLog);
  const first = open();
  first.add("warn", "osd.1 is down");
  first.add("info", "osd.1 is up");
  appendFileSync(path.join(folder, "cluster-log.jsonl"), '{"seq":3,"wallMs":17\n');
  const second = open();
  expect(second.last(10)).toEqual(first.last(10));
  second.add("error", "osd.2 is full");
  expect(open().last(1)).toMatchObject([{ seq: 3, message: "osd.2 is full" }]);
});

it("keeps its file bounded", () => {
  const log = openEventLog(folder, clock, silentLog);
  for (let at = 0; at < 3 * maxLogEntries; at += 1) log.add("info", "again");
  const lines = readFileSync(path.join(folder, "cluster-log.jsonl"), "utf8").split("\n");
  expect(lines.length).toBeLessThan(2 * maxLogEntries + 2);
  expect(openEventLog(folder, clock, silentLog).lastSeq()).toBe(log.lastSeq());
});

it("says what happens to a cluster", async () => {
  const { cluster, clock: time } = await TestCluster.make(3);
  followHealth(cluster);
  cluster.handle({ kind: "osdDown", osd: 1 });
  await cluster.settled();
  await time.advance(2000);
  const messages = cluster.events.last(1000).map(({ message }) => message);
  expect(messages).toContain("osd.1 is down");
  expect(messages).toContainEqual(expect.stringMatching(/^OSD_DOWN: 1 /));
});
