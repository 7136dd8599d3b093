// What all members of a PG keep of its scrubs, so that it outlives restarts and a change of the
// primary: text in the PG's metadata, opaque to the native core. Pure.
import { type Static, Type } from "@sinclair/typebox";
import { Checker } from "../../common/schema.js";
import type { NativeBadCopy } from "../../native/index.js";
import {
  type InconsistentObject,
  InconsistentObjectSchema,
  maxBadBlocks,
  maxInconsistentObjects,
} from "../../proto/scrub.js";

const closed = { additionalProperties: false } as const;
const CountSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

const ScrubRecordSchema = Type.Object(
  {
    /** since when the PG is known: a PG that was never scrubbed is due from here; wall */
    sinceMs: CountSchema,
    lastMs: CountSchema,
    lastDeepMs: CountSchema,
    /** copies that are missing, extra or different */
    copyErrors: CountSchema,
    /** blocks that do not match their checksums: only a deep scrub sees them */
    blockErrors: CountSchema,
    objects: Type.Array(InconsistentObjectSchema, { maxItems: maxInconsistentObjects }),
  },
  closed,
);
export type ScrubRecord = Static<typeof ScrubRecordSchema>;
const checker = new Checker(ScrubRecordSchema, "stored scrub record", "corrupt");

/** The record of a PG that was never scrubbed. */
export function newScrubRecord(nowMs: number): ScrubRecord {
  const never = { lastMs: 0, lastDeepMs: 0, copyErrors: 0, blockErrors: 0 };
  return { sinceMs: Math.round(nowMs), ...never, objects: [] };
}

export function encodeScrubRecord(record: ScrubRecord): string {
  return JSON.stringify(record);
}

/** The stored record; undefined when there is none, or none that can be read: scrub again. */
export function decodeScrubRecord(text: string): ScrubRecord | undefined {
  if (text === "") return undefined;
  try {
    return checker.check(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** What one scrub has found so far. */
export interface Findings {
  readonly objects: number;
  readonly bytes: number;
  /** found */
  readonly copyErrors: number;
  readonly blockErrors: number;
  /** of these, those that nothing has repaired */
  readonly copiesLeft: number;
  readonly blocksLeft: number;
  /** what is left bad of the first of them */
  readonly bad: readonly InconsistentObject[];
}

export const noFindings: Findings = {
  objects: 0,
  bytes: 0,
  copyErrors: 0,
  blockErrors: 0,
  copiesLeft: 0,
  blocksLeft: 0,
  bad: [],
};

/** An object as the native core reports it. */
export interface FoundObject {
  object: string;
  repaired: boolean;
  good: number[];
  bad: NativeBadCopy[];
}

/** Adds an object that is not as it should be. */
export function withFound(findings: Findings, found: FoundObject): Findings {
  const copyErrors = found.bad.filter(({ problem }) => problem !== "none").length;
  const blockErrors = found.bad.reduce((sum, { badBlocks }) => sum + badBlocks.length, 0);
  const counted = {
    ...findings,
    copyErrors: findings.copyErrors + copyErrors,
    blockErrors: findings.blockErrors + blockErrors,
  };
  if (found.repaired) return counted;
  const listed: InconsistentObject = {
    object: found.object,
    good: found.good,
    bad: found.bad.map(({ osd, problem, badBlocks }) => ({
      osd,
      problem,
      badBlocks: badBlocks.slice(0, maxBadBlocks),
      badBlockCount: badBlocks.length,
    })),
  };
  return {
    ...counted,
    copiesLeft: findings.copiesLeft + copyErrors,
    blocksLeft: findings.blocksLeft + blockErrors,
    bad: [...findings.bad, listed].slice(0, maxInconsistentObjects),
  };
}

/** The record after a scrub of the whole PG. */
export function recordAfter(
  before: ScrubRecord,
  findings: Findings,
  isDeep: boolean,
  nowMs: number,
): ScrubRecord {
  const lastMs = Math.round(nowMs);
  const { copiesLeft: copyErrors, blocksLeft: blockErrors, bad } = findings;
  if (isDeep) {
    return { ...before, lastMs, lastDeepMs: lastMs, copyErrors, blockErrors, objects: [...bad] };
  }
  // A light scrub says nothing about blocks: what a deep one said of them stays.
  const named = new Set(bad.map(({ object }) => object));
  const kept = before.objects.filter(
    (known) => !named.has(known.object) && known.bad.some(({ badBlockCount }) => badBlockCount > 0),
  );
  const objects = [...bad, ...kept].slice(0, maxInconsistentObjects);
  return { ...before, lastMs, copyErrors, objects };
}

/** Whether a PG has the objects of that name: a split may have given them to another one. */
export type Owns = (object: string) => boolean;

function errorsOf(objects: readonly InconsistentObject[]): { copies: number; blocks: number } {
  const bad = objects.flatMap((object) => object.bad);
  return {
    copies: bad.filter(({ problem }) => problem !== "none").length,
    blocks: bad.reduce((sum, { badBlockCount }) => sum + badBlockCount, 0),
  };
}

/**
 * What a record says of a PG's own objects, when the PG was divided since. Errors of objects that
 * are not listed, for there were too many, count for all that it was divided into.
 */
export function ownRecord(record: ScrubRecord, owns: Owns): ScrubRecord {
  const others = record.objects.filter(({ object }) => !owns(object));
  if (others.length === 0) return record;
  const { copies, blocks } = errorsOf(others);
  return {
    ...record,
    copyErrors: Math.max(0, record.copyErrors - copies),
    blockErrors: Math.max(0, record.blockErrors - blocks),
    objects: record.objects.filter(({ object }) => owns(object)),
  };
}

/** The same of what a scrub has found so far. */
export function ownFindings(findings: Findings, owns: Owns): Findings {
  const others = findings.bad.filter(({ object }) => !owns(object));
  if (others.length === 0) return findings;
  const { copies, blocks } = errorsOf(others);
  return {
    ...findings,
    copyErrors: findings.copyErrors - copies,
    blockErrors: findings.blockErrors - blocks,
    copiesLeft: findings.copiesLeft - copies,
    blocksLeft: findings.blocksLeft - blocks,
    bad: findings.bad.filter(({ object }) => owns(object)),
  };
}

/** Errors found by a scrub, and those of them that it repaired. */
export function countsOf(findings: Findings): { errors: number; repaired: number } {
  const errors = findings.copyErrors + findings.blockErrors;
  return { errors, repaired: errors - findings.copiesLeft - findings.blocksLeft };
}
