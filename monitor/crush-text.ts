// The monitor's CRUSH maps as text: the part of CrushPort that needs no native core, by crush/.
import {
  type CrushMap,
  compileCrushMap,
  defaultMap,
  type FailureDomain,
  osdName,
  parseCrushMap,
  printCrushMap,
  weightOne,
} from "../crush/index.js";
import type { OsdInfo } from "../proto/osd-map.js";
import type { CrushNode, CrushPort } from "./crush-port.js";

const bytesPerTib = 2 ** 40;
/** The least weight that the text form, with its three decimals, can tell from 0 (1 GiB). */
const minWeight = 0.001;
/** CRUSH's greatest weight of a device. */
const maxWeight = 100;

/** CrushPort without the mapper. */
export const crushText: Omit<CrushPort, "mapper"> = {
  build: (osds, failureDomain) =>
    printCrushMap(defaultMap(osds.map(specOf), failureDomain as FailureDomain)),
  rules: (text) => parseCrushMap(text).rules.map(({ id, name = `rule${id}` }) => ({ id, name })),
  nodes: (text) => nodesOf(parseCrushMap(text)),
  compile: (text) => compileCrushMap(parseCrushMap(text)),
};

/** By custom the weight is the size in TiB. */
function specOf({ id, host, deviceClass, sizeBytes }: OsdInfo) {
  const weight = Math.min(maxWeight, Math.max(minWeight, sizeBytes / bytesPerTib));
  return { id, host, deviceClass, weight };
}

function nodesOf(map: CrushMap): CrushNode[] {
  const held = new Set(map.buckets.flatMap((bucket) => bucket.items.map(({ id }) => id)));
  const below = (id: number, weight: number, depth: number): CrushNode[] => {
    const bucket = map.buckets.find((candidate) => candidate.id === id);
    if (bucket === undefined) return [{ id, name: osdName(id), type: "osd", depth, weight }];
    const type = map.types.find((candidate) => candidate.id === bucket.typeId)?.name ?? "?";
    const children = bucket.items.map((item) => below(item.id, item.weight / weightOne, depth + 1));
    return [{ id, name: bucket.name, type, depth, weight }, ...children.flat()];
  };
  return map.buckets
    .filter(({ id }) => !held.has(id))
    .flatMap((root) => {
      const total = root.items.reduce((sum, { weight }) => sum + weight, 0);
      return below(root.id, total / weightOne, 0);
    });
}
