// Configuration of the daemons: JSON, checked against a schema when read. An unknown key is an
// error, not ignored: a mistyped setting must not silently mean its default.
import { readFile } from "node:fs/promises";
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { StorageError, toStorageError } from "./errors.js";
import { Checker } from "./schema.js";

const closed = { additionalProperties: false } as const;

/** Where a daemon listens, or is reached. */
export const AddressSchema = Type.Object(
  {
    /** IPv4 or IPv6 address in text form; daemons listen on loopback unless told otherwise */
    host: Type.String({ minLength: 1, maxLength: 255 }),
    /** 0 when listening: a free one */
    port: Type.Integer({ minimum: 0, maximum: 65535 }),
  },
  closed,
);
export type Address = Static<typeof AddressSchema>;

/** pino's levels. */
export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];
export const LogLevelSchema = Type.Union(logLevels.map((level) => Type.Literal(level)));

export const LogConfigSchema = Type.Object(
  {
    /** file to append to; "-" is standard error */
    file: Type.String({ minLength: 1, default: "-" }),
    level: Type.Unsafe<LogLevel>({ ...LogLevelSchema, default: "info" }),
  },
  { ...closed, default: {} },
);
export type LogConfig = Static<typeof LogConfigSchema>;

const loopback = (port: number) => ({ host: "127.0.0.1", port });

export const MonitorConfigSchema = Type.Object(
  {
    /** holds the map store; mode 0700; nothing is written outside it but the log */
    dataDir: Type.String({ minLength: 1 }),
    /** control protocol (docs/protocol/monitor.md) */
    listen: Type.Unsafe<Address>({ ...AddressSchema, default: loopback(0) }),
    /** HTTP: /api/v1 and /metrics */
    http: Type.Unsafe<Address>({ ...AddressSchema, default: loopback(0) }),
    log: LogConfigSchema,
    /** statistics of a daemon that are older than this are stale */
    statsStaleMs: Type.Integer({ minimum: 1000, default: 30_000 }),
  },
  closed,
);
export type MonitorConfig = Static<typeof MonitorConfigSchema>;

export const minMetadataCacheBytes = 2 ** 20;
export const maxMetadataCacheBytes = 2 ** 40;
/** As object_store::Options has it. */
export const defaultMetadataCacheBytes = 32 * 2 ** 20;

export const OsdConfigSchema = Type.Object(
  {
    id: Type.Integer({ minimum: 0, maximum: 9999 }),
    /** holds the store file unless `store` names a device; mode 0700 */
    dataDir: Type.String({ minLength: 1 }),
    /** block device or file of the object store; default: dataDir/store */
    store: Type.Optional(Type.String({ minLength: 1 })),
    monitor: AddressSchema,
    listen: Type.Unsafe<Address>({ ...AddressSchema, default: loopback(0) }),
    /** processes of this machine reach each other by Unix sockets, not by TCP alone */
    localSockets: Type.Boolean({ default: true }),
    /** small overwrites may move to new places of the store */
    movesOverwrites: Type.Boolean({ default: true }),
    /** memory for headers and block maps of objects, beside those that wait to be stored */
    metadataCacheBytes: Type.Integer({
      minimum: minMetadataCacheBytes,
      maximum: maxMetadataCacheBytes,
      default: defaultMetadataCacheBytes,
    }),
    log: LogConfigSchema,
    /** where CRUSH places it */
    host: Type.String({ minLength: 1, maxLength: 255 }),
    deviceClass: Type.String({ minLength: 1, maxLength: 64, default: "ssd" }),
    /** for tests: the store lies on a disk that misbehaves when told to at this Unix socket */
    faultDisk: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })),
  },
  closed,
);
export type OsdConfig = Static<typeof OsdConfigSchema>;

/**
 * A configuration value with defaults filled in.
 * @param whence named in errors: a file name, or "arguments"
 * @throws invalid_argument naming the key that is wrong
 */
export function parseConfig<Schema extends TSchema>(
  schema: Schema,
  value: unknown,
  whence: string,
): Static<Schema> {
  const filled = Value.Default(schema, Value.Clone(value));
  return new Checker(schema, `configuration (${whence})`, "invalid_argument").check(filled);
}

/** parseConfig() of a JSON file. @throws not_found, permission_denied, invalid_argument */
export async function loadConfig<Schema extends TSchema>(
  schema: Schema,
  file: string,
): Promise<Static<Schema>> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, "utf8"));
  } catch (thrown) {
    if (thrown instanceof SyntaxError) {
      throw new StorageError("invalid_argument", `${file} is not JSON: ${thrown.message}`);
    }
    throw toStorageError(thrown, `read the configuration ${file}`);
  }
  return parseConfig(schema, value, file);
}
