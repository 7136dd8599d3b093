// The header of an image that is to be removed. What a damaged one still tells is enough for that,
// and nothing else can be done with such an image: its snapshots go with it.
import { childrenOf } from "./children.js";
import {
  dataPrefix,
  decodeHeader,
  defaultOrder,
  headerSteps,
  type ImageHeader,
  maxImageBytes,
} from "./header.js";
import { hasCode, type Omap } from "./omap-values.js";
import type { Scope } from "./scope.js";
import { type Snapshot, snapshotPrefix } from "./snapshot-record.js";

export interface RemovableHeader extends ImageHeader {
  isDamaged: boolean;
}

/** undefined: there is none. @throws unsupported_feature */
export async function headerToRemove(
  scope: Scope,
  id: string,
): Promise<RemovableHeader | undefined> {
  const omap = await scope.headerValues(id);
  if (omap === undefined) return undefined;
  try {
    return { ...decodeHeader(id, omap), isDamaged: false };
  } catch (thrown) {
    if (!hasCode(thrown, "corrupt")) throw thrown;
    // Lost ones can't be taken out of what can't be read: they do not count.
    const children = (await childrenOf(scope, id)).filter(({ isLost }) => !isLost);
    const header = { ...readableParts(id, omap), isDamaged: true };
    const clones = children.map(({ snapId }) => snapId);
    return { ...header, snapshots: snapshotsNamed(omap, clones) };
  }
}

/** A header of which every value is the stored one where that can be read. */
function readableParts(id: string, omap: Omap): ImageHeader {
  const values = new Map<string, Uint8Array>();
  for (const { key, value } of headerSteps(blankHeader(id))) {
    if (key !== undefined && value !== undefined) values.set(key, value);
  }
  for (const [key, value] of omap) {
    if (key.startsWith(snapshotPrefix)) continue;
    try {
      decodeHeader(id, [...new Map(values).set(key, value)]);
      values.set(key, value);
    } catch (thrown) {
      if (!hasCode(thrown, "corrupt")) throw thrown;
    }
  }
  return decodeHeader(id, [...values]);
}

const blankHeader = (id: string): ImageHeader => ({
  id,
  sizeBytes: maxImageBytes,
  order: defaultOrder,
  objectPrefix: dataPrefix(id),
  features: 0n,
  createdAt: 0,
  trimEndBytes: undefined,
  stripeUnitBytes: 2 ** defaultOrder,
  stripeCount: 1,
  dataPool: undefined,
  snapSeq: 0,
  snapLimit: undefined,
  snapshots: [],
  parent: undefined,
  detaching: undefined,
  rollback: undefined,
  group: undefined,
  migration: undefined,
  requests: [],
});

/**
 * The ids are in the keys.
 * @param clones for each of them the id of the snapshot
 */
function snapshotsNamed(omap: Omap, clones: readonly number[]): Snapshot[] {
  const stored = omap
    .filter(([key]) => key.startsWith(snapshotPrefix))
    .map(([key]) => Number.parseInt(key.slice(snapshotPrefix.length), 16));
  const ids = [...new Set([...stored, ...clones])].filter((id) => id > 0);
  return ids.map((id) => ({
    id,
    name: String(id),
    sizeBytes: 0,
    createdAt: 0,
    protected: false,
    state: "ready",
    kind: "user",
    children: clones.filter((clone) => clone === id).length,
  }));
}
