// What a migration does next, from what the two headers say now: pure. Each step is carried out by
// one atomic change (migration.ts), after which the headers are looked at again: so a verb that was
// cut off anywhere goes on when it is called once more.
//
// Invariants
//  - The source is used by its target only, from the mark in its header until that goes.
//  - The target can be opened only while the source is marked for it, or is not needed any more.
//  - The source is removed only when the target has everything; the record of the target goes last.
//  - An abort gives the source free before the target goes, so that one of them can always be used.
import { StorageError } from "../../common/errors.js";
import type { MigrationState } from "./migration-record.js";

export type MigrationVerb = "prepare" | "execute" | "commit" | "abort";

/** Of an image that others are made of: what its header says of us. "none": the source is files. */
export type SourceView = "none" | "free" | "ours" | "another's" | "gone";

export interface MigrationView {
  /** undefined: the target's header has no record of a migration */
  target: MigrationState | undefined;
  source: SourceView;
}

export type MigrationStep =
  | "markSource"
  | "beginCopy"
  | "copy"
  | "removeSource"
  | "endMigration"
  | "freeSource"
  | "removeTarget"
  | "done";

/**
 * @param copied by this call of execute: what was copied is whole
 * @throws invalid_argument: no such step in this order, with the verb that mends it; busy; corrupt
 */
export function nextStep(verb: MigrationVerb, view: MigrationView, spec: string): MigrationStep {
  const { target } = view;
  if (target === undefined) {
    throw new StorageError("invalid_argument", `${spec} is not the target of a migration`, {
      remedy: "`cairn migration prepare` begins one.",
    });
  }
  if (verb === "prepare") return prepare(view, spec);
  if (verb === "abort") return view.source === "ours" ? "freeSource" : "removeTarget";
  requireSource(view, spec);
  if (verb === "execute") {
    if (target === "prepared") return "beginCopy";
    return target === "executing" ? "copy" : "done";
  }
  if (target !== "executed") {
    throw new StorageError("busy", `${spec} has not all of its data yet: it is ${target}`, {
      remedy: `Copy the rest first: cairn migration execute ${spec}`,
    });
  }
  return view.source === "ours" ? "removeSource" : "endMigration";
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
