// Taking lost clones out of a parent's books.
import { childrenOf } from "./children.js";
import { leaveParent } from "./family.js";
import type { Scope } from "./scope.js";

/**
 * Can be repeated. A snapshot that was kept for these only goes with them.
 * @param only a snapshot's id; undefined: the clones of all of them
 */
export async function forgetLostChildren(scope: Scope, id: string, only?: number): Promise<void> {
  for (const { snapId, image, isLost } of await childrenOf(scope, id, only)) {
    if (isLost) await leaveParent(scope, { ...scope.refOf(id), snapId }, image);
  }
}
