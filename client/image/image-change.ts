// What only the holder of an image's lock may change, as data: a client that does not hold it sends
// it to the one that does. Pure.
import { type Static, Type } from "@sinclair/typebox";
import {
  GroupRefSchema,
  IdSchema,
  ImageRefSchema,
  SnapIdSchema,
  SnapRefSchema,
} from "./references.js";

const closed = { additionalProperties: false } as const;
const SizeSchema = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const SnapNameSchema = Type.String({ minLength: 1, maxLength: 255 });
const FeatureListSchema = Type.Array(Type.String({ maxLength: 32 }), { maxItems: 16 });

export const ImageChangeSchema = Type.Union([
  Type.Object(
    {
      kind: Type.Literal("resize"),
      sizeBytes: SizeSchema,
      allowShrink: Type.Boolean(),
      overcommit: Type.Boolean(),
    },
    closed,
  ),
  Type.Object(
    {
      kind: Type.Literal("snapCreate"),
      name: SnapNameSchema,
      /** it is part of this group's snapshot */
      group: Type.Optional(GroupRefSchema),
      /** only while this pause lasts */
      pause: Type.Optional(IdSchema),
    },
    closed,
  ),
  Type.Object(
    { kind: Type.Literal("snapRemove"), snapId: SnapIdSchema, group: Type.Boolean() },
    closed,
  ),
  Type.Object(
    { kind: Type.Literal("snapRename"), snapId: SnapIdSchema, name: SnapNameSchema },
    closed,
  ),
  Type.Object({ kind: Type.Literal("rollback"), snapId: SnapIdSchema }, closed),
  /** Notes a rollback of a whole group, which is carried out once the group says so. */
  Type.Object(
    {
      kind: Type.Literal("rollbackMark"),
      snapId: SnapIdSchema,
      group: GroupRefSchema,
      snapshot: IdSchema,
    },
    closed,
  ),
  Type.Object({ kind: Type.Literal("flatten") }, closed),
  Type.Object(
    { kind: Type.Literal("features"), enable: FeatureListSchema, disable: FeatureListSchema },
    closed,
  ),
  /** From here on the image is used through this one only, by the holder of the lock too. */
  Type.Object({ kind: Type.Literal("migrationMark"), target: ImageRefSchema }, closed),
  /** Copies what the target of a migration has not yet. */
  Type.Object({ kind: Type.Literal("migrationExecute") }, closed),
  /** A clone of an image that is migrated becomes one of the other image. */
  Type.Object({ kind: Type.Literal("relink"), from: SnapRefSchema, to: SnapRefSchema }, closed),
  /** Finishes what a change that was cut off has left: a rollback, removed snapshots. */
  Type.Object({ kind: Type.Literal("settle") }, closed),
  /** No request is in flight until `resume`, or until the lease is over. */
  Type.Object(
    {
      kind: Type.Literal("pause"),
      pause: IdSchema,
      leaseMs: Type.Integer({ minimum: 1, maximum: 600_000 }),
    },
    closed,
  ),
  Type.Object({ kind: Type.Literal("resume"), pause: IdSchema }, closed),
]);
export type ImageChange = Static<typeof ImageChangeSchema>;
export type ChangeOf<K extends ImageChange["kind"]> = Extract<ImageChange, { kind: K }>;
