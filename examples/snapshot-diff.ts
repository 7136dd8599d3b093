// Makes an image, writes to it, takes a snapshot, writes again, and prints what has changed since:
// `npx tsx examples/snapshot-diff.ts HOST:PORT`, with the address of the monitor.
import { ClusterClient, Image, Images } from "../client/index.js";
import { systemClock, systemRandom } from "../common/ports.js";

const mebibyte = 2 ** 20;
const ports = { clock: systemClock, random: systemRandom };

async function main(address: string): Promise<void> {
  const [host = "127.0.0.1", port = "6789"] = address.split(":");
  const cluster = await ClusterClient.connect({ monitor: { host, port: Number(port) } });
  const images = new Images(cluster, "rbd", ports);
  const name = `example-${process.pid}`;
  try {
    await images.create(name, 64 * mebibyte);
    const image = await Image.open(cluster, ports, `rbd/${name}`);
    try {
      await image.write(0, Buffer.alloc(mebibyte, "before"));
      await image.createSnapshot("monday");
      await image.write(8 * mebibyte, Buffer.from("after"));
      await image.discard(0, 65536);
      for await (const { offset, length, state } of image.diff("monday")) {
        console.log(`${state.padEnd(6)} ${length} bytes at ${offset}`);
      }
    } finally {
      await image.close();
    }
    await images.snapshots.purge(name);
    await images.remove(name);
  } finally {
    await cluster.close();
  }
}

await main(process.argv[2] ?? "127.0.0.1:6789");
