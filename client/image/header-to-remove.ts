// The header of an image that is to be removed. What a damaged one still tells is enough for that,
// and nothing else can be done with such an image: its snapshots go with it.
import { listKeys } from "./directory-object.js";
import {
  dataPrefix,
  decodeHeader,
  defaultOrder,
  headerObject,
  headerSteps,
  type ImageHeader,
  maxImageBytes,
} from "./header.js";
import { hasCode, type Omap } from "./omap-values.js";
import { childPrefix } from "./references.js";
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
    const children = await listKeys(scope.io, [scope.pool.id, headerObject(id)], childPrefix);
    const header = { ...readableParts(id, omap), isDamaged: true };
    return { ...header, snapshots: snapshotsNamed(omap, children.omap) };
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

/** The ids are in the keys; clones are counted by those of the children. */
function snapshotsNamed(omap: Omap, children: Omap): Snapshot[] {
  const idOf = (key: string, prefix: string) => Number.parseInt(key.slice(prefix.length), 16);
  const clones = children.map(([key]) => idOf(key, childPrefix));
  const stored = omap
    .filter(([key]) => key.startsWith(snapshotPrefix))
    .map(([key]) => idOf(key, snapshotPrefix));
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
