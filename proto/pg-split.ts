// Which PGs come of which when a pool gets more of them: docs/protocol/splitting.md. Pure.
import { assert } from "../common/assert.js";

/** Holds a PG's fencing tokens (docs/protocol/fencing.md): each PG has one, whatever its hash. */
export const fenceObject = ".cairn_fence";

/**
 * The seeds of the PGs that get objects of a PG, when the pool grows from `from` to `to` PGs.
 * @param seed below from
 * @param from a power of two, as `to` is
 * @returns ascending; none when `to` is not above `from`
 */
export function childSeeds(seed: number, from: number, to: number): number[] {
  assert(seed < from, "a PG that there was");
  const children: number[] = [];
  for (let child = seed + from; child < to; child += from) children.push(child);
  return children;
}
