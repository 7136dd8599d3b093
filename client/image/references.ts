// How images, their parents, children and groups refer to each other in stored records. By ids, so
// that a rename breaks nothing. Pure.
import { type Static, Type } from "@sinclair/typebox";
import { Checker } from "../../common/schema.js";
import { hex16 } from "./omap-values.js";

const closed = { additionalProperties: false } as const;
export const IdSchema = Type.String({ pattern: "^[0-9a-f]{16}$" });
export const PoolIdSchema = Type.Integer({ minimum: 1, maximum: 0xffff_ffff });
export const NamespaceNameSchema = Type.String({ pattern: "^[A-Za-z0-9_.-]{0,96}$" });
export const SnapIdSchema = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });

const imageMembers = { pool: PoolIdSchema, namespace: NamespaceNameSchema, imageId: IdSchema };

/** An image, wherever it is. namespace "": the pool's own. */
export const ImageRefSchema = Type.Object(imageMembers, closed);
export type ImageRef = Static<typeof ImageRefSchema>;

/** A snapshot of an image. */
export const SnapRefSchema = Type.Object({ ...imageMembers, snapId: SnapIdSchema }, closed);
export type SnapRef = Static<typeof SnapRefSchema>;

/** The parent of a clone: what lies below overlapBytes and is absent is read from there. */
export const ParentRefSchema = Type.Object(
  {
    ...imageMembers,
    snapId: SnapIdSchema,
    overlapBytes: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  },
  closed,
);
export type ParentRef = Static<typeof ParentRefSchema>;

/** A group, and in a rollback of all its images the snapshot of the group. */
export const GroupRefSchema = Type.Object({ pool: PoolIdSchema, groupId: IdSchema }, closed);
export type GroupRef = Static<typeof GroupRefSchema>;

export const parentChecker = new Checker(ParentRefSchema, "parent of an image", "corrupt");
export const snapRefChecker = new Checker(SnapRefSchema, "reference to a snapshot", "corrupt");
export const imageRefChecker = new Checker(ImageRefSchema, "reference to an image", "corrupt");
export const groupRefChecker = new Checker(GroupRefSchema, "reference to a group", "corrupt");

export const childPrefix = "child_";

/** Key of a child in the header of its parent. */
export function childKey(snapId: number, { pool, imageId }: ImageRef): string {
  return `${childPrefix}${hex16(snapId)}_${pool}_${imageId}`;
}

export function isSameSnap(a: SnapRef | undefined, b: SnapRef): boolean {
  return a !== undefined && a.imageId === b.imageId && a.snapId === b.snapId && a.pool === b.pool;
}

export function snapRefOf({ pool, namespace, imageId, snapId }: SnapRef): SnapRef {
  return { pool, namespace, imageId, snapId };
}
