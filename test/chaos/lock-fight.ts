// The fight of several clients for one image's lock: now and then the one that has the lock is
// frozen (SIGSTOP) until another one has taken over, and woken again.
import { setTimeout as sleep } from "node:timers/promises";
import { ClusterClient, Images, imageUse } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { bootTimeNs } from "./clocks.js";
import type { Cluster } from "./cluster.js";
import { seeded } from "./schedule.js";
import type { Freeze } from "./stale-writes.js";
import type { RunningClient } from "./workload.js";

const firstMs = 3000;
const pauseMs = 2500;
/** A takeover takes the watch timeout, and faults of OSDs may hold it up. */
const takeoverLimitMs = 8000;
/** A woken client has so long to send what it has, and to begin again. */
const quietEndMs = 2000;
const pollMs = 50;

/** Freezes holders until the load's end is near. */
export async function freezeHolders(
  cluster: Cluster,
  fighters: readonly RunningClient[],
  image: string,
  { seed, loadMs }: { seed: number; loadMs: number },
): Promise<Freeze[]> {
  if (fighters.length === 0) return [];
  const endMs = performance.now() + loadMs - quietEndMs;
  const random = seeded(seed);
  const client = await ClusterClient.connect({ monitor: cluster.monitor });
  const freezes: Freeze[] = [];
  try {
    const images = new Images(client, "rbd", { clock: systemClock, random: systemRandom });
    const address = { pool: images.poolId, id: (await images.info(image)).id };
    const holder = async () => {
      // An OSD that is gone holds the answer up.
      const late = sleep(2000).then(() => undefined);
      const use = imageUse(images.lockPorts(), address).catch(() => undefined);
      return (await Promise.race([use, late]))?.holder;
    };
    await sleep(firstMs);
    while (performance.now() + takeoverLimitMs < endMs) {
      const freeze = await freezeHolder(cluster, fighters, holder);
      if (freeze !== undefined) freezes.push(freeze);
      await sleep(freeze === undefined ? pollMs : pauseMs * (0.5 + random()));
    }
  } finally {
    await client.close();
  }
  return freezes;
}

interface Holder {
  client: string;
  description: string;
}

/** @returns undefined when nobody had the lock, or it was let go before the freeze */
async function freezeHolder(
  cluster: Cluster,
  fighters: readonly RunningClient[],
  holder: () => Promise<Holder | undefined>,
): Promise<Freeze | undefined> {
  const victim = await holder();
  const fighter = fighters.find(({ pid }) => victim?.description.endsWith(` pid ${pid}`));
  if (victim === undefined || fighter === undefined) return undefined;
  fighter.signal("SIGSTOP");
  try {
    const stopNs = bootTimeNs();
    if ((await holder())?.client !== victim.client) return undefined;
    cluster.note(`freeze client ${fighter.client}`);
    let takenOver = false;
    for (const end = performance.now() + takeoverLimitMs; performance.now() < end && !takenOver; ) {
      await sleep(pollMs);
      const now = await holder();
      takenOver = now !== undefined && now.client !== victim.client;
    }
    // The new holder is to be served before the old one wakes.
    if (takenOver) await sleep(1000);
    cluster.note(`wake client ${fighter.client}${takenOver ? ", taken over" : ""}`);
    return { client: fighter.client, heldAtNs: stopNs, wokenNs: bootTimeNs(), takenOver };
  } finally {
    fighter.signal("SIGCONT");
  }
}
