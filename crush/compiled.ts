// CrushMap -> the compiled form that the native mapper reads (docs/format/crush-map.md).
import { defined, unreachable } from "../common/assert.js";
import { type CrushItem, type CrushMap, maxDevices, type RuleStep } from "./map.js";
import { assignShadowIds, shadowBuckets, shadowIdOf } from "./shadow.js";
import { validateMap } from "./validate.js";

const magic = 0x50414d43; // "CMAP", little-endian
const version = 1;

/** Step numbers of Ceph's binary map. */
const opNumbers = {
  take: 1,
  choose: { firstn: 2, indep: 3 },
  emit: 4,
  chooseleaf: { firstn: 6, indep: 7 },
  set_choose_tries: 8,
  set_chooseleaf_tries: 9,
  set_chooseleaf_vary_r: 12,
  set_chooseleaf_stable: 13,
} as const;

function stepWords(map: CrushMap, step: RuleStep): [op: number, arg1: number, arg2: number] {
  switch (step.op) {
    case "take": {
      if (step.deviceClass === undefined) return [opNumbers.take, step.itemId, 0];
      const bucket = map.buckets.find((candidate) => candidate.id === step.itemId);
      const shadowId = shadowIdOf(defined(bucket, `bucket ${step.itemId}`), step.deviceClass);
      return [opNumbers.take, defined(shadowId, `class ${step.deviceClass}`), 0];
    }
    case "choose":
    case "chooseleaf":
      return [opNumbers[step.op][step.mode], step.count, step.typeId];
    case "emit":
      return [opNumbers.emit, 0, 0];
    case "set_choose_tries":
    case "set_chooseleaf_tries":
    case "set_chooseleaf_vary_r":
    case "set_chooseleaf_stable":
      return [opNumbers[step.op], step.value, 0];
    default:
      return unreachable(step);
  }
}

/**
 * Compiles a map: buckets, shadow trees and rules as numbers, no names.
 * @throws StorageError corrupt or too_large when the map isn't valid
 */
export function compileCrushMap(source: CrushMap): Uint8Array {
  const map = assignShadowIds(source);
  validateMap(map);
  const buckets: { id: number; typeId: number; items: readonly CrushItem[] }[] = [
    ...map.buckets,
    ...shadowBuckets(map),
  ];
  const words = [
    magic,
    version,
    maxDevices(map),
    map.tunables.chooseTotalTries,
    map.tunables.chooseleafDescendOnce,
    map.tunables.chooseleafVaryR,
    map.tunables.chooseleafStable,
    buckets.length,
    map.rules.length,
  ];
  for (const bucket of buckets) {
    words.push(bucket.id, bucket.typeId, bucket.items.length);
    for (const item of bucket.items) words.push(item.id, item.weight);
  }
  for (const rule of map.rules) {
    words.push(rule.id, rule.steps.length);
    for (const step of rule.steps) words.push(...stepWords(map, step));
  }
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  // setInt32 keeps the low 32 bits, so it serves signed and unsigned words.
  for (const [index, word] of words.entries()) view.setInt32(index * 4, word, true);
  return bytes;
}
