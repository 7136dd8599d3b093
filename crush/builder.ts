// Maps that the monitor makes and changes: OSDs under hosts under an optional rack under the root
// "default". Pure functions: each takes a map and gives a new one, with the weights of the buckets
// above summed up again and shadow ids kept.
import { StorageError } from "../common/errors.js";
import {
  bucketWeight,
  type CrushBucket,
  type CrushItem,
  type CrushMap,
  type CrushRule,
  jewelTunables,
} from "./map.js";
import { assignShadowIds } from "./shadow.js";
import { validateMap } from "./validate.js";
import { weightFromNumber } from "./weight.js";

/** Where an OSD stands and how much it takes. */
export interface OsdSpec {
  /** The OSD's number. */
  id: number;
  /** The host bucket's name; one is made when there is none. */
  host: string;
  /** The rack bucket's name; absent: the host stands below the root. Only for a new host. */
  rack?: string | undefined;
  /** Relative capacity; by custom the size in TiB. 0 to 100. */
  weight: number;
  deviceClass?: string | undefined;
}

/** What two replicas must not share. */
export type FailureDomain = "osd" | "host" | "rack";

/** Type ids as in Ceph's default map. */
const typeIds = { osd: 0, host: 1, rack: 3, root: 11 } as const;
const rootName = "default";

/** The name of an OSD in the map. */
export function osdName(id: number): string {
  return `osd.${id}`;
}

function replicatedRule(rootId: number, failureDomain: FailureDomain): CrushRule {
  return {
    id: 0,
    name: "replicated_rule",
    kind: "replicated",
    minSize: 1,
    maxSize: 10,
    steps: [
      { op: "take", itemId: rootId },
      failureDomain === "osd"
        ? { op: "choose", mode: "firstn", count: 0, typeId: typeIds.osd }
        : { op: "chooseleaf", mode: "firstn", count: 0, typeId: typeIds[failureDomain] },
      { op: "emit" },
    ],
  };
}

/** Puts weights, order, shadow ids and classes right after a change, and checks the result. */
function settle(map: CrushMap): CrushMap {
  const byId = new Map(map.buckets.map((bucket) => [bucket.id, bucket]));
  const done = new Map<number, CrushBucket>();
  const visit = (bucket: CrushBucket): CrushBucket => {
    const settled = done.get(bucket.id);
    if (settled !== undefined) return settled;
    const items = bucket.items.map((item): CrushItem => {
      const child = byId.get(item.id);
      return child === undefined ? item : { id: item.id, weight: bucketWeight(visit(child)) };
    });
    const result = { ...bucket, items };
    done.set(bucket.id, result);
    return result;
  };
  for (const bucket of map.buckets) visit(bucket);
  const classes = [...map.classes];
  for (const { deviceClass } of map.devices)
    if (deviceClass !== undefined && !classes.includes(deviceClass)) classes.push(deviceClass);
  const devices = [...map.devices].sort((a, b) => a.id - b.id);
  const settled = assignShadowIds({ ...map, devices, classes, buckets: [...done.values()] });
  validateMap(settled);
  return settled;
}

function replaceBucket(map: CrushMap, changed: CrushBucket): CrushMap {
  const buckets = map.buckets.map((bucket) => (bucket.id === changed.id ? changed : bucket));
  return { ...map, buckets };
}

function withItem(bucket: CrushBucket, item: CrushItem): CrushBucket {
  return { ...bucket, items: [...bucket.items, item] };
}

function bucketNamed(map: CrushMap, name: string, typeId: number): CrushBucket | undefined {
  const found = map.buckets.find((bucket) => bucket.name === name);
  if (found !== undefined && found.typeId !== typeId)
    throw new StorageError("invalid_argument", `bucket ${name} of the CRUSH map has another type`);
  return found;
}

/** The map with that bucket, made below parent when it isn't there. */
function ensureBucket(
  map: CrushMap,
  name: string,
  typeId: number,
  parent: CrushBucket,
): { map: CrushMap; bucket: CrushBucket } {
  const found = bucketNamed(map, name, typeId);
  if (found !== undefined) return { map, bucket: found };
  const used = new Set(
    map.buckets.flatMap((bucket) => [bucket.id, ...Object.values(bucket.shadowIds)]),
  );
  let id = -1;
  while (used.has(id)) id -= 1;
  const bucket: CrushBucket = { id, name, typeId, items: [], shadowIds: {} };
  const above = replaceBucket(map, withItem(parent, { id, weight: 0 }));
  return { map: { ...above, buckets: [...above.buckets, bucket] }, bucket };
}

/** Adds without settling; the caller settles. */
function insertOsd(map: CrushMap, osd: OsdSpec): CrushMap {
  if (map.devices.some((device) => device.id === osd.id))
    throw new StorageError("already_exists", `${osdName(osd.id)} is in the CRUSH map already`);
  const root = bucketNamed(map, rootName, typeIds.root);
  if (root === undefined)
    throw new StorageError("not_found", `the CRUSH map has no root named ${rootName}`);
  const atRack =
    osd.rack === undefined || bucketNamed(map, osd.host, typeIds.host) !== undefined
      ? { map, bucket: root }
      : ensureBucket(map, osd.rack, typeIds.rack, root);
  const atHost = ensureBucket(atRack.map, osd.host, typeIds.host, atRack.bucket);
  const item = { id: osd.id, weight: weightFromNumber(osd.weight) };
  const device = { id: osd.id, name: osdName(osd.id), deviceClass: osd.deviceClass };
  return {
    ...replaceBucket(atHost.map, withItem(atHost.bucket, item)),
    devices: [...map.devices, device],
  };
}

/**
 * A new cluster's map: root "default", racks where given, hosts, OSDs, the jewel tunables, and rule
 * 0 "replicated_rule".
 * @param failureDomain what replicas must not share; "osd" for a cluster on one machine
 * @throws StorageError already_exists: an OSD twice; too_large: a weight above 100
 */
export function defaultMap(
  osds: readonly OsdSpec[],
  failureDomain: FailureDomain = "host",
): CrushMap {
  const root: CrushBucket = {
    id: -1,
    name: rootName,
    typeId: typeIds.root,
    items: [],
    shadowIds: {},
  };
  const empty: CrushMap = {
    tunables: jewelTunables,
    devices: [],
    classes: [],
    types: Object.entries(typeIds).map(([name, id]) => ({ id, name })),
    buckets: [root],
    rules: [replicatedRule(root.id, failureDomain)],
  };
  return settle(osds.reduce(insertOsd, empty));
}

/**
 * Adds an OSD, with its host and rack when they are new. A host that is there stays where it is.
 * @throws StorageError already_exists; not_found: no root "default"; too_large: the weight
 */
export function addOsd(map: CrushMap, osd: OsdSpec): CrushMap {
  return settle(insertOsd(map, osd));
}

/**
 * Removes an OSD from all buckets. Empty hosts stay: they weigh 0, and removing one would hand its
 * id to another host later and move data.
 * @throws StorageError not_found; precondition_failed: a rule takes this OSD by name
 */
export function removeOsd(map: CrushMap, id: number): CrushMap {
  if (!map.devices.some((device) => device.id === id))
    throw new StorageError("not_found", `${osdName(id)} isn't in the CRUSH map`);
  const taking = map.rules.find((rule) =>
    rule.steps.some((step) => step.op === "take" && step.itemId === id),
  );
  if (taking !== undefined)
    throw new StorageError("precondition_failed", `rule ${taking.id} takes ${osdName(id)} by name`);
  return settle({
    ...map,
    devices: map.devices.filter((device) => device.id !== id),
    buckets: map.buckets.map((bucket) => ({
      ...bucket,
      items: bucket.items.filter((item) => item.id !== id),
    })),
  });
}

/**
 * Gives an OSD another weight wherever it stands.
 * @param weight as OsdSpec.weight
 * @throws StorageError not_found; too_large: the weight
 */
export function reweight(map: CrushMap, id: number, weight: number): CrushMap {
  const isThere = map.buckets.some((bucket) => bucket.items.some((item) => item.id === id));
  if (!isThere || id < 0)
    throw new StorageError("not_found", `${osdName(id)} isn't in a bucket of the CRUSH map`);
  const fixed = weightFromNumber(weight);
  return settle({
    ...map,
    buckets: map.buckets.map((bucket) => ({
      ...bucket,
      items: bucket.items.map((item) => (item.id === id ? { ...item, weight: fixed } : item)),
    })),
  });
}
