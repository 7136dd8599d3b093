// A monitor that must not start on what it finds: it ends with an error that says what to do,
// changes nothing, and is counted in the /metrics of the monitor that serves there next. OSDs and
// clients go on meanwhile.
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { OsdRow } from "../../proto/commands.js";
import { cairn, cairnJson, daemonPid, SteadyWriter } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-monitor-refused-"));
const dir = path.join(folder, "cluster");
const mon = path.join(dir, "mon");
const head = path.join(mon, "head");
let writer: SteadyWriter;
let osds: OsdRow[] = [];

beforeAll(async () => {
  await cairnJson(dir, "up", "--osds", "3", "--osd-size", "4G");
  await cairnJson(dir, "create", "rbd/load", "--size", "16M");
  osds = await cairnJson<OsdRow[]>(dir, "osd", "ls");
  writer = await SteadyWriter.start(dir, "rbd/load", 4);
});

afterAll(async () => {
  await writer.stop();
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
});

/** Ends the monitor and waits until its process is gone. */
async function stopMonitor(): Promise<void> {
  const pid = daemonPid(dir, "mon");
  process.kill(pid, "SIGTERM");
  const isThere = () => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  await expect.poll(isThere, { timeout: 30_000 }).toBe(false);
}

async function counted(): Promise<Record<string, number>> {
  const { http } = JSON.parse(readFileSync(path.join(mon, "addresses.json"), "utf8"));
  const text = await (await fetch(`http://${http.host}:${http.port}/metrics`)).text();
  const line = /^cairn_monitor_start_refused_total\{daemon="mon",code="([a-z_]+)"\} (\d+)$/gm;
  return Object.fromEntries([...text.matchAll(line)].map((match) => [match[1], Number(match[2])]));
}

function headOf(version: number): string {
  const text = `cairn-monitor-head ${version} of a later time`;
  return `${text} ${createHash("sha256").update(text).digest("hex")}\n`;
}

describe("a monitor's store", () => {
  const good = () => readFileSync(head, "utf8");
  const cases = [
    {
      name: "of a newer version",
      code: "incompatible_version",
      content: () => headOf(2),
      says: /has format version 2.*\n.*Run the version of Cairn that has written it/,
    },
    {
      name: "that is damaged",
      code: "corrupt",
      content: () => good().replace(/[0-9a-f]\n$/, (end) => (end[0] === "0" ? "1\n" : "0\n")),
      says: /is damaged.*\n.*cairn monitor rebuild/,
    },
  ];

  it("was never refused at first", async () => {
    expect(await counted()).toEqual({});
  });

  it.each(cases)("$name is refused, and counted by the next", async ({ code, content, says }) => {
    const before = await counted();
    const { writes } = writer;
    await stopMonitor();
    const kept = good();
    writeFileSync(head, content());
    const spoiled = good();
    const refusals = [
      await cairn(dir, "monitor", "--dir", dir),
      await cairn(dir, "monitor", "--dir", dir),
    ];
    for (const refusal of refusals) {
      expect(refusal.code).toBe(1);
      expect(refusal.stderr).toMatch(says);
    }
    expect(good()).toBe(spoiled);
    writeFileSync(head, kept);
    await cairnJson(dir, "up");
    expect(await counted()).toEqual({ ...before, [code]: 2 });
    expect(statSync(path.join(mon, "refused-starts.json")).mode & 0o777).toBe(0o600);
    // Writers went on without a monitor, and the OSDs are the same lives.
    await expect.poll(() => writer.writes).toBeGreaterThan(writes + 20);
    const identity = ({ id, incarnation }: OsdRow) => ({ id, incarnation });
    const rows = await cairnJson<OsdRow[]>(dir, "osd", "ls");
    expect(rows.map(identity)).toEqual(osds.map(identity));
  });

  it("in use by a monitor that runs: the second one is counted at once", async () => {
    const second = await cairn(dir, "monitor", "--data", mon, "--listen", "127.0.0.1:0");
    expect(second.code).toBe(1);
    expect(second.stderr).toContain("another monitor is running");
    expect(await counted()).toMatchObject({ busy: 1, corrupt: 2, incompatible_version: 2 });
  });
});

describe("what else keeps a monitor from starting", () => {
  it("is a taken port, counted", async () => {
    await stopMonitor();
    const holder = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => holder.once("listening", resolve));
    const address = holder.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const taken = await cairn(dir, "monitor", "--dir", dir, "--listen", `127.0.0.1:${port}`);
    holder.close();
    expect(taken.code).toBe(1);
    expect(taken.stderr).toMatch(/in use/);
    await cairnJson(dir, "up");
    expect(await counted()).toMatchObject({ address_in_use: 1 });
  });

  it("is a folder that is no monitor's: nothing is put into it", async () => {
    const other = mkdtempSync(path.join(folder, "other-"));
    const wrong = await cairn(dir, "monitor", "--data", other, "--listen", "127.0.0.1:0");
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain("holds no monitor's map store");
    expect(() => statSync(path.join(other, "refused-starts.json"))).toThrow(/ENOENT/);
  });
});
