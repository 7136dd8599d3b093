// The exclusive lock of an image as key-values of its header, and what clients say to each other
// about it by notify. docs/protocol/fencing.md. Pure.
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { StorageError } from "../../common/errors.js";
import { Checker } from "../../common/schema.js";
import type { NativeStep } from "../../native/binding.js";
import { decodeValue, encodeValue } from "../../proto/encoding.js";
import { ImageChangeSchema } from "./image-change.js";
import { u64Value } from "./omap-values.js";
import { IdSchema } from "./references.js";

/** Key of the holder's record; no value: the lock is free. */
export const lockKey = "lock";
/** Key of the newest token, which only grows; it stays when the lock is released. */
export const lockTokenKey = "lock_token";
/** Cookie of the watches of holders whose record names none. */
const commonCookie = "image";

const closed = { additionalProperties: false } as const;
const TokenSchema = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });

const LockRecordSchema = Type.Object(
  {
    /** CLIENT.TOKEN: the name of this holding, for `cairn lock rm` */
    id: Type.String({ minLength: 1, maxLength: 64 }),
    /** client id, decimal */
    client: Type.String({ pattern: "^[0-9]{1,20}$" }),
    /** of the watch that shows that it lives: one client may have the image open more than once */
    cookie: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
    /** "host1 pid 7 attach": for people */
    description: Type.String({ maxLength: 256 }),
    token: TokenSchema,
    /** milliseconds since 1970 */
    takenAt: Type.Integer({ minimum: 0 }),
    /** its watch counts as gone when it was not renewed for so long */
    watchTimeoutMs: Type.Integer({ minimum: 1, maximum: 300_000 }),
  },
  closed,
);
export type LockRecord = Static<typeof LockRecordSchema>;

export const watchCookieOf = ({ cookie = commonCookie }: LockRecord): string => cookie;

/** The lock as it stands. */
export interface LockView {
  /** 0: it was never taken */
  token: number;
  holder: LockRecord | undefined;
}

const requestSchema = Type.Union([
  /** somebody waits for the lock */
  Type.Object({ op: Type.Literal("lock.request") }, closed),
  /** the header has changed: read it again */
  Type.Object({ op: Type.Literal("header.changed") }, closed),
  /** only the holder of the lock may do this */
  Type.Object(
    {
      op: Type.Literal("change"),
      /** the same when it is sent again: it is done once, and its outcome told again */
      request: IdSchema,
      change: ImageChangeSchema,
    },
    closed,
  ),
]);
export type LockRequest = Static<typeof requestSchema>;
export type ChangeRequest = Extract<LockRequest, { op: "change" }>;

const replySchema = Type.Object(
  {
    /** exclusive: it is not handed over; none: not the holder, or not understood */
    answer: Type.Union(
      (["releasing", "exclusive", "none", "done", "working", "failed"] as const).map((a) =>
        Type.Literal(a),
      ),
    ),
    /** of failed */
    code: Type.Optional(Type.String()),
    message: Type.Optional(Type.String({ maxLength: 1024 })),
    remedy: Type.Optional(Type.String({ maxLength: 1024 })),
    /** of working: ask again */
    doneBytes: Type.Optional(Type.Number()),
    totalBytes: Type.Optional(Type.Number()),
  },
  closed,
);
export type LockReply = Static<typeof replySchema>;

const recordChecker = new Checker(LockRecordSchema, "the lock of an image", "corrupt");
const requestChecker = new Checker(requestSchema, "notification", "protocol_error");
const replyChecker = new Checker(replySchema, "answer to a notification", "protocol_error");

function decoded<S extends TSchema>(checker: Checker<S>, bytes: Uint8Array): Static<S> {
  let value: unknown;
  try {
    value = decodeValue(bytes);
  } catch (cause) {
    throw new StorageError("corrupt", "a lock record or notification is no msgpack", { cause });
  }
  return checker.check(value);
}

export const encodeRequest = (request: LockRequest): Uint8Array => encodeValue(request);
/** @throws corrupt, protocol_error */
export const decodeRequest = (bytes: Uint8Array): LockRequest => decoded(requestChecker, bytes);
export const encodeReply = (reply: LockReply): Uint8Array => encodeValue(reply);
/** @throws corrupt, protocol_error */
export const decodeReply = (bytes: Uint8Array): LockReply => decoded(replyChecker, bytes);

/** The lock in the key-values of a header. @throws corrupt */
export function decodeLock(omap: readonly (readonly [key: string, value: Uint8Array])[]): LockView {
  const values = new Map(omap);
  const tokenBytes = values.get(lockTokenKey);
  const holderBytes = values.get(lockKey);
  const view = new DataView((tokenBytes ?? new Uint8Array(8)).slice().buffer);
  if (view.byteLength !== 8) throw new StorageError("corrupt", "the lock's token is malformed");
  const token = Number(view.getBigUint64(0, true));
  const holder = holderBytes === undefined ? undefined : decoded(recordChecker, holderBytes);
  if (holder !== undefined && holder.token !== token) {
    throw new StorageError("corrupt", "the lock's holder has another token than the lock");
  }
  return { token, holder };
}

const recordValue = (record: LockRecord | undefined) =>
  record === undefined ? new Uint8Array() : encodeValue(record);

/** Takes the lock as `record` if it stands as `seen`: precondition_failed otherwise. */
export function takeSteps(seen: LockView, record: LockRecord): NativeStep[] {
  const before = seen.token === 0 ? new Uint8Array() : u64Value(seen.token);
  return [
    { code: "assertExists" },
    { code: "omapCompare", key: lockKey, value: recordValue(seen.holder) },
    { code: "omapCompare", key: lockTokenKey, value: before },
    { code: "omapSet", key: lockKey, value: recordValue(record) },
    { code: "omapSet", key: lockTokenKey, value: u64Value(record.token) },
  ];
}

/** Frees the lock if `record` holds it: precondition_failed otherwise. The token stays. */
export function releaseSteps(record: LockRecord): NativeStep[] {
  return [
    { code: "omapCompare", key: lockKey, value: recordValue(record) },
    { code: "omapRemove", key: lockKey },
  ];
}
