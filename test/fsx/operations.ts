// The operations of an fsx run, drawn from a seed. Pure: the same seed gives the same list.
import { assert } from "../../common/assert.js";
import { Family, type FamilyOperation } from "./family.js";

/** The ways to reach the image. */
export const paths = ["library", "nbd", "vhost-user"] as const;
export type PathName = (typeof paths)[number];

/** Offsets and lengths in bytes, multiples of 512: what every path can carry. */
export type RangeKind =
  | "read"
  | "write"
  | "writeZeroes"
  | "writeZeroesUnmap"
  | "discard"
  | "status";
export interface RangeOperation {
  kind: RangeKind;
  offset: number;
  lengthBytes: number;
}
export interface SnapshotRead {
  kind: "snapRead";
  image: number;
  snapshot: number;
  path: PathName;
  offset: number;
  lengthBytes: number;
}
export type Operation =
  | RangeOperation
  | FamilyOperation
  /** reads a snapshot, of whichever image, opened over a path of its own */
  | SnapshotRead
  | { kind: "flush" }
  | { kind: "reopen"; path: PathName }
  | { kind: "resize"; sizeBytes: number }
  /** another client takes the lock over; then the image is opened again */
  | { kind: "steal" };

export const sectorBytes = 512;
export const blockBytes = 4096;
/** Some objects of 4 MiB, so that operations cross their borders. */
export const minSizeBytes = 6 << 20;
export const maxSizeBytes = 26 << 20;
const maxIoBytes = 1 << 20;
const maxWideBytes = 9 << 20;

/** Out of 1000. */
const weights: ReadonlyArray<readonly [kind: Operation["kind"], weight: number]> = [
  ["read", 356],
  ["write", 359],
  ["writeZeroes", 50],
  ["writeZeroesUnmap", 40],
  ["discard", 80],
  ["status", 30],
  ["flush", 25],
  ["reopen", 9],
  ["resize", 6],
  ["steal", 4],
  ["snapCreate", 9],
  ["snapRead", 16],
  ["snapRemove", 4],
  ["rollback", 4],
  ["clone", 4],
  ["flatten", 3],
  ["retire", 1],
];

/** splitmix64, cut to what Number holds exactly. */
export class SeededRandom {
  private state: bigint;
  constructor(seed: bigint) {
    this.state = BigInt.asUintN(64, seed);
  }
  /** Uniform in [0, bound), bound up to 2^48 */
  below(bound: number): number {
    this.state = BigInt.asUintN(64, this.state + 0x9e3779b97f4a7c15n);
    let mixed = this.state;
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n);
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn);
    return Number((mixed ^ (mixed >> 31n)) >> 16n) % bound;
  }
}

/** Draws operations one after the other; it follows the images' sizes and snapshots. */
export class OperationSource {
  private readonly random: SeededRandom;
  private readonly family: Family;
  constructor(seed: bigint, sizeBytes: number) {
    this.random = new SeededRandom(seed);
    this.family = new Family(sizeBytes, (bound) => this.random.below(bound));
  }

  next(): Operation {
    const kind = this.kind();
    switch (kind) {
      case "flush":
      case "steal":
        return { kind };
      case "reopen":
        return { kind, path: this.path() };
      case "resize":
        this.family.sizeBytes = this.newSize();
        return { kind, sizeBytes: this.family.sizeBytes };
      case "snapRead":
        return this.snapshotRead();
      case "read":
      case "write":
        return { kind, ...this.range(maxIoBytes, this.family.sizeBytes) };
      case "writeZeroes":
      case "writeZeroesUnmap":
      case "discard":
      case "status":
        return { kind, ...this.range(maxWideBytes, this.family.sizeBytes) };
      default:
        return this.family.next(kind);
    }
  }

  private snapshotRead(): Operation {
    const chosen = this.family.anySnapshot();
    if (chosen === undefined) return this.family.next("snapCreate");
    const { image, snapshot, sizeBytes } = chosen;
    const range = this.range(maxIoBytes, sizeBytes);
    return { kind: "snapRead", image, snapshot, path: this.path(), ...range };
  }

  path(): PathName {
    const path = paths[this.random.below(paths.length)];
    assert(path !== undefined, "a path");
    return path;
  }

  /** An image grows to any sector and shrinks to whole blocks. */
  private newSize(): number {
    const sectors = (maxSizeBytes - minSizeBytes) / sectorBytes;
    const sizeBytes = minSizeBytes + this.random.below(sectors + 1) * sectorBytes;
    return sizeBytes > this.family.sizeBytes ? sizeBytes : sizeBytes - (sizeBytes % blockBytes);
  }

  private kind(): Operation["kind"] {
    let drawn = this.random.below(1000);
    for (const [kind, weight] of weights) {
      if (drawn < weight) return kind;
      drawn -= weight;
    }
    throw new Error("the weights add up to 1000");
  }

  /** Half of the ranges begin and end at blocks of 4 KiB; short ones are more frequent. */
  private range(maxBytes: number, sizeBytes: number): { offset: number; lengthBytes: number } {
    const grain = this.random.below(2) === 0 ? blockBytes : sectorBytes;
    const ceiling = Math.min(maxBytes, grain << (2 + this.random.below(12)));
    const wanted = grain * (1 + this.random.below(ceiling / grain));
    const places = Math.floor(sizeBytes / grain);
    const offset = grain * this.random.below(places);
    return { offset, lengthBytes: Math.min(wanted, sizeBytes - offset) };
  }
}

const rangeKinds: ReadonlySet<string> = new Set<RangeKind>([
  "read",
  "write",
  "writeZeroes",
  "writeZeroesUnmap",
  "discard",
  "status",
]);

/** Whether an operation is one on a range of the image that is worked on. */
export function isRange(operation: Operation): operation is RangeOperation {
  return rangeKinds.has(operation.kind);
}

/** What changes nothing that the image or a snapshot shows. */
const isBeside = ({ kind }: Operation) => kind === "flatten" || kind === "snapRead";
/** What may go on while such an operation does. */
const bearsBeside = (operation: Operation) =>
  isRange(operation) || ["flush", "snapCreate", "snapRead"].includes(operation.kind);

/** Whether two operations may not be in flight together. */
export function conflicts(one: Operation, other: Operation): boolean {
  if (isBeside(one) && (bearsBeside(other) || isBeside(other))) return false;
  if (isBeside(other) && bearsBeside(one)) return false;
  if (!isRange(one) || !isRange(other)) return true;
  // "status" looks at whole blocks: its neighbours in the same block count.
  const begin = (operation: RangeOperation) => operation.offset - (operation.offset % blockBytes);
  const end = (operation: RangeOperation) =>
    Math.ceil((operation.offset + operation.lengthBytes) / blockBytes) * blockBytes;
  const reads = (kind: RangeKind) => kind === "read" || kind === "status";
  if (reads(one.kind) && reads(other.kind)) return false;
  return begin(one) < end(other) && begin(other) < end(one);
}

export function describeOperation(index: number, operation: Operation): string {
  const { kind, ...rest } = operation;
  const values = Object.entries(rest).map(([name, value]) => `${name}=${value}`);
  return `${index} ${kind} ${values.join(" ")}`;
}
