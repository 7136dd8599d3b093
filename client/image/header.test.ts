// The bytes of docs/format/image.md: those of test/golden/image/header.json are what every version
// has to read and write.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decodeHeader, headerSteps, type ImageHeader } from "./header.js";
import type { Migration } from "./migration-record.js";
import { u64Value } from "./omap-values.js";
import { decodePending, encodePending } from "./pending-record.js";
import { encodeSnapshot, type Snapshot, snapshotKey } from "./snapshot-record.js";
import { decodeTrash, encodeTrash } from "./trash-record.js";

type Values = Record<string, string>;
interface Golden {
  header: { id: string; values: Values };
  clone: { id: string; values: Values; more: Values; snapshots: Values };
  pending: { record: { state: "importing"; name: string; refreshedAt: number }; value: string };
  trash: { record: { name: string; deletedAt: number; deferUntil: number }; value: string };
  migrations: { record: Migration; value: string }[];
}

const file = new URL("../../test/golden/image/header.json", import.meta.url);
const golden = JSON.parse(readFileSync(file, "utf8")) as Golden;

/** As it was written before features were defined. */
const header: ImageHeader = {
  id: "00000000deadbeef",
  sizeBytes: 5 * 2 ** 30 + 512,
  order: 22,
  objectPrefix: "rbd_data.00000000deadbeef",
  features: 4n,
  createdAt: 1_700_000_000_000,
  trimEndBytes: undefined,
  stripeUnitBytes: 1 << 22,
  stripeCount: 1,
  dataPool: undefined,
  snapSeq: 0,
  snapLimit: undefined,
  snapshots: [],
  parent: undefined,
  detaching: undefined,
  rollback: undefined,
  group: undefined,
  requests: [],
};

const parent = {
  pool: 3,
  namespace: "ns",
  imageId: "00000000cafe0000",
  snapId: 7,
  overlapBytes: 2 ** 30,
};
const snapshots: Snapshot[] = [
  {
    id: 9,
    name: "before",
    sizeBytes: 2 ** 30,
    createdAt: 1_700_000_000_001,
    protected: true,
    state: "ready",
    kind: "user",
    children: 2,
    parent,
  },
  {
    id: 0x1_0000_0001,
    name: ".group.00000000000000aa",
    sizeBytes: 2 ** 30,
    createdAt: 1_700_000_000_002,
    protected: false,
    state: "removing",
    kind: "group",
    children: 0,
    group: { pool: 1, groupId: "00000000000000bb" },
  },
];
const clone: ImageHeader = {
  ...header,
  order: 23,
  features: 0xbfn,
  stripeUnitBytes: 65536,
  stripeCount: 4,
  dataPool: 5,
  parent,
};

function omapOf(values: Values): [string, Uint8Array][] {
  return Object.entries(values).map(([key, hex]) => [key, Buffer.from(hex, "hex")]);
}
const goldenOmap = () => omapOf(golden.header.values);

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("the image header", () => {
  it("is written as the golden bytes say", () => {
    const written = headerSteps(clone).map(({ key = "", value = new Uint8Array() }) => [
      key,
      hexOf(value),
    ]);
    expect(Object.fromEntries(written)).toEqual(golden.clone.values);
    const records = snapshots.map((snapshot) => [
      snapshotKey(snapshot.id),
      hexOf(encodeSnapshot(snapshot)),
    ]);
    expect(Object.fromEntries(records)).toEqual(golden.clone.snapshots);
  });

  it("is read from them, with all that it can have", () => {
    const { values, more, snapshots: records } = golden.clone;
    expect(decodeHeader(golden.clone.id, omapOf({ ...values, ...more, ...records }))).toEqual({
      ...clone,
      snapSeq: 0x1_0000_0001,
      snapLimit: 3,
      snapshots,
      detaching: { pool: 3, namespace: "", imageId: "00000000cafe0000", snapId: 7 },
      rollback: {
        snapId: 9,
        group: { pool: 1, groupId: "00000000000000bb", snapshot: "00000000000000aa" },
      },
      group: { pool: 1, groupId: "00000000000000bb" },
    });
  });

  it.each(golden.migrations)("says what migration it takes part in: %j", ({ record, value }) => {
    const { values } = golden.clone;
    const read = decodeHeader(golden.clone.id, omapOf({ ...values, migration: value }));
    expect(read.migration).toEqual(record);
    const written = headerSteps({ ...clone, migration: record });
    const stored = written.find(({ key }) => key === "migration")?.value;
    expect(hexOf(stored ?? new Uint8Array())).toBe(value);
  });

  it("is read as it was before features were defined, also while it shrinks", () => {
    expect(decodeHeader(golden.header.id, goldenOmap())).toEqual(header);
    const shrinking: [string, Uint8Array] = ["trim_end", u64Value(2 ** 40)];
    expect(decodeHeader(header.id, [...goldenOmap(), shrinking]).trimEndBytes).toBe(2 ** 40);
  });

  it.each([
    ["a stripe unit that does not divide the object", "stripe_unit", "0030000000000000"],
    ["a stripe count of 0", "stripe_count", "0000000000000000"],
    ["a snapshot above the newest id", "snap_seq", "0800000000000000"],
    ["a parent that is no record", "parent", "80"],
    ["a snapshot without a number", "snapshot_9", "80"],
    ["a snapshot that is no record", "snapshot_0000000000000009", "c0"],
  ])("is refused with %s", (_what, key, hex) => {
    const { values, more, snapshots: records } = golden.clone;
    const omap = omapOf({ ...values, ...more, ...records, [key]: hex });
    const decode = () => decodeHeader(header.id, omap);
    expect(decode).toThrow(expect.objectContaining({ code: "corrupt" }));
  });

  it.each([
    ["a missing size", "size", undefined, "corrupt"],
    ["a size of 7 bytes", "size", "00000000000000", "corrupt"],
    ["a size above 2^53", "size", "ffffffffffffffff", "corrupt"],
    ["a size above the largest image", "size", "0000000000000100", "corrupt"],
    ["an order of 63", "order", "3f", "corrupt"],
    ["an order of 2 bytes", "order", "1600", "corrupt"],
    ["another image's prefix", "object_prefix", "7262645f646174612e31", "corrupt"],
    ["a prefix that is no text", "object_prefix", "ff", "corrupt"],
    ["a feature of the future", "features", "0000000000000080", "unsupported_feature"],
  ])("is refused with %s", (_what, key, hex, code) => {
    const omap = goldenOmap().filter(([other]) => other !== key);
    if (hex !== undefined) omap.push([key, Buffer.from(hex, "hex")]);
    expect(() => decodeHeader(header.id, omap)).toThrow(expect.objectContaining({ code }));
  });
});

describe("a trash entry", () => {
  it("is written and read as the golden bytes say", () => {
    const { record, value } = golden.trash;
    expect(hexOf(encodeTrash(record))).toBe(value);
    expect(decodeTrash(Buffer.from(value, "hex"))).toEqual(record);
  });
});

describe("a pending entry", () => {
  it("is written and read as the golden bytes say", () => {
    const { record, value } = golden.pending;
    expect(Buffer.from(encodePending(record)).toString("hex")).toBe(value);
    expect(decodePending(Buffer.from(value, "hex"))).toEqual(record);
  });

  it.each(["", "c0", "80", "ff00", "83a57374617465a6626f6775732d"])("refuses %j", (hex) => {
    const decode = () => decodePending(Buffer.from(hex, "hex"));
    expect(decode).toThrow(expect.objectContaining({ code: "corrupt" }));
  });
});
