// The handshake in TypeScript: the body of the hello frame, and whether two hellos go together. The
// same bytes and rules as native/core/net/handshake.hh (docs/protocol/frame.md). Pure.
import { assert } from "../common/assert.js";
import { type ErrorCode, errorCodeOfNumber, errorNumbers, StorageError } from "../common/errors.js";
import type { FrameLimits } from "./frame.js";

export const protocolVersion = 1;
export const helloBytes = 62;
/** What a hello frame of any version may have; the limits of a decoder before the handshake. */
export const helloLimits: FrameLimits = { maxMetaBytes: 4096, maxDataBytes: 0 };

const clusterIdBytes = 16;
const refusalOffset = helloBytes - 2;

/** Entity kind -> its number on the wire. */
export const entityKinds = { monitor: 1, osd: 2, client: 3 } as const;
export type EntityKind = keyof typeof entityKinds;

/** Who sits at an end of a connection. */
export interface Entity {
  kind: EntityKind;
  /** OSD id, or client id. */
  id: bigint;
  /** Random per start of the daemon. */
  incarnation: bigint;
}

export interface Hello {
  version: number;
  /** 16 bytes. */
  cluster: Uint8Array;
  self: Entity;
  /** Bits that the peer must know. */
  requiredFeatures: number;
  /** Bits that the sender knows. */
  supportedFeatures: number;
  /** Who the peer has to be; undefined: anybody. Incarnation 0: any. */
  expected: Entity | undefined;
  /** Why the sender refuses; undefined: welcome. */
  refusal: ErrorCode | undefined;
}

const kindByNumber = new Map<number, EntityKind>(
  (Object.keys(entityKinds) as EntityKind[]).map((kind) => [entityKinds[kind], kind]),
);

/** The meta of a hello frame. */
export function encodeHello(hello: Hello): Uint8Array {
  assert(hello.cluster.length === clusterIdBytes, "a cluster id has 16 bytes");
  const bytes = new Uint8Array(helloBytes);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, hello.version, true);
  bytes.set(hello.cluster, 2);
  putEntity(view, 18, hello.self);
  view.setUint32(35, hello.requiredFeatures, true);
  view.setUint32(39, hello.supportedFeatures, true);
  if (hello.expected !== undefined) putEntity(view, 43, hello.expected);
  const refusal = hello.refusal === undefined ? 0 : errorNumbers[hello.refusal];
  view.setUint16(refusalOffset, refusal, true);
  return bytes;
}

function putEntity(view: DataView, offset: number, entity: Entity): void {
  view.setUint8(offset, entityKinds[entity.kind]);
  view.setBigUint64(offset + 1, entity.id, true);
  view.setBigUint64(offset + 9, entity.incarnation, true);
}

/**
 * The hello in a frame's meta. Of another version only version and refusal are read, the rest is
 * empty. A refusal code that is not in our table comes from a newer peer: protocol_error.
 * @throws protocol_error: not a hello
 */
export function decodeHello(meta: Uint8Array): Hello {
  if (meta.length < helloBytes) {
    throw new StorageError("protocol_error", `hello of ${meta.length} bytes is cut short`);
  }
  const view = new DataView(meta.buffer, meta.byteOffset, meta.byteLength);
  const version = view.getUint16(0, true);
  const refusalNumber = view.getUint16(refusalOffset, true);
  const refusal =
    refusalNumber === 0 ? undefined : (errorCodeOfNumber(refusalNumber) ?? "protocol_error");
  const none: Entity = { kind: "client", id: 0n, incarnation: 0n };
  if (version !== protocolVersion) {
    return {
      version,
      cluster: new Uint8Array(clusterIdBytes),
      self: none,
      requiredFeatures: 0,
      supportedFeatures: 0,
      expected: undefined,
      refusal,
    };
  }
  if (meta.length !== helloBytes) throw new StorageError("protocol_error", "malformed hello");
  const expectedIsZero = meta.subarray(43, refusalOffset).every((byte) => byte === 0);
  return {
    version,
    cluster: meta.slice(2, 2 + clusterIdBytes),
    self: getEntity(view, 18),
    requiredFeatures: view.getUint32(35, true),
    supportedFeatures: view.getUint32(39, true),
    expected: expectedIsZero ? undefined : getEntity(view, 43),
    refusal,
  };
}

function getEntity(view: DataView, offset: number): Entity {
  const kind = kindByNumber.get(view.getUint8(offset));
  if (kind === undefined) throw new StorageError("protocol_error", "malformed hello: entity kind");
  return {
    kind,
    id: view.getBigUint64(offset + 1, true),
    incarnation: view.getBigUint64(offset + 9, true),
  };
}

/**
 * Whether the peer's hello fits ours; called alike at both ends.
 * @returns undefined when it fits; else the peer's refusal code when it refused,
 *   incompatible_version, wrong_cluster, wrong_daemon or unsupported_feature
 */
export function checkHello(ours: Hello, theirs: Hello): StorageError | undefined {
  if (theirs.refusal !== undefined) {
    return new StorageError(theirs.refusal, refusalText(theirs.refusal, ours, theirs));
  }
  if (theirs.version !== ours.version) {
    return new StorageError(
      "incompatible_version",
      `the peer speaks protocol version ${theirs.version}, we speak ${ours.version}`,
    );
  }
  if (!sameBytes(theirs.cluster, ours.cluster)) {
    const [its, own] = [clusterText(theirs.cluster), clusterText(ours.cluster)];
    return new StorageError("wrong_cluster", `the peer is of cluster ${its}, we are of ${own}`);
  }
  if (theirs.expected !== undefined && !matches(theirs.expected, ours.self)) {
    const [wanted, self] = [entityText(theirs.expected), entityText(ours.self)];
    return new StorageError("wrong_daemon", `the peer expected ${wanted}, this is ${self}`);
  }
  if (ours.expected !== undefined && !matches(ours.expected, theirs.self)) {
    const [peer, wanted] = [entityText(theirs.self), entityText(ours.expected)];
    return new StorageError("wrong_daemon", `the peer is ${peer}, expected ${wanted}`);
  }
  return (
    checkFeatures(ours.requiredFeatures, theirs.supportedFeatures, "the peer") ??
    checkFeatures(theirs.requiredFeatures, ours.supportedFeatures, "this daemon")
  );
}

/** The peer refused: what its code means, seen from this side. */
function refusalText(refusal: ErrorCode, ours: Hello, theirs: Hello): string {
  const texts: Partial<Record<ErrorCode, string>> = {
    wrong_cluster:
      `it is not of cluster ${clusterText(ours.cluster)} ` +
      `but of ${clusterText(theirs.cluster)}`,
    wrong_daemon:
      `it is ${entityText(theirs.self)}` +
      (ours.expected === undefined ? "" : `, expected ${entityText(ours.expected)}`),
    incompatible_version:
      `it speaks protocol version ${theirs.version}, ` + `we speak ${ours.version}`,
    unsupported_feature:
      "feature bits do not fit " +
      `(ours: required ${bitsText(ours.requiredFeatures)}, ` +
      `supported ${bitsText(ours.supportedFeatures)}; ` +
      `its: required ${bitsText(theirs.requiredFeatures)}, ` +
      `supported ${bitsText(theirs.supportedFeatures)})`,
  };
  return `refused by the peer: ${texts[refusal] ?? refusal}`;
}

function checkFeatures(required: number, supported: number, who: string): StorageError | undefined {
  const missing = (required & ~supported) >>> 0;
  if (missing === 0) return undefined;
  const text = `${who} does not know the required feature bits ${bitsText(missing)}`;
  return new StorageError("unsupported_feature", text);
}

function matches(expected: Entity, entity: Entity): boolean {
  return (
    expected.kind === entity.kind &&
    expected.id === entity.id &&
    (expected.incarnation === 0n || expected.incarnation === entity.incarnation)
  );
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

function bitsText(bits: number): string {
  return `0x${bits.toString(16).padStart(8, "0")}`;
}

/** "osd.3 (incarnation 17)" */
export function entityText(entity: Entity): string {
  const incarnation = entity.incarnation === 0n ? "" : ` (incarnation ${entity.incarnation})`;
  return `${entity.kind}.${entity.id}${incarnation}`;
}

/** The id as a UUID: 8-4-4-4-12 hexadecimal digits. */
export function clusterText(cluster: Uint8Array): string {
  const digits = Array.from(cluster, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    digits.slice(12, 16),
    digits.slice(16, 20),
    digits.slice(20),
  ].join("-");
}
