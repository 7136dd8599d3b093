// Data that nobody touches during the load, bits of it that flip on the disks of OSDs, and the deep
// scrubs that have to find exactly those and mend them.
//
// Invariants: an object loses one copy at most, so that there is always a good one. Its pool is not
// split: copies would move, and those that moved away take their flipped bits with them.
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ClusterClient, Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import type { PgRow } from "../../proto/commands.js";
import type { ScrubMode } from "../../proto/scrub.js";
import { flipBits, placesOf } from "../integration/stored-bytes.js";
import type { Cluster } from "./cluster.js";
import type { Daemon } from "./daemons.js";

const pool = "cold";
const poolPgNum = 8;
const image = "cold";
const objectBytes = 4 << 20;
const objectCount = 24;
/** Of each object, so that the whole does not fit into an OSD's log. */
const dataBytes = 512 << 10;
const blockBytes = 4096;
const flipsAtOnce = 2;
/** In the superblock: where the data begins (docs/format/object-store.md). */
const dataOffsetAt = 136;
/** Of the data area: a store that is nearly empty has all its data there. */
const searchedBytes = 128 << 20;
const scrubLimitMs = 60_000;

export interface RotFigures {
  injected: number;
  detected: number;
  repaired: number;
}

/** The same bytes for the same object; each block is unlike all others. */
function contentOf(object: number): Buffer {
  const blocks = Array.from({ length: dataBytes / blockBytes }, (_, block) => {
    const digest = createHash("sha256").update(`${object}/${block}`).digest();
    return Buffer.alloc(blockBytes, digest);
  });
  return Buffer.concat(blocks);
}

export class ColdData {
  private readonly rotten = new Set<number>();

  /** @param places by OSD: where a block of each object that it has a copy of lies in its store */
  private constructor(private readonly places: readonly ReadonlyMap<number, number>[]) {}

  /** Makes a pool of its own and writes the image. */
  static async write(cluster: Cluster): Promise<ColdData> {
    await cluster.makePool(pool, poolPgNum);
    await withImages(cluster, async (client, images) => {
      await images.create(image, objectCount * objectBytes);
      const { handle } = await images.open(image);
      for (let object = 0; object < objectCount; ++object) {
        await client.io.writeDevice(handle, object * objectBytes, contentOf(object));
      }
      images.close(handle);
    });
    // Nobody moves them: a fault need not look for them.
    return new ColdData(await Promise.all(cluster.osds.map(placesIn)));
  }

  /** Flips a bit of some objects in the store of an OSD that is down. @returns how many */
  async rot(osd: number, daemon: Daemon): Promise<number> {
    const chosen = [...(this.places[osd] ?? [])]
      .filter(([object]) => !this.rotten.has(object))
      .slice(0, flipsAtOnce);
    await flipBits(
      storeOf(daemon),
      chosen.map(([object, place]) => place + 100 + object),
    );
    for (const [object] of chosen) this.rotten.add(object);
    return chosen.length;
  }

  /** Scrubs, repairs what is to be repaired and scrubs again, and reads everything. */
  async judge(cluster: Cluster, findings: string[]): Promise<RotFigures> {
    const injected = this.rotten.size;
    const found = await scrub(cluster, "deep-scrub");
    if (found.errors !== injected) {
      findings.push(`${injected} bits were flipped, a deep scrub has found ${found.errors}`);
    }
    const repaired = found.errors === 0 ? 0 : await this.mend(cluster, found.errors, findings);
    findings.push(...(await this.differences(cluster)));
    return { injected, detected: found.errors, repaired };
  }

  private async mend(cluster: Cluster, errors: number, findings: string[]): Promise<number> {
    const { repaired } = await scrub(cluster, "repair");
    if (repaired !== errors) findings.push(`of ${errors} flipped bits ${repaired} were repaired`);
    const left = await scrub(cluster, "deep-scrub");
    if (left.errors > 0) findings.push(`${left.errors} errors are left after the repair`);
    return repaired;
  }

  private differences(cluster: Cluster): Promise<string[]> {
    return withImages(cluster, async (client, images) => {
      const { handle } = await images.open(image, { readOnly: true });
      const findings: string[] = [];
      for (let object = 0; object < objectCount; ++object) {
        const bytes = await client.io.readDevice(handle, object * objectBytes, dataBytes);
        if (contentOf(object).equals(bytes)) continue;
        findings.push(`object ${object} of ${image} has changed`);
      }
      return findings;
    });
  }
}

const storeOf = ({ options, name }: Daemon) => path.join(options.dir, name, "store");

async function placesIn(daemon: Daemon): Promise<Map<number, number>> {
  const objects = Array.from({ length: objectCount }, (_, object) => object);
  // One block of each, not always the same.
  const blocks = objects.map((object) => {
    const from = ((object * 67 + 5) % (dataBytes / blockBytes)) * blockBytes;
    return contentOf(object).subarray(from, from + blockBytes);
  });
  const file = await open(storeOf(daemon), "r");
  try {
    const superblock = Buffer.alloc(blockBytes);
    await file.read(superblock, 0, blockBytes, 0);
    const dataOffset = Number(superblock.readBigUInt64LE(dataOffsetAt));
    const places = await placesOf(file, blocks, { offset: dataOffset, lengthBytes: searchedBytes });
    return new Map(
      objects
        .map((object) => [object, places[object] ?? -1] as const)
        .filter(([, place]) => place >= 0),
    );
  } finally {
    await file.close();
  }
}

async function withImages<T>(
  { monitor }: Cluster,
  run: (client: ClusterClient, images: Images) => Promise<T>,
): Promise<T> {
  const client = await ClusterClient.connect({ monitor });
  try {
    return await run(
      client,
      new Images(client, pool, { clock: systemClock, random: systemRandom }),
    );
  } finally {
    await client.close();
  }
}

/** Scrubs all PGs. @throws when they are not done in time */
async function scrub(
  cluster: Cluster,
  mode: ScrubMode,
): Promise<{ errors: number; repaired: number }> {
  const { pools } = await cluster.command().command("pool ls", {});
  let [errors, repaired] = [0, 0];
  for (const { name } of pools) {
    const found = await scrubPool(cluster, name, mode);
    errors += found.errors;
    repaired += found.repaired;
  }
  return { errors, repaired };
}

async function scrubPool(cluster: Cluster, scrubbed: string, mode: ScrubMode) {
  const request = systemRandom.below(2 ** 48 - 1) + 1;
  const session = cluster.command();
  const args = { pool: scrubbed, mode, request };
  const { asked, unserved } = await session.command("pg scrub", args);
  for (const end = performance.now() + scrubLimitMs; performance.now() < end; await sleep(100)) {
    const rows: PgRow[] = (await session.command("pg ls", {})).pgs;
    const done = rows.flatMap(({ scrub: of }) => of?.finished ?? []);
    const ours = done.filter((finished) => finished.request === request);
    if (ours.length < asked.length + unserved.length) continue;
    const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
    return {
      errors: sum(ours.map(({ errors }) => errors)),
      repaired: sum(ours.map(({ repaired }) => repaired)),
    };
  }
  throw new Error(`a ${mode} of ${scrubbed} was not done after ${scrubLimitMs / 1000} s`);
}
