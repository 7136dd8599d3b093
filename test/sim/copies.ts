// All copies of a PG hold the same objects with the same contents.
import { parsePgId } from "../../common/units.js";
import type { SimCluster } from "./sim-cluster.js";

const limitMs = 60_000;
const maxObjects = 100_000;

/** What differs between copies; nothing when they are equal. */
export async function compareCopies(cluster: SimCluster): Promise<string[]> {
  const findings: string[] = [];
  for (const { pgid, acting } of cluster.pgs()) {
    const copies = await Promise.all(acting.map((osd) => copyOf(cluster, pgid, osd)));
    const [first, ...others] = copies;
    for (const [index, other] of others.entries()) {
      if (first === undefined) continue;
      for (const object of new Set([...first.keys(), ...other.keys()])) {
        if (first.get(object) === other.get(object)) continue;
        const [a, b] = [acting[0], acting[index + 1]];
        findings.push(
          `copies differ: ${pgid} ${object}: osd.${a} ${first.get(object)}, ` +
            `osd.${b} ${other.get(object)}`,
        );
      }
    }
  }
  return findings;
}

/** Digests by object. */
async function copyOf(
  cluster: SimCluster,
  pgid: Parameters<typeof parsePgId>[0],
  osd: number,
): Promise<Map<string, string>> {
  const { pool, seed } = parsePgId(pgid);
  const core = cluster.osd(osd).core();
  if (core === undefined) throw new Error(`osd.${osd} does not run`);
  const what = `list the objects of ${pgid} on osd.${osd}`;
  const list = core.listObjects(pool, seed, null, maxObjects);
  const objects = await cluster.time.complete(list, limitMs, what);
  const digests = new Map<string, string>();
  for (const [name] of objects) {
    const digest = core.objectDigest(pool, seed, name);
    digests.set(name, await cluster.time.complete(digest, limitMs, what));
  }
  return digests;
}
