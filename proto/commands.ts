// The commands of the control protocol: for each verb the schema of its arguments and of its
// result. The CLI sends them, the monitor answers them, and /api/v1 has the same result types.
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { AddressSchema } from "../common/config.js";
import { MapFlagSchema, MapFlagsSchema } from "./map-flags.js";
import { PgStatsSchema } from "./messages.js";
import {
  BlocklistEntrySchema,
  ByteCountSchema,
  EpochSchema,
  IncarnationSchema,
  NameSchema,
  OsdIdSchema,
  OsdMapSchema,
  OsdSchema,
  PgIdSchema,
  PoolSchema,
  SnapIdSchema,
  UuidSchema,
} from "./osd-map.js";
import { poolSettings } from "./pool-settings.js";
import { maxSnapsAtOnce } from "./pool-snaps.js";
import { InconsistentObjectSchema, ScrubModeSchema, ScrubRequestIdSchema } from "./scrub.js";

const closed = { additionalProperties: false } as const;
const CountSchema = Type.Integer({ minimum: 0 });
const none = Type.Object({}, closed);

export const healthLevels = ["HEALTH_OK", "HEALTH_WARN", "HEALTH_ERR"] as const;
export type HealthLevel = (typeof healthLevels)[number];
const HealthLevelSchema = Type.Union(healthLevels.map((level) => Type.Literal(level)));

/** One named check that is not fine. */
export const HealthCheckSchema = Type.Object(
  {
    /** "OSD_DOWN" */
    name: Type.String(),
    severity: HealthLevelSchema,
    /** "1 osds down" */
    summary: Type.String(),
    /** what the operator can do */
    remedy: Type.String(),
    /** one line for each thing that it is about; at most 50 */
    detail: Type.Array(Type.String()),
  },
  closed,
);
export type HealthCheck = Static<typeof HealthCheckSchema>;

export const HealthSchema = Type.Object(
  { status: HealthLevelSchema, checks: Type.Array(HealthCheckSchema) },
  closed,
);
export type Health = Static<typeof HealthSchema>;

export const StatusSchema = Type.Object(
  {
    clusterId: UuidSchema,
    epoch: EpochSchema,
    health: HealthSchema,
    monitor: Type.Object({ uptimeMs: Type.Number(), sessions: CountSchema }, closed),
    osds: Type.Object({ total: CountSchema, up: CountSchema, in: CountSchema }, closed),
    pools: CountSchema,
    pgs: Type.Object(
      {
        total: CountSchema,
        /** "active+clean" -> how many */
        byState: Type.Record(Type.String(), CountSchema),
      },
      closed,
    ),
    /** pools whose PGs were split and are not spread by CRUSH yet; absent: none */
    splits: Type.Optional(
      Type.Array(
        Type.Object({ pool: NameSchema, pgNum: CountSchema, pgpNum: CountSchema }, closed),
      ),
    ),
    usage: Type.Object(
      {
        usedBytes: ByteCountSchema,
        totalBytes: ByteCountSchema,
        objects: CountSchema,
        /** of the objects' data, each once */
        storedBytes: ByteCountSchema,
        /** object copies that lack; objects with a copy outside the up set; objects nobody has */
        degraded: CountSchema,
        misplaced: CountSchema,
        unfound: CountSchema,
      },
      closed,
    ),
    flags: MapFlagsSchema,
  },
  closed,
);
export type ClusterStatus = Static<typeof StatusSchema>;

/** What is not as it should be with an OSD; absent: nothing. */
const osdConditions = {
  primaryAffinity: Type.Optional(Type.Number()),
  fullState: OsdSchema.properties.fullState,
  slow: OsdSchema.properties.slow,
  failed: OsdSchema.properties.failed,
};

/** A row of `osd tree`, depth first; a bucket has a negative id. */
export const OsdTreeNodeSchema = Type.Object(
  {
    id: Type.Integer(),
    name: Type.String(),
    /** "root", "rack", "host", "osd" */
    type: Type.String(),
    depth: CountSchema,
    crushWeight: Type.Number(),
    deviceClass: Type.Optional(Type.String()),
    /** of OSDs only */
    up: Type.Optional(Type.Boolean()),
    in: Type.Optional(Type.Boolean()),
    /** 0 to 1 */
    reweight: Type.Optional(Type.Number()),
    ...osdConditions,
  },
  closed,
);
export type OsdTreeNode = Static<typeof OsdTreeNodeSchema>;

export const OsdRowSchema = Type.Object(
  {
    id: OsdIdSchema,
    uuid: UuidSchema,
    up: Type.Boolean(),
    in: Type.Boolean(),
    weight: Type.Number(),
    address: AddressSchema,
    incarnation: IncarnationSchema,
    host: NameSchema,
    deviceClass: NameSchema,
    sizeBytes: ByteCountSchema,
    upFrom: EpochSchema,
    upThru: EpochSchema,
    downAt: EpochSchema,
    ...osdConditions,
    /** from its last report; absent when there is none */
    usedBytes: Type.Optional(ByteCountSchema),
    rssBytes: Type.Optional(ByteCountSchema),
    cpuSeconds: Type.Optional(Type.Number()),
    reportAgeMs: Type.Optional(Type.Number()),
    slowOps: Type.Optional(CountSchema),
  },
  closed,
);
export type OsdRow = Static<typeof OsdRowSchema>;

/** A PG: where the map puts it, and what its primary reported of it. */
export const PgRowSchema = Type.Object(
  {
    ...PgStatsSchema.properties,
    /** the pool's name */
    pool: NameSchema,
    /** -1: none */
    primary: Type.Integer(),
    /** "unknown" until the primary has reported it with this acting set; "stale+...": no primary */
    state: Type.String(),
  },
  closed,
);
export type PgRow = Static<typeof PgRowSchema>;

/** An entry of the cluster log. */
export const LogEntrySchema = Type.Object(
  {
    /** 1, 2, 3...: no two entries have the same */
    seq: Type.Integer({ minimum: 1 }),
    wallMs: CountSchema,
    level: Type.Union([Type.Literal("info"), Type.Literal("warn"), Type.Literal("error")]),
    message: Type.String(),
  },
  closed,
);
export type LogEntry = Static<typeof LogEntrySchema>;
export type LogEntryLevel = LogEntry["level"];

const IdArgs = Type.Object({ id: OsdIdSchema }, closed);
const MapEpochResult = Type.Object({ epoch: EpochSchema }, closed);

const FlagArgs = Type.Object({ flag: MapFlagSchema }, closed);

/** verb -> schemas. A command that changes the map is answered when the new epoch is durable. */
export const commandSchemas = {
  status: { args: none, result: StatusSchema },
  health: { args: none, result: HealthSchema },
  "osd tree": {
    args: none,
    result: Type.Object({ nodes: Type.Array(OsdTreeNodeSchema) }, closed),
  },
  "osd ls": { args: none, result: Type.Object({ osds: Type.Array(OsdRowSchema) }, closed) },
  "osd out": { args: IdArgs, result: MapEpochResult },
  "osd in": { args: IdArgs, result: MapEpochResult },
  "osd down": { args: IdArgs, result: MapEpochResult },
  "osd set": { args: FlagArgs, result: MapEpochResult },
  "osd blocklist add": {
    args: Type.Object(
      {
        client: BlocklistEntrySchema.properties.client,
        expireMs: Type.Integer({ minimum: 1, maximum: 366 * 24 * 3_600_000 }),
      },
      closed,
    ),
    result: Type.Object({ epoch: EpochSchema, untilMs: Type.Integer() }, closed),
  },
  "osd blocklist rm": {
    args: Type.Object({ client: BlocklistEntrySchema.properties.client }, closed),
    result: MapEpochResult,
  },
  "osd blocklist ls": {
    args: none,
    result: Type.Object({ entries: Type.Array(BlocklistEntrySchema) }, closed),
  },
  "osd unset": { args: FlagArgs, result: MapEpochResult },
  "osd primary affinity": {
    args: Type.Object({ id: OsdIdSchema, share: Type.Number({ minimum: 0, maximum: 1 }) }, closed),
    result: MapEpochResult,
  },
  "pg ls": {
    args: Type.Object(
      { pool: Type.Optional(NameSchema), state: Type.Optional(Type.String()) },
      closed,
    ),
    result: Type.Object({ pgs: Type.Array(PgRowSchema) }, closed),
  },
  /** Asks the primaries to scrub one PG, or all of a pool; the answer does not wait for the end. */
  "pg scrub": {
    args: Type.Object(
      {
        pgid: Type.Optional(PgIdSchema),
        pool: Type.Optional(NameSchema),
        mode: ScrubModeSchema,
        /** `pg ls` shows it as scrub.finished.request when it is done */
        request: ScrubRequestIdSchema,
      },
      closed,
    ),
    result: Type.Object(
      {
        /** asked, and those that no OSD serves now */
        asked: Type.Array(PgIdSchema),
        unserved: Type.Array(PgIdSchema),
      },
      closed,
    ),
  },
  "pg list inconsistent": {
    args: Type.Object({ pgid: PgIdSchema }, closed),
    result: Type.Object(
      {
        pgid: PgIdSchema,
        errors: CountSchema,
        lastDeepMs: CountSchema,
        objects: Type.Array(InconsistentObjectSchema),
      },
      closed,
    ),
  },
  "pg list unfound": {
    args: Type.Object({ pgid: PgIdSchema }, closed),
    result: Type.Object(
      {
        pgid: PgIdSchema,
        unfound: CountSchema,
        /** the first of their names */
        objects: Type.Array(Type.String()),
      },
      closed,
    ),
  },
  "pool create": {
    args: Type.Object(
      {
        name: Type.String(),
        /** default: a power of two for about 100 PGs an OSD */
        pgNum: Type.Optional(Type.Integer()),
        /** default 3 */
        size: Type.Optional(Type.Integer()),
        /** default: size - floor(size / 2) */
        minSize: Type.Optional(Type.Integer()),
        /** id; default: the first rule of the CRUSH map */
        crushRule: Type.Optional(Type.Integer()),
        /** default "rbd" */
        application: Type.Optional(Type.String()),
      },
      closed,
    ),
    result: Type.Object({ epoch: EpochSchema, pool: PoolSchema }, closed),
  },
  "pool ls": { args: none, result: Type.Object({ pools: Type.Array(PoolSchema) }, closed) },
  "pool rm": { args: Type.Object({ name: Type.String() }, closed), result: MapEpochResult },
  "pool set": {
    args: Type.Object(
      {
        name: Type.String(),
        setting: Type.Union(poolSettings.map((setting) => Type.Literal(setting))),
        value: Type.String({ maxLength: 255 }),
      },
      closed,
    ),
    result: Type.Object({ epoch: EpochSchema, pool: PoolSchema }, closed),
  },
  /** The newest entries of the cluster log that are behind afterSeq, oldest first. */
  "log last": {
    args: Type.Object(
      {
        count: Type.Integer({ minimum: 1, maximum: 1000 }),
        afterSeq: Type.Optional(CountSchema),
      },
      closed,
    ),
    result: Type.Object({ entries: Type.Array(LogEntrySchema), lastSeq: CountSchema }, closed),
  },
  /** Hands out snapshot ids: `count` of them (default 1), from `id` on. */
  "pool snap allocate": {
    args: Type.Object(
      {
        pool: NameSchema,
        count: Type.Optional(Type.Integer({ minimum: 1, maximum: maxSnapsAtOnce })),
      },
      closed,
    ),
    result: Type.Object(
      { id: SnapIdSchema, count: Type.Integer({ minimum: 1 }), epoch: EpochSchema },
      closed,
    ),
  },
  /** Begins to remove snapshots; the answer does not wait for their space to be free. */
  "pool snap remove": {
    args: Type.Object(
      {
        pool: NameSchema,
        ids: Type.Array(SnapIdSchema, { minItems: 1, maxItems: maxSnapsAtOnce }),
      },
      closed,
    ),
    result: MapEpochResult,
  },
  "config set": {
    args: Type.Object({ name: Type.String(), value: Type.String() }, closed),
    result: MapEpochResult,
  },
  "config ls": {
    args: none,
    result: Type.Object({ config: Type.Record(Type.String(), Type.String()) }, closed),
  },
  "map get": {
    /** epoch absent: the newest */
    args: Type.Object({ epoch: Type.Optional(EpochSchema) }, closed),
    result: Type.Object({ map: OsdMapSchema }, closed),
  },
} as const satisfies Record<string, { args: TSchema; result: TSchema }>;

export type Verb = keyof typeof commandSchemas;
export type CommandArgs<V extends Verb> = Static<(typeof commandSchemas)[V]["args"]>;
export type CommandResult<V extends Verb> = Static<(typeof commandSchemas)[V]["result"]>;
