// Which function carries out which change of an image. Called with exclusive access to it.
import { StorageError } from "../../common/errors.js";
import type { ImageAccess } from "./access.js";
import { finishDetach } from "./family.js";
import { changeFeatures } from "./feature-change.js";
import { flatten } from "./flatten.js";
import type { ImageChange } from "./image-change.js";
import { copyRest, markSource } from "./migration-changes.js";
import { relink } from "./migration-clones.js";
import { refuseMigrating } from "./migration-state.js";
import { markRollback, rollback } from "./rollback.js";
import { finishTrim, resizeImage } from "./size.js";
import { createSnapshot, removeSnapshot, renameSnapshot } from "./snapshot-changes.js";
import { finishBeforeUse, finishLater } from "./unfinished.js";

/** Changes that take references to a parent away. */
const leavesParent: readonly ImageChange["kind"][] = ["flatten", "snapRemove", "rollback"];

export async function carryOutChange(access: ImageAccess, change: ImageChange): Promise<void> {
  const { scope, id, request } = access;
  const header = await scope.header(id);
  // An earlier holder may have made the change, and was heard of no more.
  if (request !== undefined && header.requests.includes(request)) {
    // Decided, but perhaps not carried through.
    await finishTrim(access);
    return finishLater(access);
  }
  if (!["settle", "migrationMark", "migrationExecute"].includes(change.kind)) {
    await refuseMigrating(scope, header);
  }
  // One parent after the other: there is one note of those that are left.
  if (header.detaching !== undefined && leavesParent.includes(change.kind)) {
    await finishDetach(access);
  }
  switch (change.kind) {
    case "resize":
      return resizeImage(access, change);
    case "snapCreate":
      return createSnapshot(access, change);
    case "snapRemove":
      return removeSnapshot(access, change);
    case "snapRename":
      return renameSnapshot(access, change);
    case "rollback":
      return rollback(access, change.snapId);
    case "rollbackMark":
      return markRollback(access, change);
    case "flatten":
      return flatten(access);
    case "features":
      return changeFeatures(access, change);
    case "migrationMark":
      return markSource(access, change);
    case "migrationExecute":
      return copyRest(access);
    case "relink":
      return relink(access, change);
    case "settle":
      await access.quiesced(() => finishBeforeUse(access));
      return finishLater(access);
    case "pause":
    case "resume":
      throw new StorageError("invalid_argument", "only an image that is in use can be paused");
  }
}
