// The header of an image as bytes of omap values: docs/format/image.md. Pure; little-endian.
import { Type } from "@sinclair/typebox";
import { StorageError } from "../../common/errors.js";
import { Checker } from "../../common/schema.js";
import type { NativeStep } from "../../native/binding.js";
import { encodeValue } from "../../proto/encoding.js";
import { featureBits, hasFeature, knownFeatures } from "./features.js";
import { type Migration, migrationChecker } from "./migration-record.js";
import {
  type Omap,
  setStep,
  textValue,
  u64Value,
  valueMap,
  valueNumber,
  valueText,
  valueU64,
} from "./omap-values.js";
import {
  type GroupRef,
  GroupRefSchema,
  groupRefChecker,
  IdSchema,
  type ParentRef,
  parentChecker,
  SnapIdSchema,
  type SnapRef,
  snapRefChecker,
} from "./references.js";
import { decodeSnapshots, maxSnapshots, type Snapshot } from "./snapshot-record.js";

/** 4 MiB objects. */
export const defaultOrder = 22;
const minOrder = 12;
const maxOrder = 25;
/** Image sizes are whole sectors. */
export const sectorBytes = 512;
/** Unit in which space is given back. */
export const blockBytes = 4096;
/** 64 TiB: 2^24 objects of 4 MiB. */
export const maxImageBytes = 2 ** 46;
export const maxStripeCount = 1024;

/** A rollback that has begun: whoever takes the lock next finishes it before the image is used. */
export interface Rollback {
  snapId: number;
  /** of a whole group: only once the group's snapshot says so (docs/format/image.md) */
  group?: (GroupRef & { snapshot: string }) | undefined;
}

export interface ImageHeader {
  id: string;
  sizeBytes: number;
  /** log2 of the object size in bytes */
  order: number;
  objectPrefix: string;
  features: bigint;
  /** milliseconds since 1970 */
  createdAt: number;
  /** while a shrink is under way: [sizeBytes, trimEndBytes) is still to be discarded */
  trimEndBytes: number | undefined;
  stripeUnitBytes: number;
  stripeCount: number;
  /** id of the pool that has the data; undefined: the header's own */
  dataPool: number | undefined;
  /** the newest snapshot id that the image has ever had; 0: none */
  snapSeq: number;
  /** how many snapshots may be taken by name; undefined: as many as an image can have */
  snapLimit: number | undefined;
  /** oldest first */
  snapshots: Snapshot[];
  parent: ParentRef | undefined;
  /** nothing here refers to this parent any more, but the parent may still count us as a child */
  detaching: SnapRef | undefined;
  rollback: Rollback | undefined;
  group: GroupRef | undefined;
  /** it comes from somewhere else, or goes elsewhere: docs/operating/migration.md */
  migration: Migration | undefined;
  /** changes that were made last, by the ids of their requests: none of them is made twice */
  requests: string[];
}

/** Requests that are asked for again come soon: of those before nobody asks any more. */
export const rememberedRequests = 16;
const requestsChecker = new Checker(
  Type.Array(IdSchema, { maxItems: rememberedRequests }),
  "requests of an image",
  "corrupt",
);
const rollbackChecker = new Checker(
  Type.Object(
    {
      snapId: SnapIdSchema,
      group: Type.Optional(
        Type.Object(
          { ...GroupRefSchema.properties, snapshot: IdSchema },
          { additionalProperties: false },
        ),
      ),
    },
    { additionalProperties: false },
  ),
  "rollback of an image",
  "corrupt",
);

export function headerObject(id: string): string {
  return `rbd_header.${id}`;
}

export function dataPrefix(id: string): string {
  return `rbd_data.${id}`;
}

/** Prefixes of all keys of a header but its children and metadata, which can be many. */
const headerPrefixes = [
  ...["created", "data_pool", "detaching", "features", "group", "lock", "migration"],
  ...["object_prefix", "order", "parent", "requests", "rollback", "size", "snap"],
  ...["stripe_", "trim_end"],
];

/** Reads all of a header but its children and metadata, as of one moment. */
export function readHeaderSteps(): NativeStep[] {
  return headerPrefixes.map((key) => ({
    code: "omapList",
    key,
    value: new Uint8Array(),
    length: maxSnapshots + 8,
  }));
}

/** The steps that write a new header. */
export function headerSteps(header: ImageHeader): NativeStep[] {
  const steps = [
    setStep("size", u64Value(header.sizeBytes)),
    setStep("order", Uint8Array.of(header.order)),
    setStep("object_prefix", textValue(header.objectPrefix)),
    setStep("features", u64Value(header.features)),
    setStep("created", u64Value(header.createdAt)),
    setStep("snap_seq", u64Value(header.snapSeq)),
  ];
  if (hasFeature(header.features, "striping")) {
    steps.push(setStep("stripe_unit", u64Value(header.stripeUnitBytes)));
    steps.push(setStep("stripe_count", u64Value(header.stripeCount)));
  }
  if (header.dataPool !== undefined) steps.push(setStep("data_pool", u64Value(header.dataPool)));
  if (header.parent !== undefined) steps.push(setStep("parent", encodeValue(header.parent)));
  if (header.migration !== undefined) {
    steps.push(setStep("migration", encodeValue(header.migration)));
  }
  return steps;
}

/**
 * The header in the key-values of its object.
 * @throws corrupt; unsupported_feature when a newer Cairn made it
 */
export function decodeHeader(id: string, omap: Omap): ImageHeader {
  const values = new Map(omap);
  const what = (key: string) => `${key} in ${headerObject(id)}`;
  const need = (key: string): Uint8Array => {
    const value = values.get(key);
    if (value === undefined) throw new StorageError("corrupt", `${what(key)} is missing`);
    return value;
  };
  const number = (key: string) => valueNumber(need(key), what(key));
  const optional = <T>(key: string, read: (value: Uint8Array, what: string) => T) => {
    const value = values.get(key);
    return value === undefined ? undefined : read(value, what(key));
  };
  const stored = valueU64(need("features"), what("features"));
  refuseUnknown(stored);
  const order = need("order");
  const header: ImageHeader = {
    id,
    sizeBytes: number("size"),
    order: order[0] ?? 0,
    objectPrefix: valueText(need("object_prefix"), what("object_prefix")),
    // Those of before features were defined have no snap_seq; they were under a lock all the same.
    features: values.has("snap_seq") ? stored : stored | featureBits["exclusive-lock"],
    createdAt: number("created"),
    trimEndBytes: optional("trim_end", valueNumber),
    stripeUnitBytes: optional("stripe_unit", valueNumber) ?? 2 ** (order[0] ?? 0),
    stripeCount: optional("stripe_count", valueNumber) ?? 1,
    dataPool: optional("data_pool", valueNumber),
    snapSeq: optional("snap_seq", valueNumber) ?? 0,
    snapLimit: optional("snap_limit", valueNumber),
    snapshots: decodeSnapshots(omap),
    parent: optional("parent", (value, name) => valueMap(value, parentChecker, name)),
    detaching: optional("detaching", (value, name) => valueMap(value, snapRefChecker, name)),
    rollback: optional("rollback", (value, name) => valueMap(value, rollbackChecker, name)),
    group: optional("group", (value, name) => valueMap(value, groupRefChecker, name)),
    migration: optional("migration", (value, name) => valueMap(value, migrationChecker, name)),
    requests: optional("requests", (value, name) => valueMap(value, requestsChecker, name)) ?? [],
  };
  if (order.length !== 1 || !isPossible(header)) {
    throw new StorageError("corrupt", `${headerObject(id)} holds impossible values`);
  }
  return header;
}

function refuseUnknown(features: bigint): void {
  if ((features & ~knownFeatures) === 0n) return;
  throw new StorageError(
    "unsupported_feature",
    `the image has features that this version does not know: 0x${features.toString(16)}`,
    { remedy: "Use the version of Cairn that made it, or a newer one." },
  );
}

function isPossible(header: ImageHeader): boolean {
  const { order, sizeBytes, stripeUnitBytes, stripeCount, snapshots, snapSeq } = header;
  const objectBytes = 2 ** order;
  return (
    order >= minOrder &&
    order <= maxOrder &&
    sizeBytes <= maxImageBytes &&
    (header.trimEndBytes ?? 0) <= maxImageBytes &&
    header.objectPrefix === dataPrefix(header.id) &&
    stripeUnitBytes >= blockBytes &&
    stripeUnitBytes % blockBytes === 0 &&
    objectBytes % stripeUnitBytes === 0 &&
    stripeCount >= 1 &&
    stripeCount <= maxStripeCount &&
    (snapshots.at(-1)?.id ?? 0) <= snapSeq &&
    snapshots.length <= maxSnapshots
  );
}
