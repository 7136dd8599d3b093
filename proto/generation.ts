// Generations of the cluster map. When the monitor's store is lost and made anew from maps that
// the OSDs hold, nobody knows which epochs the lost one had given out after those. So the new one
// begins a new generation: the high bits of the epoch go up by one, and no epoch is ever used
// twice. Pure.
//
//   epoch (32 bits):  generation 6 bits | number 26 bits
//
// A generation has 67 million epochs; one that uses them up runs into the next one, which does no
// harm, since a rebuild always takes the one above every generation that it finds.
import { StorageError } from "../common/errors.js";
import { type Epoch, epoch } from "../common/units.js";
import type { OsdMap } from "./osd-map.js";

const epochsOfGeneration = 2 ** 26;
const maxGeneration = 63;

/** The generation that an epoch belongs to; 0: that of a cluster that was never rebuilt. */
export function generationOf(of: number): number {
  return Math.floor(of / epochsOfGeneration);
}

/** @throws out_of_range when there is no such generation */
export function firstEpochOf(generation: number): Epoch {
  if (generation > maxGeneration) {
    throw new StorageError("out_of_range", `the map has used up its ${maxGeneration} generations`);
  }
  return epoch(generation * epochsOfGeneration);
}

/** The newest map that somebody has; its hash, if it is known. */
export interface HeldMap {
  epoch: number;
  hash?: string | undefined;
}

/**
 * Checks that whoever holds a map of an older generation may follow one of a newer generation: what
 * it holds must not be newer than what the newer generation was made from.
 * @throws wrong_cluster
 */
export function checkFollows(map: Pick<OsdMap, "epoch" | "rebuilds">, held: HeldMap): void {
  const [from, to] = [generationOf(held.epoch), generationOf(map.epoch)];
  if (from === to) return;
  if (from > to) {
    throw foreign(`map epoch ${map.epoch} is of an older generation than epoch ${held.epoch}`);
  }
  const rebuild = map.rebuilds?.find(({ generation }) => generation > from);
  if (rebuild === undefined) {
    throw foreign(`map epoch ${map.epoch} does not say what its generation was made from`);
  }
  const { fromEpoch, fromHash } = rebuild;
  if (held.epoch > fromEpoch) {
    throw foreign(
      `map epoch ${held.epoch} is newer than epoch ${fromEpoch}, from which the monitor's store ` +
        "was made anew",
    );
  }
  if (held.epoch === fromEpoch && held.hash !== undefined && held.hash !== fromHash) {
    throw foreign(`map epoch ${fromEpoch} is another one than that the store was made anew from`);
  }
}

function foreign(why: string): StorageError {
  return new StorageError("wrong_cluster", `another history of the map: ${why}`, {
    remedy:
      "This daemon may know of pools and writes that the rebuilt map does not. " +
      "docs/operating/monitor-recovery.md tells what can be done.",
  });
}
