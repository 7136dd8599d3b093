// The advisory locks of an image as one key-value of its header, and when one may be added. Pure.
import { type Static, Type } from "@sinclair/typebox";
import { StorageError } from "../../common/errors.js";
import { Checker } from "../../common/schema.js";
import { encodeValue } from "../../proto/encoding.js";
import { valueMap } from "./omap-values.js";

export const advisoryLockKey = "lock_advisory";
/** They are one value, which is read with each header. */
export const maxAdvisoryLocks = 64;
const maxIdLength = 128;

const closed = { additionalProperties: false } as const;
const AdvisoryLockSchema = Type.Object(
  {
    /** what whoever took it calls it */
    id: Type.String({ minLength: 1, maxLength: maxIdLength }),
    /** client id, decimal: of a process that need not live any more */
    client: Type.String({ pattern: "^[0-9]{1,20}$" }),
    /** "host1 pid 7": for people */
    description: Type.String({ maxLength: 256 }),
    /** milliseconds since 1970 */
    takenAt: Type.Integer({ minimum: 0 }),
  },
  closed,
);
export type AdvisoryLock = Static<typeof AdvisoryLockSchema>;

const AdvisoryLocksSchema = Type.Object(
  {
    /** undefined: there is one lock, an exclusive one */
    tag: Type.Optional(Type.String({ maxLength: maxIdLength })),
    locks: Type.Array(AdvisoryLockSchema, { minItems: 1, maxItems: maxAdvisoryLocks }),
  },
  closed,
);
export type AdvisoryLocks = Static<typeof AdvisoryLocksSchema>;

const what = "advisory locks of an image";
const checker = new Checker(AdvisoryLocksSchema, what, "corrupt");

/** @throws corrupt */
export const decodeAdvisoryLocks = (bytes: Uint8Array | undefined): AdvisoryLocks | undefined =>
  bytes === undefined ? undefined : valueMap(bytes, checker, `the ${what}`);

export const encodeAdvisoryLocks = ({ tag, locks }: AdvisoryLocks): Uint8Array =>
  encodeValue(tag === undefined ? { locks } : { tag, locks });

/** @throws invalid_argument */
function checkText(text: string, name: string): void {
  // Control characters would break the tables that it is shown in.
  if (text.length > 0 && text.length <= maxIdLength && !/\p{Cc}/u.test(text)) return;
  throw new StorageError("invalid_argument", `${JSON.stringify(text)} is no ${name} of a lock`, {
    remedy: `It has 1 to ${maxIdLength} characters without control characters.`,
  });
}

/**
 * What the locks are with one more.
 * @param tag undefined: the new one is exclusive; else it is shared with all that have the same tag
 * @throws invalid_argument; busy, naming who has a lock that excludes it
 */
export function withLock(
  before: AdvisoryLocks | undefined,
  lock: AdvisoryLock,
  tag: string | undefined,
): AdvisoryLocks {
  checkText(lock.id, "id");
  if (tag !== undefined) checkText(tag, "tag");
  const [first] = before?.locks ?? [];
  if (before === undefined || first === undefined) return makeLocks([lock], tag);
  if (tag === undefined || before.tag === undefined || before.tag !== tag) {
    throw excluded(first, before.tag);
  }
  if (before.locks.length >= maxAdvisoryLocks) {
    throw new StorageError("busy", `the image has ${maxAdvisoryLocks} locks: no more can be`, {
      remedy: "`cairn lock ls POOL/IMAGE` lists them, `cairn lock rm` takes one away.",
    });
  }
  return makeLocks([...before.locks, lock], tag);
}

/** @returns undefined: there are none any more. @throws not_found; busy when it could be several */
export function withoutLock(
  before: AdvisoryLocks | undefined,
  id: string,
  client: string | undefined,
): { after: AdvisoryLocks | undefined; removed: AdvisoryLock } {
  const named = before?.locks.filter((lock) => lock.id === id) ?? [];
  const found = named.filter((lock) => client === undefined || lock.client === client);
  const [removed, another] = found;
  if (removed === undefined) {
    const holders = named.map((lock) => `client.${lock.client}`).join(", ");
    const held = holders === "" ? "" : `: ${holders} has it`;
    throw new StorageError("not_found", `no such lock with the id ${id} is held${held}`, {
      remedy: "`cairn lock ls POOL/IMAGE` lists the locks.",
    });
  }
  if (another !== undefined) {
    throw new StorageError("busy", `several clients have a lock with the id ${id}`, {
      remedy: "Say whose: `cairn lock rm POOL/IMAGE ID LOCKER`; `cairn lock ls` lists them.",
    });
  }
  const rest = before?.locks.filter((lock) => lock !== removed) ?? [];
  return { removed, after: rest.length === 0 ? undefined : makeLocks(rest, before?.tag) };
}

const makeLocks = (locks: AdvisoryLock[], tag: string | undefined): AdvisoryLocks =>
  tag === undefined ? { locks } : { tag, locks };

function excluded({ id, client, description }: AdvisoryLock, tag: string | undefined) {
  const kind = tag === undefined ? "exclusively" : `with the tag ${tag}`;
  const who = `${description}, client.${client}`;
  return new StorageError("busy", `the image is locked ${kind} by ${who} (lock ${id})`, {
    remedy: `To take that lock away: cairn lock rm POOL/IMAGE ${id} client.${client}`,
  });
}
