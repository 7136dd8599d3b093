// All copies of a PG hold the same objects with the same contents.
import { parsePgId } from "../../common/units.js";
import { comparePg } from "../checkers/copies.js";
import type { SimCluster } from "./sim-cluster.js";

const limitMs = 60_000;

/**
 * @param bitsFlipped blocks that nobody has read or scrubbed since may be bad
 * @returns what differs between copies; nothing when they are equal
 */
export async function compareCopies(cluster: SimCluster, bitsFlipped: boolean): Promise<string[]> {
  const findings: string[] = [];
  for (const { pgid, acting } of cluster.pgs()) {
    const copies = acting.map((osd) => ({ osd, next: reader(cluster, pgid, osd) }));
    const { differences } = await comparePg(copies, { tolerateBadBlocks: bitsFlipped });
    findings.push(...differences.map((text) => `copies differ: ${pgid} ${text}`));
  }
  return findings;
}

function reader(cluster: SimCluster, pgid: Parameters<typeof parsePgId>[0], osd: number) {
  const { pool, seed } = parsePgId(pgid);
  return (after: string | null) => {
    const core = cluster.osd(osd).core();
    if (core === undefined) throw new Error(`osd.${osd} does not run`);
    const what = `read the objects of ${pgid} on osd.${osd}`;
    return cluster.time.complete(core.nextObject(pool, seed, after), limitMs, what);
  };
}
