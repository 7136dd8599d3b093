// The control messages between the monitor and everybody else: msgpack in the meta of frames of
// type "control". docs/protocol/monitor.md. Every message is a map with a `kind`; anything that
// does not fit its schema is a protocol_error and ends the connection.
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { AddressSchema, LogLevelSchema } from "../common/config.js";
import { type ErrorCode, errorCodes, StorageError } from "../common/errors.js";
import { Checker } from "../common/schema.js";
import { decodeValue, encodeValue } from "./encoding.js";
import {
  ByteCountSchema,
  EpochSchema,
  HashSchema,
  IncarnationSchema,
  IncrementalSchema,
  maxPgNum,
  maxPoolSize,
  NameSchema,
  OsdIdSchema,
  OsdMapSchema,
  PgIdSchema,
  UuidSchema,
} from "./osd-map.js";
import { PgScrubSchema, ScrubModeSchema, ScrubRequestIdSchema } from "./scrub.js";

const closed = { additionalProperties: false } as const;
const CountSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const ActingSchema = Type.Array(OsdIdSchema, { maxItems: maxPoolSize });

const ErrorBodySchema = Type.Object(
  {
    code: Type.Unsafe<ErrorCode>(Type.Union(errorCodes.map((code) => Type.Literal(code)))),
    message: Type.String({ maxLength: 4096 }),
    remedy: Type.Optional(Type.String({ maxLength: 4096 })),
  },
  closed,
);

// ---- client, OSD -> monitor

/** Asks for all maps from an epoch on, now and as they are made. fromEpoch 0: the newest, full. */
export const SubscribeSchema = Type.Object(
  {
    kind: Type.Literal("subscribe"),
    fromEpoch: EpochSchema,
    /** hash of the map of epoch fromEpoch - 1 that the subscriber has; a fork is refused */
    haveHash: Type.Optional(HashSchema),
  },
  closed,
);

/** An OSD is ready to serve. It is up when a map shows it up with this incarnation. */
export const OsdBootSchema = Type.Object(
  {
    kind: Type.Literal("osdBoot"),
    osd: OsdIdSchema,
    uuid: UuidSchema,
    incarnation: IncarnationSchema,
    /** of the life that this process has ended because a map showed it down although it ran */
    previousIncarnation: Type.Optional(IncarnationSchema),
    address: AddressSchema,
    sizeBytes: ByteCountSchema,
    host: NameSchema,
    deviceClass: NameSchema,
  },
  closed,
);

/** Asks for upThru of at least wantUpThru; epoch is the newest map that the OSD has. */
export const OsdAliveSchema = Type.Object(
  {
    kind: Type.Literal("osdAlive"),
    osd: OsdIdSchema,
    wantUpThru: EpochSchema,
    epoch: EpochSchema,
  },
  closed,
);

export const failureReasons = [
  "connection_refused",
  "connection_reset",
  "heartbeat_timeout",
  "loop_stalled",
  "disk_stalled",
] as const;
export type FailureReason = (typeof failureReasons)[number];

/** reporter cannot reach target, or was told by its heartbeats that it hangs. */
export const OsdFailureSchema = Type.Object(
  {
    kind: Type.Literal("osdFailure"),
    reporter: OsdIdSchema,
    target: OsdIdSchema,
    targetIncarnation: IncarnationSchema,
    epoch: EpochSchema,
    reason: Type.Union(failureReasons.map((reason) => Type.Literal(reason))),
  },
  closed,
);

/** The reporter reaches the target again: takes its osdFailure back. */
export const OsdRecoveredSchema = Type.Object(
  {
    kind: Type.Literal("osdRecovered"),
    reporter: OsdIdSchema,
    target: OsdIdSchema,
    targetIncarnation: IncarnationSchema,
  },
  closed,
);

/** A clean stop: the OSD has drained its operations and wants to be shown down before it exits. */
export const OsdMarkMeDownSchema = Type.Object(
  { kind: Type.Literal("osdMarkMeDown"), osd: OsdIdSchema, incarnation: IncarnationSchema },
  closed,
);

/** The OSD's store has failed: it serves nothing any more, and exits. Not a clean stop. */
export const OsdStoreFailedSchema = Type.Object(
  {
    kind: Type.Literal("osdStoreFailed"),
    osd: OsdIdSchema,
    incarnation: IncarnationSchema,
    error: ErrorBodySchema,
  },
  closed,
);

/**
 * An OSD cannot start: of a process that ends without having booted. The monitor closes the
 * connection when it has taken note.
 */
export const OsdStartRefusedSchema = Type.Object(
  {
    kind: Type.Literal("osdStartRefused"),
    osd: OsdIdSchema,
    /** of its store; absent: the folder that it was started on is another OSD's */
    uuid: Type.Optional(UuidSchema),
    host: NameSchema,
    error: ErrorBodySchema,
  },
  closed,
);

/**
 * A latency histogram: counts[i] is the number of values above boundsNs[i - 1] and up to
 * boundsNs[i] (not cumulative); one more count than bounds: the values above the last bound.
 */
export const HistogramSchema = Type.Object(
  {
    boundsNs: Type.Array(Type.Number({ minimum: 0 }), { maxItems: 1024 }),
    counts: Type.Array(CountSchema, { maxItems: 1025 }),
    sumNs: Type.Number({ minimum: 0 }),
  },
  closed,
);
export type Histogram = Static<typeof HistogramSchema>;

const MetricNameSchema = "^[a-z][a-z0-9_]{0,127}$";
const VersionSchema = Type.Object({ epoch: EpochSchema, number: CountSchema }, closed);

/** Names of unfound objects in one PG's report. */
export const maxUnfoundNames = 100;

/** A PG as its primary sees it. */
export const PgStatsSchema = Type.Object(
  {
    pgid: PgIdSchema,
    /** states joined by "+": "active+clean", "active+undersized+degraded", "peering" */
    state: Type.String({ pattern: "^[a-z_]+(\\+[a-z_]+){0,15}$" }),
    /** newest map that its primary had applied to the PG */
    epoch: EpochSchema,
    up: ActingSchema,
    acting: ActingSchema,
    lastUpdate: VersionSchema,
    objects: CountSchema,
    /** of the data of the primary's copy, in whole blocks */
    bytes: ByteCountSchema,
    /** objects that the primary lacks */
    missing: CountSchema,
    /** object copies that lack, over all of the acting set */
    degraded: CountSchema,
    /** objects with a copy outside the up set */
    misplaced: CountSchema,
    unfound: CountSchema,
    /** the first of their names, in order */
    unfoundObjects: Type.Optional(
      Type.Array(Type.String({ maxLength: 1024 }), { maxItems: maxUnfoundNames }),
    ),
    scrub: Type.Optional(PgScrubSchema),
    /** the newest removal of a snapshot that it is through with; absent: not known yet */
    snapTrimmed: Type.Optional(CountSchema),
  },
  closed,
);
export type PgStats = Static<typeof PgStatsSchema>;

const SlowOpSchema = Type.Object(
  { description: Type.String({ maxLength: 512 }), ageMs: Type.Number({ minimum: 0 }) },
  closed,
);

/** What every daemon reports of itself. Counters and histograms grow from its start on. */
const processStats = {
  counters: Type.Record(Type.String({ pattern: MetricNameSchema }), Type.Number(), closed),
  histograms: Type.Record(Type.String({ pattern: MetricNameSchema }), HistogramSchema, closed),
  rssBytes: ByteCountSchema,
  cpuSeconds: Type.Number({ minimum: 0 }),
  /** operations older than the daemon's limit, oldest first; slowOpCount may be more */
  slowOps: Type.Array(SlowOpSchema, { maxItems: 16 }),
  slowOpCount: CountSchema,
};

const HeartbeatSchema = Type.Object(
  {
    peer: OsdIdSchema,
    /** time since its last answer */
    ageMs: Type.Number({ minimum: 0 }),
    roundTripUs: Type.Number({ minimum: 0 }),
  },
  closed,
);

/** Statistics of an OSD, every few seconds and when a PG changes state. */
export const OsdStatsSchema = Type.Object(
  {
    kind: Type.Literal("osdStats"),
    osd: OsdIdSchema,
    epoch: EpochSchema,
    usedBytes: ByteCountSchema,
    totalBytes: ByteCountSchema,
    ...processStats,
    /** the PGs whose primary it is */
    pgs: Type.Array(PgStatsSchema, { maxItems: maxPgNum }),
    heartbeats: Type.Array(HeartbeatSchema, { maxItems: 1024 }),
  },
  closed,
);

/** Statistics of a client process that stays: attach, bench. */
export const ClientStatsSchema = Type.Object(
  {
    kind: Type.Literal("clientStats"),
    /** its label in the metrics: "client.vm1" */
    daemon: NameSchema,
    ...processStats,
  },
  closed,
);

/** Asks for an acting set in place of the up set; empty: back to the up set. */
export const PgTempSchema = Type.Object(
  {
    kind: Type.Literal("pgTemp"),
    osd: OsdIdSchema,
    epoch: EpochSchema,
    pgid: PgIdSchema,
    acting: ActingSchema,
  },
  closed,
);

/** A command of the CLI. args are checked by the verb. */
export const CommandSchema = Type.Object(
  {
    kind: Type.Literal("command"),
    /** chosen by the sender, repeated in the reply */
    id: CountSchema,
    verb: Type.String({ pattern: "^[a-z][a-z ]{0,63}$" }),
    args: Type.Record(Type.String({ maxLength: 64 }), Type.Unknown()),
  },
  closed,
);

// ---- monitor -> client, OSD

/** full (if there) is applied first, then the incrementals in order. */
export const MapsSchema = Type.Object(
  {
    kind: Type.Literal("maps"),
    full: Type.Optional(OsdMapSchema),
    incrementals: Type.Array(IncrementalSchema, { maxItems: 1024 }),
  },
  closed,
);

/** The answer to a command: result or error. */
export const CommandReplySchema = Type.Object(
  {
    kind: Type.Literal("commandReply"),
    id: CountSchema,
    result: Type.Optional(Type.Unknown()),
    error: Type.Optional(ErrorBodySchema),
  },
  closed,
);

/** The receiver is to log at this level from now on. */
export const LogLevelMessageSchema = Type.Object(
  { kind: Type.Literal("logLevel"), level: LogLevelSchema },
  closed,
);

/** To the primary of a PG: scrub it now. */
export const ScrubPgSchema = Type.Object(
  {
    kind: Type.Literal("scrubPg"),
    pgid: PgIdSchema,
    mode: ScrubModeSchema,
    request: ScrubRequestIdSchema,
  },
  closed,
);

/** The monitor refuses what the daemon is: it should log this and exit. */
export const RefusedSchema = Type.Object(
  { kind: Type.Literal("refused"), error: ErrorBodySchema },
  closed,
);

const toMonitorSchemas = {
  subscribe: SubscribeSchema,
  osdBoot: OsdBootSchema,
  osdAlive: OsdAliveSchema,
  osdFailure: OsdFailureSchema,
  osdRecovered: OsdRecoveredSchema,
  osdMarkMeDown: OsdMarkMeDownSchema,
  osdStoreFailed: OsdStoreFailedSchema,
  osdStartRefused: OsdStartRefusedSchema,
  osdStats: OsdStatsSchema,
  clientStats: ClientStatsSchema,
  pgTemp: PgTempSchema,
  command: CommandSchema,
} as const;

const fromMonitorSchemas = {
  maps: MapsSchema,
  commandReply: CommandReplySchema,
  logLevel: LogLevelMessageSchema,
  scrubPg: ScrubPgSchema,
  refused: RefusedSchema,
} as const;

type MessagesOf<Table extends Record<string, TSchema>> = Static<Table[keyof Table]>;
/** What the monitor receives. */
export type MessageToMonitor = MessagesOf<typeof toMonitorSchemas>;
/** What the monitor sends. */
export type MessageFromMonitor = MessagesOf<typeof fromMonitorSchemas>;
export type Message = MessageToMonitor | MessageFromMonitor;

export type Subscribe = Static<typeof SubscribeSchema>;
export type OsdBoot = Static<typeof OsdBootSchema>;
export type OsdAlive = Static<typeof OsdAliveSchema>;
export type OsdFailure = Static<typeof OsdFailureSchema>;
export type OsdRecovered = Static<typeof OsdRecoveredSchema>;
export type OsdMarkMeDown = Static<typeof OsdMarkMeDownSchema>;
export type OsdStoreFailed = Static<typeof OsdStoreFailedSchema>;
export type OsdStartRefused = Static<typeof OsdStartRefusedSchema>;
export type OsdStats = Static<typeof OsdStatsSchema>;
export type ClientStats = Static<typeof ClientStatsSchema>;
export type PgTemp = Static<typeof PgTempSchema>;
export type Command = Static<typeof CommandSchema>;
export type Maps = Static<typeof MapsSchema>;
export type CommandReply = Static<typeof CommandReplySchema>;
export type LogLevelMessage = Static<typeof LogLevelMessageSchema>;
export type ScrubPg = Static<typeof ScrubPgSchema>;
export type Refused = Static<typeof RefusedSchema>;

type Checkers = ReadonlyMap<string, Checker<TSchema>>;

function checkersOf(table: Readonly<Record<string, TSchema>>): Checkers {
  return new Map(
    Object.entries(table).map(([kind, schema]) => [
      kind,
      new Checker(schema, `message ${kind}`, "protocol_error"),
    ]),
  );
}

const toMonitor = checkersOf(toMonitorSchemas);
const fromMonitor = checkersOf(fromMonitorSchemas);

/** The meta of the control frame that carries a message. */
export function encodeMessage(message: Message): Uint8Array {
  return encodeValue(message);
}

/** The message in the meta of a frame that the monitor received. @throws protocol_error */
export function decodeMessageToMonitor(meta: Uint8Array): MessageToMonitor {
  return decodeKind(meta, toMonitor) as MessageToMonitor;
}

/** The message in the meta of a frame that came from the monitor. @throws protocol_error */
export function decodeMessageFromMonitor(meta: Uint8Array): MessageFromMonitor {
  return decodeKind(meta, fromMonitor) as MessageFromMonitor;
}

/** A message of either direction. @throws protocol_error */
export function decodeMessage(meta: Uint8Array): Message {
  return decodeKind(meta, new Map([...toMonitor, ...fromMonitor])) as Message;
}

function decodeKind(meta: Uint8Array, checkers: Checkers): unknown {
  const value = decodeValue(meta);
  const kind =
    value !== null && typeof value === "object" && "kind" in value ? value.kind : undefined;
  const checker = typeof kind === "string" ? checkers.get(kind) : undefined;
  if (checker === undefined) {
    throw new StorageError(
      "protocol_error",
      `unexpected message kind ${JSON.stringify(kind)?.slice(0, 64)}`,
    );
  }
  return checker.check(value);
}
