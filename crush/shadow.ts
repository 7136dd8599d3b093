// Shadow trees: for each device class a copy of every hierarchy that holds only the devices of that
// class. `step take default class ssd` starts in the copy. A shadow bucket's id goes into the hash
// of the draw above it, so the ids must be those that crushtool hands out.
import { defined } from "../common/assert.js";
import { bucketWeight, type CrushBucket, type CrushItem, type CrushMap } from "./map.js";
import { validateTree } from "./validate.js";

/** A shadow bucket as the mapper sees it. */
export interface ShadowBucket {
  id: number;
  typeId: number;
  items: CrushItem[];
}

/** Ids of the buckets that no other bucket holds, lowest first: crushtool's order. */
function rootIds(map: CrushMap): number[] {
  const held = new Set(map.buckets.flatMap((bucket) => bucket.items.map((item) => item.id)));
  return map.buckets
    .map((bucket) => bucket.id)
    .filter((id) => !held.has(id))
    .sort((a, b) => a - b);
}

/**
 * The buckets below a root and the root itself, each once, children before parents. The map has
 * been validated, so the recursion is at most limits.depth deep.
 */
function bottomUp(byId: ReadonlyMap<number, CrushBucket>, rootId: number): CrushBucket[] {
  const seen = new Set<number>();
  const order: CrushBucket[] = [];
  const visit = (id: number): void => {
    if (seen.has(id)) return;
    seen.add(id);
    const bucket = defined(byId.get(id), `bucket ${id}`);
    for (const item of bucket.items) if (item.id < 0) visit(item.id);
    order.push(bucket);
  };
  visit(rootId);
  return order;
}

/**
 * The map with a shadow id for every bucket and class. Ids that are there stay; new ones are the
 * highest free ids, given root by root, class by class, children before parents, as crushtool does.
 * @throws StorageError corrupt or too_large when the map isn't valid
 */
export function assignShadowIds(map: CrushMap): CrushMap {
  validateTree(map); // bounds the recursion below
  const byId = new Map(map.buckets.map((bucket) => [bucket.id, bucket]));
  const shadowIds = new Map(map.buckets.map((bucket) => [bucket.id, { ...bucket.shadowIds }]));
  const used = new Set<number>(byId.keys());
  for (const ids of shadowIds.values()) for (const id of Object.values(ids)) used.add(id);
  let free = -1;
  for (const rootId of rootIds(map)) {
    const buckets = bottomUp(byId, rootId);
    for (const deviceClass of map.classes) {
      for (const bucket of buckets) {
        const ids = defined(shadowIds.get(bucket.id), `bucket ${bucket.id}`);
        if (Object.hasOwn(ids, deviceClass)) continue;
        while (used.has(free)) free -= 1;
        used.add(free);
        ids[deviceClass] = free;
      }
    }
  }
  return {
    ...map,
    buckets: map.buckets.map((bucket) => ({
      ...bucket,
      shadowIds: defined(shadowIds.get(bucket.id), `bucket ${bucket.id}`),
    })),
  };
}

/** The shadow bucket's id for a class; undefined when the bucket has none. */
export function shadowIdOf(bucket: CrushBucket, deviceClass: string): number | undefined {
  return Object.hasOwn(bucket.shadowIds, deviceClass) ? bucket.shadowIds[deviceClass] : undefined;
}

/**
 * The contents of all shadow trees of a map whose shadow ids are assigned: devices of the class
 * with their weights, and shadows of child buckets (empty ones too) with the sum of their items.
 */
export function shadowBuckets(map: CrushMap): ShadowBucket[] {
  const byId = new Map(map.buckets.map((bucket) => [bucket.id, bucket]));
  const classOf = new Map(map.devices.map((device) => [device.id, device.deviceClass]));
  const made = new Map<number, ShadowBucket>();
  for (const rootId of rootIds(map)) {
    for (const bucket of bottomUp(byId, rootId)) {
      for (const [deviceClass, id] of Object.entries(bucket.shadowIds)) {
        if (made.has(id)) continue;
        const items = bucket.items.flatMap((item): CrushItem[] => {
          if (item.id >= 0) return classOf.get(item.id) === deviceClass ? [{ ...item }] : [];
          const childId = byId.get(item.id)?.shadowIds[deviceClass];
          const child = childId === undefined ? undefined : made.get(childId);
          return child === undefined ? [] : [{ id: child.id, weight: bucketWeight(child) }];
        });
        made.set(id, { id, typeId: bucket.typeId, items });
      }
    }
  }
  return [...made.values()];
}
