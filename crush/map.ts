// The CRUSH map as a plain value: what the text form says, with names and shadow ids. Made by
// parse.ts and builder.ts, printed by print.ts, compiled for the native mapper by compiled.ts.
// Values are immutable: every change makes a new map.
//
// Invariants (checked by validate.ts, which parse, compile and the builder call): every item refers
// to a device or a bucket of the map, the buckets are acyclic, numbers are within the limits below.

/** Limits, the same as in native/core/crush/map.hh. */
export const limits = {
  deviceCount: 2 ** 20,
  /** Shadow buckets included. */
  bucketCount: 2 ** 20,
  classCount: 64,
  itemsInBucket: 2 ** 16,
  typeId: 0xffff,
  ruleCount: 256,
  stepsInRule: 64,
  depth: 16,
  tries: 10_000,
  varyR: 31,
  resultSize: 64,
  /** 16.16: 100.0, Ceph's CRUSH_MAX_DEVICE_WEIGHT. */
  deviceWeight: 100 * 0x10000,
  /** 16.16: just under 32768.0, where Ceph's signed division turns placement into nonsense. */
  bucketWeight: 0x7fffffff,
} as const;

/** 1.0 in 16.16 fixed point. */
export const weightOne = 0x10000;
/** A hole in a result: no device found. */
export const itemNone = 0x7fffffff;
/** In rows of crushTest: the row ended before this entry. */
export const itemUndef = 0x7ffffffe;

export interface CrushTunables {
  chooseTotalTries: number;
  chooseleafDescendOnce: 0 | 1;
  chooseleafVaryR: number;
  chooseleafStable: 0 | 1;
  /** Of the old straw buckets only; kept for printing. */
  strawCalcVersion: number;
  /** A bit per bucket algorithm that Ceph may create; kept for printing. */
  allowedBucketAlgs: number;
}

/** Ceph's current profile ("jewel", also called optimal). */
export const jewelTunables: Readonly<CrushTunables> = {
  chooseTotalTries: 50,
  chooseleafDescendOnce: 1,
  chooseleafVaryR: 1,
  chooseleafStable: 1,
  strawCalcVersion: 1,
  allowedBucketAlgs: 54,
};

export interface CrushDevice {
  /** From 0 up; the OSD's number. */
  id: number;
  name: string;
  deviceClass?: string | undefined;
}

export interface CrushType {
  /** 0 is the type of devices. */
  id: number;
  name: string;
}

export interface CrushItem {
  /** A device (from 0 up) or a bucket (from -1 down). */
  id: number;
  /** 16.16 fixed point. */
  weight: number;
}

/** A straw2 bucket with hash rjenkins1. */
export interface CrushBucket {
  /** From -1 down. */
  id: number;
  name: string;
  typeId: number;
  items: readonly CrushItem[];
  /** Device class -> id of this bucket's shadow, which holds only devices of that class. */
  shadowIds: Readonly<Record<string, number>>;
}

export type ChooseMode = "firstn" | "indep";
export type SetStepOp =
  | "set_choose_tries"
  | "set_chooseleaf_tries"
  | "set_chooseleaf_vary_r"
  | "set_chooseleaf_stable";

export type RuleStep =
  | { op: "take"; itemId: number; deviceClass?: string | undefined }
  /** count 0: as many as the pool's size; negative: that many fewer. */
  | { op: "choose" | "chooseleaf"; mode: ChooseMode; count: number; typeId: number }
  | { op: SetStepOp; value: number }
  | { op: "emit" };

export interface CrushRule {
  id: number;
  name?: string | undefined;
  kind: "replicated" | "erasure";
  /** Not used by placement; Ceph prints them up to release 16. */
  minSize?: number | undefined;
  maxSize?: number | undefined;
  steps: readonly RuleStep[];
}

export interface CrushMap {
  tunables: Readonly<CrushTunables>;
  /** By id. */
  devices: readonly CrushDevice[];
  /** Device classes in the order in which shadow ids are handed out: first mention first. */
  classes: readonly string[];
  /** By id. */
  types: readonly CrushType[];
  /** Without shadows; a bucket stands after the buckets that it holds. */
  buckets: readonly CrushBucket[];
  /** By id. */
  rules: readonly CrushRule[];
}

/** Device ids of the map are below this number (crushtool's max_devices). */
export function maxDevices(map: CrushMap): number {
  return map.devices.reduce((highest, device) => Math.max(highest, device.id + 1), 0);
}

/** The sum of the item weights, 16.16. */
export function bucketWeight(bucket: { items: readonly CrushItem[] }): number {
  return bucket.items.reduce((sum, item) => sum + item.weight, 0);
}

/** The name of a device or bucket; undefined when the map has no such item. */
export function itemName(map: CrushMap, id: number): string | undefined {
  const list: readonly { id: number; name: string }[] = id >= 0 ? map.devices : map.buckets;
  return list.find((item) => item.id === id)?.name;
}
