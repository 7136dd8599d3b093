// What a migration does next, from what the two headers say now: pure. Each step is carried out by
// one atomic change (migration.ts), after which the headers are looked at again: so a verb that was
// cut off anywhere goes on when it is called once more.
//
// Invariants
//  - The source is used by its target only, from the mark in its header until that goes.
//  - The target can be opened only while the source is marked for it, or is not needed any more.
//  - The source is removed only when the target has everything; the record of the target goes last.
//  - An abort gives the source free before the target goes, so that one of them can always be used.
//  - Neither of the two goes while an image is a clone of it. No clones are made of a source, nor
//    of a target that has not everything, or is being aborted. Until the source is free, that one
//    can be used, and execute makes it again what it was.
import { StorageError } from "../../common/errors.js";
import type { MigrationState } from "./migration-record.js";

export type MigrationVerb = "prepare" | "execute" | "commit" | "abort";

/**
 * Of an image that others are made of: what its header says of us. "none": the source is files;
 * "going": ours, and it is being removed.
 */
export type SourceView = "none" | "free" | "ours" | "going" | "another's" | "gone";

export interface MigrationView {
  /** undefined: the target's header has no record of a migration */
  target: MigrationState | undefined;
  source: SourceView;
  /** whether there are clones of the source's snapshots, and of the target's */
  clones: { source: boolean; target: boolean };
}

export type MigrationStep =
  | "markSource"
  | "beginCopy"
  | "copy"
  | "takeBackAbort"
  | "moveClones"
  | "removeSource"
  | "endMigration"
  | "beginAbort"
  | "returnClones"
  | "freeSource"
  | "removeTarget"
  | "done";

/**
 * @param copied by this call of execute: what was copied is whole
 * @throws invalid_argument: no such step in this order, with the verb that mends it; busy; corrupt
 */
export function nextStep(verb: MigrationVerb, view: MigrationView, spec: string): MigrationStep {
  const { target, source, clones } = view;
  if (target === undefined) {
    throw new StorageError("invalid_argument", `${spec} is not the target of a migration`, {
      remedy: "`cairn migration prepare` begins one.",
    });
  }
  if (verb === "prepare") return prepare(view, spec);
  if (verb === "abort") return abort(view, spec);
  requireSource(view, spec);
  if (verb === "execute") {
    if (target === "prepared") return "beginCopy";
    if (target === "aborting") return "takeBackAbort";
    return target === "executing" ? "copy" : "done";
  }
  if (target !== "executed") {
    throw new StorageError("busy", `${spec} is ${target}, and not executed`, {
      remedy: `First: cairn migration execute ${spec}`,
    });
  }
  if (source === "ours" && clones.source) return "moveClones";
  return source === "ours" || source === "going" ? "removeSource" : "endMigration";
}

function abort({ target, source, clones }: MigrationView, spec: string): MigrationStep {
  if (source === "going" || (source === "gone" && target === "executed")) {
    throw new StorageError("busy", `the source of ${spec} is being removed, or is gone`, {
      remedy: `Its migration can only be ended: cairn migration commit ${spec}`,
    });
  }
  if (source !== "ours") return "removeTarget";
  if (target === "executed") return "beginAbort";
  return clones.target ? "returnClones" : "freeSource";
}

function prepare({ source }: MigrationView, spec: string): MigrationStep {
  if (source === "free") return "markSource";
  if (source === "another's" || source === "gone") {
    throw new StorageError("busy", "the source is being migrated elsewhere, or is gone", {
      remedy: `Take the new image away: cairn migration abort ${spec}`,
    });
  }
  return "done";
}

/** That the target may be read: nothing of the source is missed. @throws busy, not_found */
export function requireSource({ target, source }: MigrationView, spec: string): void {
  if (target === undefined || target === "executed") return;
  if (source === "none" || source === "ours") return;
  const why =
    source === "gone"
      ? "the image that it is made of is gone"
      : "the image that it is made of can still be used: the migration was cut off";
  throw new StorageError(source === "gone" ? "not_found" : "busy", `${spec}: ${why}`, {
    remedy: `Begin anew: cairn migration abort ${spec}, then cairn migration prepare.`,
  });
}
