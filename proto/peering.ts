// The control messages between OSDs by which a PG peers: msgpack in the meta of control frames on
// the links between native cores. docs/protocol/peering.md. Every message names its PG, the
// interval that it is about and the map epoch of its sender; anything that does not fit its schema
// is a protocol_error.
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { StorageError } from "../common/errors.js";
import { Checker } from "../common/schema.js";
import { decodeValue, encodeValue } from "./encoding.js";
import { maxPoolSize, OsdIdSchema, PgIdSchema } from "./osd-map.js";

const closed = { additionalProperties: false } as const;

/** Log entries of one message. */
export const logPageEntries = 500;
/** Object names of one message. */
export const objectPageNames = 1000;
/** Bytes of entries or names at which a page ends early; far below a frame's 16 MiB of meta. */
export const pageBytes = 4 << 20;
/** Past intervals of one PG; older ones are folded into a range that counts as unknown. */
export const maxPastIntervals = 128;
/** No read lease lasts longer, with its margin for clocks that drift. */
export const maxLeaseMs = 500;
const maxEntryBytes = 64 << 10;
const maxParts = 65536;

const EpochSchema = Type.Integer({ minimum: 0, maximum: 0xffff_ffff });
const CountSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const ObjectNameSchema = Type.String({ minLength: 1, maxLength: 4096 });
const AfterNameSchema = Type.Union([ObjectNameSchema, Type.Null()]);
/** Opaque: native/core/pg/dup_horizon.hh. */
const HorizonSchema = Type.Uint8Array({ maxByteLength: 1 << 20 });
const EntryBytesSchema = Type.Uint8Array({ maxByteLength: maxEntryBytes });

/** Version of a log entry: [epoch, number]. */
export const LogVersionSchema = Type.Tuple([EpochSchema, CountSchema]);
export type LogVersion = [epoch: number, number: number];

/** What peering needs to know of a copy of a PG. */
export const PgInfoSchema = Type.Object(
  {
    lastUpdate: LogVersionSchema,
    /** number of the newest entry that the log has forgotten */
    logTail: CountSchema,
    /** newest interval in which this copy was activated; 0: never, so it holds nothing */
    lastEpochStarted: EpochSchema,
    missingCount: CountSchema,
    /** what is left of a read lease that this copy has granted in an older interval */
    leaseMs: Type.Integer({ minimum: 0, maximum: maxLeaseMs }),
    /** who holds it; -1: not known */
    leaseHolder: Type.Union([OsdIdSchema, Type.Literal(-1)]),
  },
  closed,
);
export type PgInfo = Static<typeof PgInfoSchema>;

/** A finished interval [first, last] of a PG. */
export const PastIntervalSchema = Type.Object(
  {
    first: EpochSchema,
    last: EpochSchema,
    /** primary first */
    acting: Type.Array(OsdIdSchema, { maxItems: maxPoolSize }),
    /** it had minSize members, and its primary's up_thru reached it */
    maybeActive: Type.Boolean(),
    /** nobody knows who acted in these epochs */
    unknown: Type.Optional(Type.Literal(true)),
  },
  closed,
);
export type PastInterval = Static<typeof PastIntervalSchema>;

/** All intervals from `since` to the one before the present, in order, without holes. */
export const PgHistorySchema = Type.Object(
  {
    /** first epoch of the last interval in which the PG was clean, else of its pool */
    since: EpochSchema,
    intervals: Type.Array(PastIntervalSchema, { maxItems: maxPastIntervals }),
  },
  closed,
);
export type PgHistory = Static<typeof PgHistorySchema>;

export const LogEntrySchema = Type.Object(
  {
    epoch: EpochSchema,
    number: CountSchema,
    /** "": one that a split has given to another PG */
    object: Type.String({ maxLength: 4096 }),
    removes: Type.Boolean(),
    /** the entry as stored */
    bytes: EntryBytesSchema,
  },
  closed,
);
export type LogEntry = Static<typeof LogEntrySchema>;

/** [name, version that is needed ([0, 0]: not known), true: the object is to be gone] */
export const MissingObjectSchema = Type.Tuple([ObjectNameSchema, LogVersionSchema, Type.Boolean()]);
export type MissingObject = [name: string, need: LogVersion, removed: boolean];

const header = { pgid: PgIdSchema, interval: EpochSchema, epoch: EpochSchema } as const;

function message<Kind extends string, Fields extends Record<string, TSchema>>(
  kind: Kind,
  fields: Fields,
) {
  return Type.Object({ kind: Type.Literal(kind), ...header, ...fields }, closed);
}

const schemas = {
  /** primary -> anybody who may hold a copy */
  getInfo: message("getInfo", {}),
  /** history absent: the sender holds nothing of this PG and never did */
  info: message("info", { info: PgInfoSchema, history: Type.Optional(PgHistorySchema) }),
  /** entries with a number above `after`, oldest first */
  getLog: message("getLog", { after: CountSchema }),
  log: message("log", {
    after: CountSchema,
    entries: Type.Array(LogEntrySchema, { maxItems: logPageEntries }),
    more: Type.Boolean(),
    /** with the last page: what the copy knows of requests older than its log */
    horizon: Type.Optional(HorizonSchema),
  }),
  /** objects that the receiver's copy lacks, behind `after` in name order; null: from the first */
  getMissing: message("getMissing", { after: AfterNameSchema }),
  missing: message("missing", {
    after: AfterNameSchema,
    objects: Type.Array(MissingObjectSchema, { maxItems: objectPageNames }),
    more: Type.Boolean(),
  }),
  /** objects that the receiver's copy has, with their versions: the comparison of a backfill */
  listObjects: message("listObjects", { after: AfterNameSchema }),
  objects: message("objects", {
    after: AfterNameSchema,
    objects: Type.Array(Type.Tuple([ObjectNameSchema, LogVersionSchema]), {
      maxItems: objectPageNames,
    }),
    more: Type.Boolean(),
  }),
  /** primary -> replica, in parts 0 .. parts - 1: how its copy becomes the authoritative one */
  activate: message("activate", {
    part: Type.Integer({ minimum: 0, maximum: maxParts - 1 }),
    parts: Type.Integer({ minimum: 1, maximum: maxParts }),
    /** the log starts anew behind this version; absent: the log is kept up to rewindTo */
    resetLogTo: Type.Optional(LogVersionSchema),
    /** with resetLogTo, in part 0: horizon of the authoritative log */
    horizon: Type.Optional(HorizonSchema),
    rewindTo: CountSchema,
    /** entries to append, in order over all parts */
    entries: Type.Array(EntryBytesSchema, { maxItems: logPageEntries }),
    /** objects that the copy lacks then */
    missing: Type.Array(MissingObjectSchema, { maxItems: objectPageNames }),
    history: PgHistorySchema,
  }),
  /** replica -> primary: all of it is durable */
  activated: message("activated", {}),
  /** primary -> replicas: all copies are whole; the past intervals may be forgotten */
  clean: message("clean", {}),
  /** a stray copy -> primary: I hold data of this PG */
  notify: message("notify", {}),
  /** primary -> a stray copy: the PG is clean without you */
  removeStray: message("removeStray", {}),
} as const;

export type PeeringKind = keyof typeof schemas;
/** A message of one kind. */
export type PeeringMessageOf<Kind extends PeeringKind> = Static<(typeof schemas)[Kind]>;
export type PeeringMessage = { [Kind in PeeringKind]: PeeringMessageOf<Kind> }[PeeringKind];
/** A message without what all messages of a PG in an interval share. */
export type PeeringBodyOf<Kind extends PeeringKind> = Omit<
  PeeringMessageOf<Kind>,
  keyof typeof header
>;
export type PeeringBody = { [Kind in PeeringKind]: PeeringBodyOf<Kind> }[PeeringKind];

export const peeringKinds = Object.keys(schemas) as readonly PeeringKind[];

const checkers: ReadonlyMap<string, Checker<TSchema>> = new Map(
  Object.entries(schemas).map(([kind, schema]) => [
    kind,
    new Checker<TSchema>(schema, `peering message ${kind}`, "protocol_error"),
  ]),
);

/** The meta of the control frame that carries a message. */
export function encodePeeringMessage(message: PeeringMessage): Uint8Array {
  return encodeValue(message);
}

/** The message in the meta of a control frame of another OSD. @throws protocol_error */
export function decodePeeringMessage(bytes: Uint8Array): PeeringMessage {
  const value = decodeValue(bytes);
  const kind =
    value !== null && typeof value === "object" && "kind" in value ? value.kind : undefined;
  const checker = typeof kind === "string" ? checkers.get(kind) : undefined;
  if (checker === undefined) {
    throw new StorageError(
      "protocol_error",
      `unexpected peering message kind ${JSON.stringify(kind)?.slice(0, 64)}`,
    );
  }
  return checker.check(value) as PeeringMessage;
}
