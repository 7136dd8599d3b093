// One client process: opens its device, runs a history job in the native core, and writes the
// records to a file. Started by workload.ts with its task as JSON.
import { writeFileSync } from "node:fs";
import { ClusterClient, Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import type { DeviceHandle, HistoryOptions } from "../../native/index.js";
import type { Device } from "./workload.js";

export interface ClientTask {
  monitor: { host: string; port: number };
  device: Device;
  history: HistoryOptions;
  /** the records; FILE.json: the rest of the result */
  output: string;
}

const objectBytes = 4 << 20;

async function open(client: ClusterClient, device: Device): Promise<DeviceHandle> {
  if (device.kind === "image") {
    const images = new Images(client, "rbd", { clock: systemClock, random: systemRandom });
    return (await images.open(device.name)).handle;
  }
  return client.io.openImage({
    pool: client.pool("rbd").id,
    objectPrefix: device.name,
    sizeBytes: device.sizeBytes,
    objectBytes,
    readOnly: false,
  });
}

const task = JSON.parse(process.argv[2] ?? "{}") as ClientTask;
const client = await ClusterClient.connect({ monitor: task.monitor });
const handle = await open(client, task.device);
process.stdout.write("ready\n");
await new Promise((resolve) => process.stdin.once("data", resolve));
const { records, ...rest } = await client.io.history(handle, task.history);
writeFileSync(task.output, records);
writeFileSync(`${task.output}.json`, JSON.stringify(rest));
// What is in flight fails with canceled; nobody waits for it.
await client.close();
process.exit(0);
