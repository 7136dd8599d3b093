// HTTP of the monitor: /api/v1 as JSON (read-only, schema-checked both ways) and /metrics for
// Prometheus. Errors are {"error": {code, message, remedy}} with a fitting status.
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { type FastifyInstance, fastify } from "fastify";
import type { Address } from "../common/config.js";
import { type ErrorCode, StorageError, toStorageError } from "../common/errors.js";
import { commandSchemas } from "../proto/commands.js";
import type { Cluster } from "./cluster.js";
import { type CommandContext, callCommand } from "./commands.js";
import { Metrics } from "./metrics.js";
import type { RefusedStarts } from "./refused-starts.js";
import { listenError } from "./server.js";

/** An image, as a client that reads the OSDs' objects lists it. */
export const ImageRowSchema = Type.Object({
  name: Type.String(),
  id: Type.String(),
  sizeBytes: Type.Integer({ minimum: 0 }),
});
export type ImageRow = Static<typeof ImageRowSchema>;

/** Lists the images of a pool; the monitor itself keeps none. */
export type ListImages = (pool: string) => Promise<ImageRow[]>;

export interface HttpOptions {
  listen: Address;
  cluster: Cluster;
  commands: CommandContext;
  /** of the control server */
  refusedConnections: () => ReadonlyMap<ErrorCode, number>;
  refusedCommands: () => ReadonlyMap<string, ReadonlyMap<ErrorCode, number>>;
  ownRefusedStarts: () => Promise<RefusedStarts>;
  /** absent: /api/v1/images answers 501 */
  listImages?: ListImages | undefined;
}

export interface HttpServer {
  address(): Address;
  close(): Promise<void>;
}

const statusOfCode: Partial<Record<ErrorCode, number>> = {
  invalid_argument: 400,
  out_of_range: 400,
  not_found: 404,
  already_exists: 409,
  busy: 503,
  disconnected: 503,
  timed_out: 504,
  unsupported_feature: 501,
};

const ErrorSchema = Type.Object({
  error: Type.Object({
    code: Type.String(),
    message: Type.String(),
    remedy: Type.Optional(Type.String()),
  }),
});

const results = {
  "/api/v1/status": commandSchemas.status.result,
  "/api/v1/health": commandSchemas.health.result,
  "/api/v1/osds": commandSchemas["osd ls"].result,
  "/api/v1/pgs": commandSchemas["pg ls"].result,
  "/api/v1/pools": commandSchemas["pool ls"].result,
  "/api/v1/images": Type.Object({ images: Type.Array(ImageRowSchema) }),
} as const;

const PgQuerySchema = commandSchemas["pg ls"].args;
const ImageQuerySchema = Type.Object(
  { pool: Type.String({ minLength: 1, maxLength: 255 }) },
  { additionalProperties: false },
);

/** @throws address_in_use, permission_denied, invalid_argument */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const app = buildHttp(options);
  const { host, port } = options.listen;
  try {
    await app.listen({ host, port });
  } catch (thrown) {
    await app.close();
    throw listenError(thrown, "HTTP", options.listen);
  }
  return {
    address: () => {
      const bound = app.server.address();
      return { host, port: typeof bound === "object" && bound !== null ? bound.port : port };
    },
    close: () => app.close(),
  };
}

/** The server without its socket. */
export function buildHttp(options: HttpOptions): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: 64 << 10,
    forceCloseConnections: true,
    // Without these ajv would change what it checks, and drop what it does not know.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false } },
  });
  app.setErrorHandler((thrown, _request, reply) => {
    const error = httpError(thrown);
    reply.status(statusOfCode[error.code] ?? 500).send({ error: error.toJSON() });
  });
  app.setNotFoundHandler((request, reply) => {
    const error = new StorageError("not_found", `there is no ${request.method} ${request.url}`, {
      remedy: `Known are ${Object.keys(results).join(", ")} and /metrics.`,
    });
    reply.status(404).send({ error: error.toJSON() });
  });
  addApi(app, options);
  addMetrics(app, options);
  return app;
}

function httpError(thrown: unknown): StorageError {
  const validation = (thrown as { validation?: unknown }).validation;
  const { statusCode } = thrown as { statusCode?: unknown };
  const byPeer = typeof statusCode === "number" && statusCode >= 400 && statusCode < 500;
  if (validation === undefined && !byPeer) return toStorageError(thrown);
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new StorageError("invalid_argument", text);
}

function route(path: keyof typeof results, querystring?: TSchema) {
  const response = { 200: results[path], "4xx": ErrorSchema, "5xx": ErrorSchema };
  return { schema: querystring === undefined ? { response } : { response, querystring } };
}

function addApi(app: FastifyInstance, { commands, listImages, cluster }: HttpOptions): void {
  const plain = {
    "/api/v1/status": "status",
    "/api/v1/health": "health",
    "/api/v1/osds": "osd ls",
    "/api/v1/pools": "pool ls",
  } as const;
  for (const [path, verb] of Object.entries(plain)) {
    app.get(path, route(path as keyof typeof plain), () => callCommand(commands, verb, {}));
  }
  app.get<{ Querystring: Static<typeof PgQuerySchema> }>(
    "/api/v1/pgs",
    route("/api/v1/pgs", PgQuerySchema),
    (request) => callCommand(commands, "pg ls", request.query),
  );
  app.get<{ Querystring: Static<typeof ImageQuerySchema> }>(
    "/api/v1/images",
    route("/api/v1/images", ImageQuerySchema),
    async (request) => {
      const { pool } = request.query;
      if (!cluster.map().pools.some(({ name }) => name === pool)) {
        throw new StorageError("not_found", `there is no pool "${pool}"`);
      }
      if (listImages === undefined) {
        throw new StorageError("unsupported_feature", "this monitor has no client to list images", {
          remedy: `Use \`cairn ls ${pool}\`: images are kept in objects, not by the monitor.`,
        });
      }
      return { images: await listImages(pool) };
    },
  );
}

function addMetrics(app: FastifyInstance, options: HttpOptions): void {
  const { cluster, commands, refusedConnections, refusedCommands, ownRefusedStarts } = options;
  const metrics = new Metrics();
  app.get("/metrics", async (_request, reply) => {
    const status = await callCommand(commands, "status", {});
    reply.type(metrics.registry.contentType);
    return metrics.text({
      status,
      map: cluster.map(),
      stats: cluster.stats,
      refused: refusedConnections(),
      refusedCommands: refusedCommands(),
      refusedStarts: cluster.startRefusals.counts,
      ownRefusedStarts: await ownRefusedStarts(),
    });
  });
}
