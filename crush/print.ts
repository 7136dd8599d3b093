// CrushMap -> crushtool's text map, the same bytes as `crushtool --decompile` (Ceph 16) prints.
// Weights are printed with three digits, as there: text is for people, and compiling it again can
// round a weight. A rule without min_size and max_size (Ceph 17 and later) is printed without them.
import { defined, unreachable } from "../common/assert.js";
import {
  bucketWeight,
  type CrushBucket,
  type CrushMap,
  type CrushRule,
  itemName,
  type RuleStep,
} from "./map.js";
import { formatWeight } from "./weight.js";

const keepNote = "\t\t# do not change unnecessarily";

/** Only tunables that differ from Ceph's first profile are printed. */
function tunableLines(map: CrushMap): string[] {
  const { tunables } = map;
  const values: [name: string, value: number, legacy: number][] = [
    ["choose_local_tries", 0, 2],
    ["choose_local_fallback_tries", 0, 5],
    ["choose_total_tries", tunables.chooseTotalTries, 19],
    ["chooseleaf_descend_once", tunables.chooseleafDescendOnce, 0],
    ["chooseleaf_vary_r", tunables.chooseleafVaryR, 0],
    ["chooseleaf_stable", tunables.chooseleafStable, 0],
    ["straw_calc_version", tunables.strawCalcVersion, 0],
    ["allowed_bucket_algs", tunables.allowedBucketAlgs, 22],
  ];
  return values
    .filter(([, value, legacy]) => value !== legacy)
    .map(([name, value]) => `tunable ${name} ${value}`);
}

function typeName(map: CrushMap, id: number): string {
  return map.types.find((type) => type.id === id)?.name ?? (id === 0 ? "device" : `type${id}`);
}

function bucketLines(map: CrushMap, names: ReadonlyMap<number, string>, bucket: CrushBucket) {
  const shadows = map.classes
    .filter((deviceClass) => Object.hasOwn(bucket.shadowIds, deviceClass))
    .map((deviceClass) => `\tid ${bucket.shadowIds[deviceClass]} class ${deviceClass}${keepNote}`);
  const items = bucket.items.map((item) => {
    const name = defined(names.get(item.id), `the name of item ${item.id}`);
    return `\titem ${name} weight ${formatWeight(item.weight)}`;
  });
  return [
    `${typeName(map, bucket.typeId)} ${bucket.name} {`,
    `\tid ${bucket.id}${keepNote}`,
    ...shadows,
    `\t# weight ${formatWeight(bucketWeight(bucket))}`,
    "\talg straw2",
    "\thash 0\t# rjenkins1",
    ...items,
    "}",
  ];
}

/** From id -1 down, but each bucket after the buckets that it holds. */
function bucketsInOrder(map: CrushMap): CrushBucket[] {
  const byId = new Map(map.buckets.map((bucket) => [bucket.id, bucket]));
  const done = new Set<number>();
  const order: CrushBucket[] = [];
  // The recursion is bounded by limits.depth: the map has been validated.
  const visit = (bucket: CrushBucket): void => {
    if (done.has(bucket.id)) return;
    done.add(bucket.id);
    for (const item of bucket.items)
      if (item.id < 0) visit(defined(byId.get(item.id), `bucket ${item.id}`));
    order.push(bucket);
  };
  for (const bucket of [...map.buckets].sort((a, b) => b.id - a.id)) visit(bucket);
  return order;
}

function stepText(map: CrushMap, step: RuleStep): string {
  switch (step.op) {
    case "take": {
      const name = defined(itemName(map, step.itemId), `the name of item ${step.itemId}`);
      return step.deviceClass === undefined
        ? `take ${name}`
        : `take ${name} class ${step.deviceClass}`;
    }
    case "choose":
    case "chooseleaf":
      return `${step.op} ${step.mode} ${step.count} type ${typeName(map, step.typeId)}`;
    case "emit":
      return "emit";
    case "set_choose_tries":
    case "set_chooseleaf_tries":
    case "set_chooseleaf_vary_r":
    case "set_chooseleaf_stable":
      return `${step.op} ${step.value}`;
    default:
      return unreachable(step);
  }
}

function ruleLines(map: CrushMap, rule: CrushRule): string[] {
  const sizes = [
    ...(rule.minSize === undefined ? [] : [`\tmin_size ${rule.minSize}`]),
    ...(rule.maxSize === undefined ? [] : [`\tmax_size ${rule.maxSize}`]),
  ];
  return [
    `rule ${rule.name ?? ""} {`,
    `\tid ${rule.id}`,
    `\ttype ${rule.kind}`,
    ...sizes,
    ...rule.steps.map((step) => `\tstep ${stepText(map, step)}`),
    "}",
  ];
}

function typeLines(map: CrushMap): string[] {
  const named = map.types.map((type) => `type ${type.id} ${type.name}`);
  return map.types.some((type) => type.id === 0) ? named : ["type 0 osd", ...named];
}

/** Prints a validated map as crushtool's text map. */
export function printCrushMap(map: CrushMap): string {
  const names = new Map([...map.devices, ...map.buckets].map((item) => [item.id, item.name]));
  const devices = map.devices.map((device) => {
    const deviceClass = device.deviceClass === undefined ? "" : ` class ${device.deviceClass}`;
    return `device ${device.id} ${device.name}${deviceClass}`;
  });
  const lines = [
    "# begin crush map",
    ...tunableLines(map),
    "",
    "# devices",
    ...devices,
    "",
    "# types",
    ...typeLines(map),
    "",
    "# buckets",
    ...bucketsInOrder(map).flatMap((bucket) => bucketLines(map, names, bucket)),
    "",
    "# rules",
    ...map.rules.flatMap((rule) => ruleLines(map, rule)),
    "",
    "# end crush map",
    "",
  ];
  return lines.join("\n");
}
