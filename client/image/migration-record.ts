// The record of a migration in the headers of the two images that take part, or of the one where
// the data comes from files. Pure. docs/operating/migration.md
import { type Static, Type } from "@sinclair/typebox";
import { Checker } from "../../common/schema.js";
import { ImageRefSchema, SnapRefSchema } from "./references.js";

const closed = { additionalProperties: false } as const;

/** A file of the source as it was when the migration was prepared: another one is refused. */
export const SourceFileSchema = Type.Object(
  {
    /** a path, or a URL */
    name: Type.String({ minLength: 1, maxLength: 4096 }),
    sizeBytes: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    /** time of its last change, or its ETag; "": it has none (a block device) */
    mark: Type.String({ maxLength: 1024 }),
  },
  closed,
);
export type SourceFile = Static<typeof SourceFileSchema>;

const FileSourceSchema = Type.Object(
  {
    kind: Type.Literal("file"),
    /** what the name leads to: a path on the host of whoever opens the image, or a server's URL */
    stream: Type.Union([Type.Literal("file"), Type.Literal("http")]),
    format: Type.Union([Type.Literal("raw"), Type.Literal("qcow2")]),
    /** the top first, then its backing files */
    files: Type.Array(SourceFileSchema, { minItems: 1, maxItems: 256 }),
    /** id of the internal snapshot of the top that is shown; none: what that has now */
    snapshot: Type.Optional(Type.String({ minLength: 1, maxLength: 65_535 })),
  },
  closed,
);
export type FileOrigin = Static<typeof FileSourceSchema>;

const ImageSourceSchema = Type.Object(
  { kind: Type.Literal("image"), image: ImageRefSchema },
  closed,
);

/** The image is a clone of it, until it has everything. */
const SnapshotSourceSchema = Type.Object(
  { kind: Type.Literal("snapshot"), snapshot: SnapRefSchema },
  closed,
);

export const migrationStates = ["prepared", "executing", "executed", "aborting"] as const;
export type MigrationState = (typeof migrationStates)[number];

const TargetSchema = Type.Object(
  {
    side: Type.Literal("target"),
    /**
     * executed: it has all of its data, and reads nothing of the source any more; aborting: the
     * same, but clones of it are being given back, and none are made
     */
    state: Type.Unsafe<MigrationState>(
      Type.Union(migrationStates.map((state) => Type.Literal(state))),
    ),
    source: Type.Union([FileSourceSchema, ImageSourceSchema, SnapshotSourceSchema]),
    /** of the source, from its front, that the target shows */
    overlapBytes: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  },
  closed,
);
export type MigrationTarget = Static<typeof TargetSchema>;
export type MigrationOrigin = MigrationTarget["source"];

/** Whether the target reads from its source what it has not itself, other than from a parent. */
export function needsSource({ state, source }: MigrationTarget): boolean {
  if (source.kind === "snapshot") return false;
  return state === "prepared" || state === "executing";
}

/** Nobody but its target uses this image. */
const SourceSchema = Type.Object({ side: Type.Literal("source"), target: ImageRefSchema }, closed);

export const MigrationSchema = Type.Union([TargetSchema, SourceSchema]);
export type Migration = Static<typeof MigrationSchema>;

export const migrationChecker = new Checker(MigrationSchema, "migration of an image", "corrupt");
