// The clones that an image's header counts. One that is gone without a word, because its own header
// could not tell any more whose clone it was, is lost: it is taken out of the books by whoever
// meets it there.
import { listKeys } from "./directory-object.js";
import { headerObject } from "./header.js";
import { hasCode, valueMap } from "./omap-values.js";
import { childPrefix, type ImageRef, imageRefChecker } from "./references.js";
import type { Scope } from "./scope.js";

export interface CountedChild {
  /** of the snapshot that it is a clone of */
  snapId: number;
  image: ImageRef;
  /** there is no such image any more, not even one that is being made or removed */
  isLost: boolean;
}

const parallel = 16;

/** @param only a snapshot's id; undefined: the clones of all of them */
export async function childrenOf(scope: Scope, id: string, only?: number): Promise<CountedChild[]> {
  const { omap } = await listKeys(scope.io, [scope.pool.id, headerObject(id)], childPrefix);
  const counted = omap
    .map(([key, value]) => ({
      snapId: Number.parseInt(key.slice(childPrefix.length), 16),
      image: valueMap(value, imageRefChecker, key),
    }))
    .filter(({ snapId }) => only === undefined || snapId === only);
  const found: CountedChild[] = [];
  for (let at = 0; at < counted.length; at += parallel) {
    const batch = counted.slice(at, at + parallel);
    const some = batch.map(async (child) => ({
      ...child,
      isLost: await isLost(scope, child.image),
    }));
    found.push(...(await Promise.all(some)));
  }
  return found;
}

/**
 * Ids are never used again, and a directory has them from before anybody counts them as a child
 * until nobody does. What has a header all the same is not lost: the directory is.
 */
async function isLost(scope: Scope, { pool, namespace, imageId }: ImageRef): Promise<boolean> {
  try {
    const there = scope.elsewhere(pool, namespace);
    if (await there.directory.hasId(imageId)) return false;
    return (await there.headerValues(imageId)) === undefined;
  } catch (thrown) {
    // Its pool has been removed.
    if (hasCode(thrown, "not_found")) return true;
    throw thrown;
  }
}
