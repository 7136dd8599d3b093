// Shadow trees: for each device class a copy of every hierarchy that holds only the devices of that
// class. `step take default class ssd` starts in the copy. A shadow bucket's id goes into the hash
// of the draw above it, so the ids must be those that crushtool hands out.
import { defined } from "../common/assert.js";
import { bucketWeight, type CrushBucket, type CrushItem, type CrushMap } from "./map.js";

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

/** Calls visit for each bucket below the roots once, children first, in crushtool's order. */
function walkBottomUp(map: CrushMap, visit: (bucket: CrushBucket) => void): void {
  const byId = new Map(map.buckets.map((bucket) => [bucket.id, bucket]));
  const done = new Set<number>();
  // Recursion is bounded by limits.depth: the map is validated.
  const walk = (id: number): void => {
    if (done.has(id)) return;
    done.add(id);
    const bucket = defined(byId.get(id), `bucket ${id}`);
    for (const item of bucket.items) if (item.id < 0) walk(item.id);
    visit(bucket);
  };
  for (const id of rootIds(map)) walk(id);
}

/**
 * The map with a shadow id for every bucket and class: those that are there stay, new ones get the
 * highest free id, class by class, children before parents, as crushtool assigns them.
 */
export function assignShadowIds(map: CrushMap): CrushMap {
  const used = new Set<number>();
  const shadowIds = new Map<number, Record<string, number>>();
  for (const bucket of map.buckets) {
    used.add(bucket.id);
    for (const id of Object.values(bucket.shadowIds)) used.add(id);
    shadowIds.set(bucket.id, { ...bucket.shadowIds });
  }
  let free = -1;
  // crushtool finishes one root, class by class, before it starts the next.
  const order: CrushBucket[][] = [];
  const byRoot = new Map<number, CrushBucket[]>();
  for (const root of rootIds(map)) {
    const below: CrushBucket[] = [];
    byRoot.set(root, below);
    order.push(below);
  }
  collectByRoot(map, byRoot);
  for (const buckets of order) {
    for (const name of map.classes) {
      for (const bucket of buckets) {
        const ids = defined(shadowIds.get(bucket.id), `bucket ${bucket.id}`);
        if (Object.hasOwn(ids, name)) continue;
        while (used.has(free)) free -= 1;
        used.add(free);
        ids[name] = free;
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
