// The records of a group of images, in the object rbd_group.ID, and the decision on which a
// rollback of all its images hangs. docs/format/image.md
import { type Static, Type } from "@sinclair/typebox";
import { Checker } from "../../common/schema.js";
import { encodeValue } from "../../proto/encoding.js";
import type { Rollback } from "./header.js";
import { compareStep, hasCode, setStep, valueMap } from "./omap-values.js";
import { IdSchema, type ImageRef, ImageRefSchema, SnapIdSchema } from "./references.js";
import type { Scope } from "./scope.js";

const closed = { additionalProperties: false } as const;

export const groupObject = (id: string): string => `rbd_group.${id}`;
export const memberPrefix = "image_";
export const groupSnapPrefix = "snap_";
export const memberKey = ({ pool, imageId }: ImageRef): string =>
  `${memberPrefix}${pool}_${imageId}`;

const MemberSchema = Type.Object(
  {
    ...ImageRefSchema.properties,
    /** adding, removing: the group knows it, the image perhaps not (any more) */
    state: Type.Union([Type.Literal("adding"), Type.Literal("attached"), Type.Literal("removing")]),
  },
  closed,
);
export type GroupMember = Static<typeof MemberSchema>;
const memberChecker = new Checker(MemberSchema, "image of a group", "corrupt");

const GroupSnapshotSchema = Type.Object(
  {
    id: IdSchema,
    name: Type.String({ minLength: 1, maxLength: 96 }),
    /** milliseconds since 1970 */
    createdAt: Type.Integer({ minimum: 0 }),
    state: Type.Union([
      Type.Literal("creating"),
      Type.Literal("ready"),
      Type.Literal("removing"),
      /** every image that has a mark of it is to be rolled back */
      Type.Literal("rolling_back"),
    ]),
    /** how often somebody has dropped a mark: a rollback that was prepared before is off */
    vetoes: Type.Integer({ minimum: 0 }),
    members: Type.Array(
      Type.Object({ ...ImageRefSchema.properties, snapId: Type.Optional(SnapIdSchema) }, closed),
      { maxItems: 1024 },
    ),
  },
  closed,
);
export type GroupSnapshot = Static<typeof GroupSnapshotSchema>;
const snapshotChecker = new Checker(GroupSnapshotSchema, "snapshot of a group", "corrupt");

export const encodeMember = (member: GroupMember): Uint8Array => encodeValue(member);
export const decodeMember = (bytes: Uint8Array): GroupMember =>
  valueMap(bytes, memberChecker, "an image of a group");
export const groupSnapKey = (id: string): string => groupSnapPrefix + id;
export const encodeGroupSnapshot = (snapshot: GroupSnapshot): Uint8Array => encodeValue(snapshot);
export const decodeGroupSnapshot = (bytes: Uint8Array): GroupSnapshot =>
  valueMap(bytes, snapshotChecker, "a snapshot of a group");

/** The name that the snapshot has in each of the images. */
export const memberSnapName = ({ id }: GroupSnapshot): string => `.group.${id}`;

/**
 * Whether an image with a mark of a group's rollback is to be rolled back. When not, the mark may
 * be dropped: the group can't decide otherwise from then on without marking the image anew.
 */
export async function groupWantsRollback(
  scope: Scope,
  { pool, groupId, snapshot }: NonNullable<Rollback["group"]>,
): Promise<boolean> {
  const key = groupSnapKey(snapshot);
  for (;;) {
    const { omap } = await scope.io.operate(pool, groupObject(groupId), [
      { code: "omapList", key, value: new Uint8Array(), length: 1 },
    ]);
    const stored = omap.find(([found]) => found === key)?.[1];
    if (stored === undefined) return false;
    const record = decodeGroupSnapshot(stored);
    if (record.state === "rolling_back") return true;
    const vetoed = encodeGroupSnapshot({ ...record, vetoes: record.vetoes + 1 });
    try {
      await scope.io.operate(pool, groupObject(groupId), [
        compareStep(key, stored),
        setStep(key, vetoed),
      ]);
      return false;
    } catch (thrown) {
      if (!hasCode(thrown, "precondition_failed")) throw thrown;
    }
  }
}
