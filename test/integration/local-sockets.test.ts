// The OSDs and clients of one machine talk over Unix sockets, unless they are told not to.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { addressText } from "../../cli/options.js";
import { Image } from "../../client/index.js";
import { localSocketsVariable } from "../../common/local-sockets.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import type { OsdRow } from "../../proto/commands.js";
import { cairn, cairnJson, connectTo, metricsOf } from "./support.js";

const reported = { timeout: 60_000, interval: 250 };
const folder = mkdtempSync(path.join(tmpdir(), "cairn-local-sockets-"));
const dir = path.join(folder, "cluster");
const some = expect.toSatisfy((count: number) => count > 0) as number;
const valueBefore = process.env[localSocketsVariable];

afterEach(async () => {
  await cairn(dir, "down");
  if (valueBefore === undefined) delete process.env[localSocketsVariable];
  else process.env[localSocketsVariable] = valueBefore;
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** How many connections of each transport the OSDs have reported; none of one: not reported yet. */
async function connections(): Promise<Record<string, Record<string, number>>> {
  const found: Record<string, Record<string, number>> = {};
  for (const line of (await metricsOf(dir)).split("\n")) {
    if (!line.startsWith("cairn_net_connections{")) continue;
    const daemon = /daemon="([^"]+)"/.exec(line)?.[1] ?? "";
    const transport = /transport="([^"]+)"/.exec(line)?.[1] ?? "";
    found[daemon] = { ...found[daemon], [transport]: Number(line.split(" ").at(-1)) };
  }
  return found;
}

/** How many connections were made by the name of each OSD; undefined: it has none. */
async function namesInUse(): Promise<(number | undefined)[]> {
  const rows = await cairnJson<OsdRow[]>(dir, "osd", "ls");
  const names = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/).at(-1));
  return rows.map(({ address }) => {
    const count = names.filter((name) => name === `@cairn/${addressText(address)}`).length;
    return count === 0 ? undefined : count - 1;
  });
}

/** Of a client of this process that has read an image's header. */
async function clientConnections(): Promise<{ unix: unknown; tcp: unknown }> {
  const client = await connectTo(dir);
  try {
    await Image.open(client, { clock: systemClock, random: systemRandom }, "rbd/a");
    const { counters } = await client.io.stats();
    return { unix: counters.netConnections_unix, tcp: counters.netConnections_tcp };
  } finally {
    await client.close();
  }
}

describe("OSDs of one machine", () => {
  it("reach each other, and a client them, by Unix sockets only", async () => {
    process.env[localSocketsVariable] = "on";
    await cairnJson(dir, "up", "--osds", "2", "--osd-size", "1G");
    await expect.poll(connections, reported).toMatchObject({
      "osd.0": { unix: some, tcp: 0 },
      "osd.1": { unix: some, tcp: 0 },
    });
    await cairnJson(dir, "create", "rbd/a", "--size", "1M");
    expect(await clientConnections()).toEqual({ unix: some, tcp: 0 });
    expect(Math.max(...(await namesInUse()).map((count) => count ?? 0))).toBeGreaterThan(0);
  });

  it("use TCP when they are told to, and have no names then", async () => {
    process.env[localSocketsVariable] = "off";
    await cairnJson(dir, "up");
    await expect.poll(connections, reported).toMatchObject({
      "osd.0": { unix: 0, tcp: some },
      "osd.1": { unix: 0, tcp: some },
    });
    expect(await clientConnections()).toEqual({ unix: 0, tcp: some });
    expect(await namesInUse()).toEqual([undefined, undefined]);
  });
});
