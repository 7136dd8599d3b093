// One client process: opens its device, runs a history job in the native core, and writes the
// records to a file. Started by workload.ts with its task as JSON.
//
// A device under its image's lock is opened again whenever another client has taken it over: each
// session is a job with a number of its own, so that no value is written twice.
import { writeFileSync } from "node:fs";
import { ClusterClient, Images, openLocked } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import type { HistoryOptions, HistoryResult } from "../../native/index.js";
import type { Device } from "./workload.js";

export interface ClientTask {
  monitor: { host: string; port: number };
  device: Device;
  history: HistoryOptions;
  /** the records; FILE.json: the rest of the result */
  output: string;
}

const objectBytes = 4 << 20;
/** Others take over from a client that has been silent for so long. */
const watchTimeoutMs = 1000;
/** Between the numbers of two sessions of a client. */
const sessionStride = 1000;

/** @param ready is called when the device is open; it returns when to begin */
type Job = (client: ClusterClient, ready: () => Promise<void>) => Promise<HistoryResult[]>;

const task = JSON.parse(process.argv[2] ?? "{}") as ClientTask;
const { device, history } = task;

const imagesOf = (client: ClusterClient) =>
  new Images(client, "rbd", { clock: systemClock, random: systemRandom });

const jobs: Readonly<Record<Device["kind"], Job>> = {
  async objects(client, ready) {
    const { name: objectPrefix, sizeBytes } = device;
    const layout = { pool: client.pool("rbd").id, objectPrefix, sizeBytes, objectBytes };
    const handle = client.io.openImage({ ...layout, readOnly: false });
    await ready();
    return [await client.io.history(handle, history)];
  },
  async image(client, ready) {
    const { handle } = await imagesOf(client).open(device.name);
    await ready();
    return [await client.io.history(handle, history)];
  },
  async locked(client, ready) {
    const images = imagesOf(client);
    const results: HistoryResult[] = [];
    await images.info(device.name);
    await ready();
    const endMs = performance.now() + history.durationMs;
    for (let leftMs = history.durationMs; leftMs > 0; leftMs = endMs - performance.now()) {
      const { handle, close } = await openLocked(images, device.name, { watchTimeoutMs });
      const number = history.client + sessionStride * results.length;
      const session = {
        client: number,
        durationMs: Math.ceil(leftMs),
        seed: history.seed + number,
      };
      const result = await client.io.history(handle, { ...history, ...session });
      results.push(result);
      // What no PG answers is not waited for.
      if (result.unanswered > 0) break;
      await close();
      if (!result.isFenced) break;
    }
    return results;
  },
};

const client = await ClusterClient.connect({ monitor: task.monitor });
const results = await jobs[device.kind](client, async () => {
  process.stdout.write("ready\n");
  await new Promise((resolve) => process.stdin.once("data", resolve));
});
writeFileSync(task.output, Buffer.concat(results.map(({ records }) => records)));
const rest = results.map(({ records: _, ...others }) => others);
writeFileSync(`${task.output}.json`, JSON.stringify(rest));
// What is in flight fails with canceled; nobody waits for it.
await client.close();
process.exit(0);
