// A look into the stores of OSDs that are down: the copies of each PG, laid beside each other.
import path from "node:path";
import { parsePgId } from "../../common/units.js";
import { native } from "../../native/index.js";
import type { PgRow } from "../../proto/commands.js";
import { clusterBytes } from "../../proto/control-channel.js";
import { comparePg } from "../checkers/copies.js";

export interface StoresComparison {
  /** names of the objects of each PG, in order */
  names: Map<string, string[]>;
  comparedBytes: number;
  /** one line for each object whose copies are not equal */
  differences: string[];
}

/**
 * Compares what each PG's acting set holds, byte by byte.
 * @param dir of the cluster; all its OSDs are down
 */
export async function compareStores(
  dir: string,
  clusterId: string,
  pgs: readonly Pick<PgRow, "pgid" | "acting">[],
): Promise<StoresComparison> {
  const osds = [...new Set(pgs.flatMap(({ acting }) => acting))];
  const stores = new Map(osds.map((osd) => [osd, storeOf(dir, clusterId, osd)]));
  const found: StoresComparison = { names: new Map(), comparedBytes: 0, differences: [] };
  try {
    await Promise.all([...stores.values()].map((store) => store.open()));
    for (const { pgid, acting } of pgs) {
      const { pool, seed } = parsePgId(pgid);
      const copies = acting.flatMap((osd) => {
        const store = stores.get(osd);
        if (store === undefined) return [];
        return [{ osd, next: (after: string | null) => store.nextObject(pool, seed, after) }];
      });
      const { names, comparedBytes, differences } = await comparePg(copies);
      found.names.set(pgid, names);
      found.comparedBytes += comparedBytes;
      found.differences.push(...differences.map((text) => `${pgid} ${text}`));
    }
    return found;
  } finally {
    await Promise.all([...stores.values()].map((store) => store.close()));
  }
}

function storeOf(dir: string, clusterId: string, osd: number) {
  return new native.Osd({
    path: path.join(dir, `osd.${osd}`, "store"),
    clusterId: clusterBytes(clusterId),
    osd,
    incarnation: 1n,
    onEvents: () => undefined,
  });
}
