// The checks behind every CrushMap: what they let through, the native decoder accepts and the
// mapper walks in bounded time.
import { StorageError } from "../common/errors.js";
import { bucketWeight, type CrushBucket, type CrushMap, limits, type RuleStep } from "./map.js";

function fail(message: string): never {
  throw new StorageError("corrupt", `CRUSH map: ${message}`);
}

function tooLarge(message: string): never {
  throw new StorageError("too_large", `CRUSH map: ${message}`);
}

function checkUnique(what: string, keys: Iterable<number | string>): void {
  const seen = new Set<number | string>();
  for (const key of keys) {
    if (seen.has(key)) fail(`${what} ${key} is defined twice`);
    seen.add(key);
  }
}

/** @throws StorageError too_large when the value isn't an integer from low to high. */
export function checkRange(what: string, value: number, low: number, high: number): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  tooLarge(`${what} is ${value}; it goes from ${low} to ${high}`);
}

/** @throws StorageError too_large when the weight (16.16) is beyond what placement can do. */
export function checkWeight(what: string, itemId: number, weight: number): void {
  const limit = itemId >= 0 ? limits.deviceWeight : limits.bucketWeight;
  if (Number.isInteger(weight) && weight >= 0 && weight <= limit) return;
  const text = itemId >= 0 ? "a device weighs at most 100" : "a bucket weighs less than 32768";
  tooLarge(`${what} weighs ${weight / 0x10000}; ${text}`);
}

/** @throws StorageError too_large when the items' weights add up to more than 32 bits. */
export function checkTotalWeight(bucket: Pick<CrushBucket, "name" | "items">): void {
  if (bucketWeight(bucket) > 0xffffffff)
    tooLarge(`the weights in bucket ${bucket.name} add up to 65536 or more`);
}

function knownItems(map: CrushMap): Set<number> {
  return new Set([...map.devices, ...map.buckets].map((item) => item.id));
}

function checkBucket(bucket: CrushBucket, known: ReadonlySet<number>): void {
  checkRange(`the type of bucket ${bucket.name}`, bucket.typeId, 1, limits.typeId);
  if (bucket.items.length > limits.itemsInBucket)
    tooLarge(`bucket ${bucket.name} holds more than ${limits.itemsInBucket} items`);
  checkUnique(
    `in bucket ${bucket.name} item`,
    bucket.items.map((item) => item.id),
  );
  for (const item of bucket.items) {
    if (!known.has(item.id)) fail(`item ${item.id} in bucket ${bucket.name} isn't defined`);
    checkWeight(`item ${item.id} in bucket ${bucket.name}`, item.id, item.weight);
  }
  checkTotalWeight(bucket);
}

/** Each bucket stands after those it holds, which rules out cycles, and none is too high. */
function checkOrder(map: CrushMap): void {
  const heights = new Map<number, number>();
  for (const bucket of map.buckets) {
    let height = 1;
    for (const item of bucket.items) {
      if (item.id >= 0) continue;
      const below = heights.get(item.id);
      if (below === undefined) fail(`bucket ${bucket.name} stands before a bucket that it holds`);
      height = Math.max(height, below + 1);
    }
    if (height > limits.depth) tooLarge(`buckets nest deeper than ${limits.depth}`);
    heights.set(bucket.id, height);
  }
}

/** @throws StorageError too_large when an argument of the step is out of its range. */
export function checkStep(step: RuleStep): void {
  switch (step.op) {
    case "take":
    case "emit":
      return;
    case "choose":
    case "chooseleaf":
      checkRange(`the count of ${step.op}`, step.count, -limits.resultSize, limits.resultSize);
      checkRange(`the type of ${step.op}`, step.typeId, 0, limits.typeId);
      return;
    case "set_choose_tries":
    case "set_chooseleaf_tries":
      checkRange(step.op, step.value, 0, limits.tries);
      return;
    case "set_chooseleaf_vary_r":
      checkRange(step.op, step.value, 0, limits.varyR);
      return;
    case "set_chooseleaf_stable":
      checkRange(step.op, step.value, 0, 1);
  }
}

function checkRules(map: CrushMap, known: ReadonlySet<number>): void {
  checkUnique(
    "rule",
    map.rules.map((rule) => rule.id),
  );
  checkUnique(
    "rule",
    map.rules.flatMap((rule) => rule.name ?? []),
  );
  const byId = new Map(map.buckets.map((bucket) => [bucket.id, bucket]));
  for (const rule of map.rules) {
    checkRange("a rule's id", rule.id, 0, limits.ruleCount - 1);
    checkRange(`the number of steps of rule ${rule.id}`, rule.steps.length, 0, limits.stepsInRule);
    for (const step of rule.steps) {
      checkStep(step);
      if (step.op !== "take") continue;
      if (!known.has(step.itemId))
        fail(`rule ${rule.id} takes item ${step.itemId}, which isn't defined`);
      if (step.deviceClass === undefined) continue;
      const shadows = byId.get(step.itemId)?.shadowIds;
      if (shadows === undefined || !Object.hasOwn(shadows, step.deviceClass))
        fail(`rule ${rule.id} takes class ${step.deviceClass} of an item that has no such class`);
    }
  }
}

/**
 * Checks all but the rules, which can name shadow trees that aren't assigned yet.
 * @throws StorageError as validateMap
 */
export function validateTree(map: CrushMap): void {
  for (const device of map.devices)
    checkRange("a device's id", device.id, 0, limits.deviceCount - 1);
  checkRange("the number of device classes", map.classes.length, 0, limits.classCount);
  if (map.buckets.length * (map.classes.length + 1) > limits.bucketCount)
    tooLarge(`more than ${limits.bucketCount} buckets and shadow buckets`);
  const shadowIds = map.buckets.flatMap((bucket) => Object.values(bucket.shadowIds));
  const bucketIds = [...map.buckets.map((bucket) => bucket.id), ...shadowIds];
  for (const id of bucketIds) checkRange("a bucket's id", id, -limits.bucketCount, -1);
  for (const type of map.types) checkRange("a type's id", type.id, 0, limits.typeId);
  checkUnique(
    "device",
    map.devices.map((device) => device.id),
  );
  checkUnique("bucket", bucketIds);
  checkUnique(
    "item",
    [...map.devices, ...map.buckets].map((item) => item.name),
  );
  checkUnique(
    "type",
    map.types.flatMap((type) => [type.id, type.name]),
  );
  checkRange("choose_total_tries", map.tunables.chooseTotalTries, 0, limits.tries - 1);
  checkRange("chooseleaf_vary_r", map.tunables.chooseleafVaryR, 0, limits.varyR);
  const known = knownItems(map);
  for (const bucket of map.buckets) checkBucket(bucket, known);
  checkOrder(map);
}

/**
 * Checks a whole map whose shadow ids are assigned.
 * @throws StorageError corrupt: a double or missing definition, a cycle; too_large: beyond a limit
 */
export function validateMap(map: CrushMap): void {
  validateTree(map);
  checkRules(map, knownItems(map));
}
