// What a change that was cut off has left in a header, and whoever takes the lock next finishes.
import type { ImageAccess } from "./access.js";
import { finishDetach } from "./family.js";
import { finishRollback } from "./rollback.js";
import { finishRemovals } from "./snapshot-changes.js";

/** Before anybody reads or writes the image. */
export function finishBeforeUse(access: ImageAccess): Promise<void> {
  return finishRollback(access);
}

/** What takes no part in what the image shows. */
export async function finishLater(access: ImageAccess): Promise<void> {
  // First: a removal may take the last reference to another parent away.
  await finishDetach(access);
  await finishRemovals(access);
}
