// The record of one snapshot in its image's header. Pure. docs/format/image.md
import { type Static, Type } from "@sinclair/typebox";
import { StorageError } from "../../common/errors.js";
import { Checker } from "../../common/schema.js";
import { encodeValue } from "../../proto/encoding.js";
import { hex16, type Omap, valueMap } from "./omap-values.js";
import { GroupRefSchema, ParentRefSchema, SnapIdSchema } from "./references.js";

/** of an image: as many ids a write can carry (docs/protocol/data-path.md) */
export const maxSnapshots = 512;
export const snapshotPrefix = "snapshot_";

const SnapshotRecordSchema = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 255 }),
    /** of the image when the snapshot was taken */
    sizeBytes: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    /** milliseconds since 1970 */
    createdAt: Type.Integer({ minimum: 0 }),
    protected: Type.Boolean(),
    /** removing: it is gone for everybody; its space is still to be given back */
    state: Type.Union([Type.Literal("ready"), Type.Literal("removing")]),
    /** user: made by name; group: part of a group's snapshot; trash: removed, clones need it */
    kind: Type.Union([Type.Literal("user"), Type.Literal("group"), Type.Literal("trash")]),
    /** clones: as many as the header has child_ keys of it */
    children: Type.Integer({ minimum: 0 }),
    /** what the image's parent was when the snapshot was taken */
    parent: Type.Optional(ParentRefSchema),
    /** while its image is the target of a migration: the snapshot of the source that it shows */
    source: Type.Optional(SnapIdSchema),
    /** of kind group */
    group: Type.Optional(GroupRefSchema),
  },
  { additionalProperties: false },
);
export type SnapshotRecord = Static<typeof SnapshotRecordSchema>;
export type SnapshotKind = SnapshotRecord["kind"];

export interface Snapshot extends SnapshotRecord {
  id: number;
}

const checker = new Checker(SnapshotRecordSchema, "snapshot of an image", "corrupt");

export const snapshotKey = (id: number): string => snapshotPrefix + hex16(id);

export const encodeSnapshot = ({ id: _, ...record }: Snapshot): Uint8Array => encodeValue(record);

/** The snapshots among the key-values of a header, oldest first. @throws corrupt */
export function decodeSnapshots(omap: Omap): Snapshot[] {
  return omap
    .filter(([key]) => key.startsWith(snapshotPrefix))
    .map(([key, value]) => {
      const id = Number.parseInt(key.slice(snapshotPrefix.length), 16);
      if (snapshotKey(id) !== key) throw new StorageError("corrupt", `${key} has no number`);
      return { id, ...valueMap(value, checker, key) };
    })
    .sort((a, b) => a.id - b.id);
}
