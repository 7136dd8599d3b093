// The cluster map (Ceph's OSDMap) and its incrementals, as values, with the hash chain that binds
// each epoch to the one before. docs/protocol/monitor.md
//
// Invariants of a map: osds and pools are sorted by id; maxOsd is above every osd id; nextPoolId
// is above every pool id ever used; hash is the SHA-256 over the canonical msgpack of everything
// else in the map, previousHash included; so equal hashes mean an equal history.
import { createHash } from "node:crypto";
import { type Static, Type } from "@sinclair/typebox";
import { AddressSchema } from "../common/config.js";
import { StorageError } from "../common/errors.js";
import { type Epoch, nextEpoch, type PgId, pgIdPattern } from "../common/units.js";
import { encodeCanonical } from "./encoding.js";
import { MapFlagsSchema } from "./map-flags.js";
import { maxPurgedRuns, maxRemovedSnaps } from "./pool-snaps.js";

const closed = { additionalProperties: false } as const;

/** OSD ids are below this: a full map then fits a frame (about 0.6 KiB for each OSD). */
export const maxOsds = 10_000;
/** Copies of a PG: more are refused everywhere. */
export const maxPoolSize = 16;
/** PGs of a pool. */
export const maxPgNum = 65536;
/** An OSD's weight that takes its full share: 1.0 in 16.16 fixed point (Ceph's reweight). */
export const fullWeight = 0x10000;

export const EpochSchema = Type.Unsafe<Epoch>(Type.Integer({ minimum: 0, maximum: 0xffff_ffff }));
export const OsdIdSchema = Type.Integer({ minimum: 0, maximum: maxOsds - 1 });
export const PgIdSchema = Type.Unsafe<PgId>(Type.String({ pattern: pgIdPattern }));
export const UuidSchema = Type.String({
  pattern: "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
});
/** A random 64-bit value in decimal, new at each start of a daemon. */
export const IncarnationSchema = Type.String({ pattern: "^[0-9]{1,20}$" });
export const HashSchema = Type.String({ pattern: "^[0-9a-f]{64}$" });
export const NameSchema = Type.String({ pattern: "^[A-Za-z0-9_.-]{1,255}$" });
export const ByteCountSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
/** A snapshot of a pool. */
export const SnapIdSchema = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const WallMsSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

/** Levels of use, from the lowest; docs/operating/full.md tells what each stops. */
export const fullStates = ["nearfull", "backfillfull", "full"] as const;
export type FullState = (typeof fullStates)[number];
const FullStateSchema = Type.Unsafe<FullState>(
  Type.Union(fullStates.map((state) => Type.Literal(state))),
);

export const OsdSchema = Type.Object(
  {
    id: OsdIdSchema,
    /** of the object store: another one under the same id is refused */
    uuid: UuidSchema,
    up: Type.Boolean(),
    in: Type.Boolean(),
    /** it is out because it was down for long, not because the operator wants it: in at its boot */
    autoOut: Type.Optional(Type.Boolean()),
    /** share of its CRUSH weight that it takes when in, 16.16 fixed point */
    weight: Type.Integer({ minimum: 0, maximum: fullWeight }),
    address: AddressSchema,
    incarnation: IncarnationSchema,
    /** epoch of the map that last showed it come up */
    upFrom: EpochSchema,
    /** it is known to have been alive until this epoch: its PGs may have gone active until then */
    upThru: EpochSchema,
    /** epoch of the map that last showed it go down; 0: never */
    downAt: EpochSchema,
    /** the last interval [begin, end) that it ended by a clean stop, with nothing in flight */
    lastCleanBegin: Type.Optional(EpochSchema),
    lastCleanEnd: Type.Optional(EpochSchema),
    sizeBytes: ByteCountSchema,
    deviceClass: NameSchema,
    host: NameSchema,
    /** share of the PGs that it may lead of those in which it would be first; absent: all */
    primaryAffinity: Type.Optional(Type.Integer({ minimum: 0, maximum: fullWeight })),
    /** the highest level of use that it has reached; absent: below all of them */
    fullState: Type.Optional(FullStateSchema),
    /** its disk is far slower than those of its peers: it leads no PG that another one can lead */
    slow: Type.Optional(Type.Boolean()),
    /** the error for which its store was given up; gone when it is started again */
    failed: Type.Optional(
      Type.Object({ code: Type.String(), message: Type.String({ maxLength: 1024 }) }, closed),
    ),
  },
  closed,
);
export type OsdInfo = Static<typeof OsdSchema>;

export const PoolSchema = Type.Object(
  {
    id: Type.Integer({ minimum: 1, maximum: 0xffff_ffff }),
    name: NameSchema,
    /** a power of two */
    pgNum: Type.Integer({ minimum: 1, maximum: maxPgNum }),
    /**
     * how many of them CRUSH places, a power of two: a PG that was split off another one is where
     * that one is, until this is raised to pgNum; absent: pgNum. Read it with pgpNumOf()
     */
    pgpNum: Type.Optional(Type.Integer({ minimum: 1, maximum: maxPgNum })),
    /** epoch of the map that last raised pgNum; absent: it is as it was when the pool was made */
    splitEpoch: Type.Optional(EpochSchema),
    /** copies */
    size: Type.Integer({ minimum: 1, maximum: maxPoolSize }),
    /** copies without which a PG serves nothing */
    minSize: Type.Integer({ minimum: 1, maximum: maxPoolSize }),
    crushRule: Type.Integer({ minimum: 0, maximum: 255 }),
    createdEpoch: EpochSchema,
    /** what uses it: "rbd" */
    application: NameSchema,
    /** the newest snapshot id handed out; absent: none. These four: proto/pool-snaps.ts */
    snapSeq: Type.Optional(SnapIdSchema),
    /** snapshots being removed, in the order of their removal; absent: none */
    removedSnaps: Type.Optional(Type.Array(SnapIdSchema, { maxItems: maxRemovedSnaps })),
    /** the number of the newest removal; absent: there was none */
    snapRemovals: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
    /** snapshots that have been removed, as runs from a first to a last id; absent: none */
    purgedSnaps: Type.Optional(
      Type.Array(Type.Tuple([SnapIdSchema, SnapIdSchema]), { maxItems: maxPurgedRuns }),
    ),
  },
  closed,
);
export type PoolInfo = Static<typeof PoolSchema>;

/** How many PGs of the pool CRUSH places (Ceph's pgp_num). */
export function pgpNumOf({ pgNum, pgpNum }: Pick<PoolInfo, "pgNum" | "pgpNum">): number {
  return pgpNum ?? pgNum;
}

/** Counts of PGs are powers of two: so splitting halves each PG, and no object comes to a third. */
export function isPgCount(count: number): boolean {
  return count >= 1 && count <= maxPgNum && Number.isInteger(Math.log2(count));
}

/** Clients whose operations every OSD refuses. */
export const BlocklistEntrySchema = Type.Object(
  {
    /** client id, decimal */
    client: Type.String({ pattern: "^[0-9]{1,20}$" }),
    /** milliseconds since 1970, by the monitor's clock */
    untilMs: WallMsSchema,
  },
  closed,
);
export type BlocklistEntry = Static<typeof BlocklistEntrySchema>;
const BlocklistSchema = Type.Array(BlocklistEntrySchema, { maxItems: 20_000 });

const ActingSchema = Type.Array(OsdIdSchema, { maxItems: maxPoolSize });
const PgTempSchema = Type.Unsafe<Record<PgId, number[]>>(
  Type.Record(Type.String({ pattern: pgIdPattern }), ActingSchema, closed),
);
const CrushTextSchema = Type.String({ maxLength: 8 << 20 });
const MapConfigSchema = Type.Record(
  // Some name a host, or a pool and a namespace of it: proto/image-options.ts, purge-schedule.ts.
  Type.String({ pattern: "^[A-Za-z0-9_.@:/-]{1,640}$" }),
  Type.String({ maxLength: 1024 }),
  closed,
);

/** A generation, and the newest map that was found when it was begun: proto/generation.ts. */
const RebuildSchema = Type.Object(
  {
    generation: Type.Integer({ minimum: 1, maximum: 63 }),
    fromEpoch: EpochSchema,
    fromHash: HashSchema,
  },
  closed,
);
export type Rebuild = Static<typeof RebuildSchema>;

export const OsdMapSchema = Type.Object(
  {
    epoch: EpochSchema,
    clusterId: UuidSchema,
    /** hash of the map of the epoch before; 64 zeros in the first epoch of a generation */
    previousHash: HashSchema,
    hash: HashSchema,
    /** milliseconds since 1970; for people only */
    createdAt: WallMsSchema,
    modifiedAt: WallMsSchema,
    /** sorted, each once */
    flags: MapFlagsSchema,
    /** the CRUSH map as crushtool's text */
    crush: CrushTextSchema,
    maxOsd: Type.Integer({ minimum: 0, maximum: maxOsds }),
    osds: Type.Array(OsdSchema, { maxItems: maxOsds }),
    pools: Type.Array(PoolSchema, { maxItems: 4096 }),
    nextPoolId: Type.Integer({ minimum: 1, maximum: 0xffff_ffff }),
    /** acting sets that override the up set for a while: during backfill */
    pgTemp: PgTempSchema,
    /** settings of the cluster and its daemons: "osd.log_level" */
    config: MapConfigSchema,
    /** sorted by client; absent when nobody is listed */
    blocklist: Type.Optional(BlocklistSchema),
    /** the generations after the first, oldest first; absent: never rebuilt */
    rebuilds: Type.Optional(Type.Array(RebuildSchema, { maxItems: 64 })),
  },
  closed,
);
export type OsdMap = Static<typeof OsdMapSchema>;

/** What an incremental changes. Absent: as before. Records are replaced whole. */
export const MapChangesSchema = Type.Object(
  {
    flags: Type.Optional(MapFlagsSchema),
    crush: Type.Optional(CrushTextSchema),
    maxOsd: Type.Optional(OsdMapSchema.properties.maxOsd),
    osds: Type.Optional(OsdMapSchema.properties.osds),
    removedOsds: Type.Optional(Type.Array(OsdIdSchema, { maxItems: maxOsds })),
    pools: Type.Optional(OsdMapSchema.properties.pools),
    removedPools: Type.Optional(Type.Array(PoolSchema.properties.id, { maxItems: 4096 })),
    nextPoolId: Type.Optional(OsdMapSchema.properties.nextPoolId),
    /** an empty acting set removes the override */
    pgTemp: Type.Optional(PgTempSchema),
    /** an empty value removes the setting */
    config: Type.Optional(MapConfigSchema),
    /** replaces the list */
    blocklist: Type.Optional(BlocklistSchema),
  },
  closed,
);
export type MapChanges = Static<typeof MapChangesSchema>;

export const IncrementalSchema = Type.Object(
  {
    epoch: EpochSchema,
    /** hash of the map that it applies to */
    previousHash: HashSchema,
    /** hash of the map that it makes */
    hash: HashSchema,
    modifiedAt: WallMsSchema,
    changes: MapChangesSchema,
  },
  closed,
);
export type Incremental = Static<typeof IncrementalSchema>;

/** previousHash of epoch 1. */
export const noHash = "0".repeat(64);

/** The hash of a map: SHA-256 in hex over the canonical msgpack of all members but `hash`. */
export function hashOf(map: Omit<OsdMap, "hash">): string {
  const content: Partial<OsdMap> = { ...map };
  delete content.hash;
  return createHash("sha256").update(encodeCanonical(content)).digest("hex");
}

/** The map with its hash filled in. */
export function sealed(content: Omit<OsdMap, "hash">): OsdMap {
  return { ...content, hash: hashOf(content) };
}

/** @throws corrupt when the hash of the map is not that of its content */
export function checkHash(map: OsdMap): void {
  if (hashOf(map) !== map.hash) {
    throw new StorageError(
      "corrupt",
      `map epoch ${map.epoch}: its hash is not that of its content`,
    );
  }
}

/**
 * The map of the next epoch.
 * @throws corrupt when the incremental is not of the next epoch (gap), was made for another map
 *   (fork), or does not give the map whose hash it names
 */
export function applyIncremental(map: OsdMap, incremental: Incremental): OsdMap {
  if (incremental.epoch !== map.epoch + 1) {
    throw new StorageError(
      "corrupt",
      `gap in the map chain: epoch ${map.epoch} is followed by ${incremental.epoch}`,
    );
  }
  if (incremental.previousHash !== map.hash) {
    throw new StorageError(
      "corrupt",
      `fork in the map chain: epoch ${incremental.epoch} was not made from our epoch ${map.epoch}`,
    );
  }
  const next = sealed(applyChanges(map, incremental.changes, incremental.modifiedAt));
  if (next.hash !== incremental.hash) {
    throw new StorageError(
      "corrupt",
      `map epoch ${incremental.epoch}: its changes do not give the map whose hash it names`,
    );
  }
  return next;
}

/**
 * The incremental that makes the next epoch of a map.
 * @param modifiedAt milliseconds since 1970
 */
export function makeIncremental(
  map: OsdMap,
  changes: MapChanges,
  modifiedAt: number,
): { incremental: Incremental; map: OsdMap } {
  const next = sealed(applyChanges(map, changes, modifiedAt));
  const incremental: Incremental = {
    epoch: next.epoch,
    previousHash: map.hash,
    hash: next.hash,
    modifiedAt,
    changes,
  };
  return { incremental, map: next };
}

/**
 * The map of the next epoch with the changes in it, but not sealed: its hash is empty.
 * @param modifiedAt milliseconds since 1970
 */
export function applyChanges(map: OsdMap, changes: MapChanges, modifiedAt: number): OsdMap {
  const { hash, blocklist: before, ...content } = map;
  const blocklist = changes.blocklist ?? before ?? [];
  return {
    ...content,
    hash: "",
    epoch: nextEpoch(map.epoch),
    previousHash: hash,
    modifiedAt,
    flags: changes.flags ?? map.flags,
    crush: changes.crush ?? map.crush,
    maxOsd: changes.maxOsd ?? map.maxOsd,
    osds: mergedById(map.osds, changes.osds, changes.removedOsds),
    pools: mergedById(map.pools, changes.pools, changes.removedPools),
    nextPoolId: changes.nextPoolId ?? map.nextPoolId,
    pgTemp: mergedRecord(map.pgTemp, changes.pgTemp),
    config: mergedRecord(map.config, changes.config),
    ...(blocklist.length === 0 ? {} : { blocklist }),
  };
}

function mergedById<T extends { id: number }>(
  before: readonly T[],
  replaced: readonly T[] = [],
  removed: readonly number[] = [],
): T[] {
  if (replaced.length === 0 && removed.length === 0) return [...before];
  const byId = new Map(before.map((record) => [record.id, record]));
  for (const id of removed) byId.delete(id);
  for (const record of replaced) byId.set(record.id, record);
  return [...byId.values()].sort((a, b) => a.id - b.id);
}

/** Entries of `replaced` over `before`; an empty value (of length 0) removes its key. */
function mergedRecord<T extends { length: number }>(
  before: Readonly<Record<string, T>>,
  replaced: Readonly<Record<string, T>> = {},
): Record<string, T> {
  const merged = { ...before, ...replaced };
  return Object.fromEntries(Object.entries(merged).filter(([, value]) => value.length > 0));
}

/** The changes that lead from one map's content to another's: applied to `from` they give `to`. */
export function diff(from: OsdMap, to: OsdMap): MapChanges {
  const changes: MapChanges = {};
  if (!same(from.flags, to.flags)) changes.flags = to.flags;
  if (from.crush !== to.crush) changes.crush = to.crush;
  if (from.maxOsd !== to.maxOsd) changes.maxOsd = to.maxOsd;
  if (from.nextPoolId !== to.nextPoolId) changes.nextPoolId = to.nextPoolId;
  const osds = diffById(from.osds, to.osds);
  if (osds.replaced.length > 0) changes.osds = osds.replaced;
  if (osds.removed.length > 0) changes.removedOsds = osds.removed;
  const pools = diffById(from.pools, to.pools);
  if (pools.replaced.length > 0) changes.pools = pools.replaced;
  if (pools.removed.length > 0) changes.removedPools = pools.removed;
  const pgTemp = diffRecord<number[]>(from.pgTemp, to.pgTemp, []);
  if (pgTemp !== undefined) changes.pgTemp = pgTemp;
  const config = diffRecord(from.config, to.config, "");
  if (config !== undefined) changes.config = config;
  if (!same(from.blocklist ?? [], to.blocklist ?? [])) changes.blocklist = to.blocklist ?? [];
  return changes;
}

function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  return Buffer.compare(encodeCanonical(a), encodeCanonical(b)) === 0;
}

function diffById<T extends { id: number }>(from: readonly T[], to: readonly T[]) {
  const before = new Map(from.map((record) => [record.id, record]));
  const after = new Set(to.map((record) => record.id));
  return {
    replaced: to.filter((record) => !same(before.get(record.id) ?? null, record)),
    removed: from.filter((record) => !after.has(record.id)).map((record) => record.id),
  };
}

function diffRecord<T>(
  from: Readonly<Record<string, T>>,
  to: Readonly<Record<string, T>>,
  removed: T,
): Record<string, T> | undefined {
  const changes: Record<string, T> = {};
  for (const [key, value] of Object.entries(to)) {
    if (!same(from[key] ?? null, value)) changes[key] = value;
  }
  for (const key of Object.keys(from)) if (!(key in to)) changes[key] = removed;
  return Object.keys(changes).length === 0 ? undefined : changes;
}

/** The OSD of that id; undefined when the map has none. */
export function findOsd(map: OsdMap, id: number): OsdInfo | undefined {
  return map.osds.find((osd) => osd.id === id);
}

/** The pool of that name or id; undefined when the map has none. */
export function findPool(map: OsdMap, nameOrId: string | number): PoolInfo | undefined {
  return map.pools.find((pool) => pool.name === nameOrId || pool.id === nameOrId);
}
