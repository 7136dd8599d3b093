// The cluster map that an OSD has, advanced by what the monitor sends: in epoch order, with the
// hash chain checked. Pure.
import { StorageError } from "../../common/errors.js";
import { epoch, noEpoch } from "../../common/units.js";
import { checkFollows } from "../../proto/generation.js";
import type { Maps, Subscribe } from "../../proto/messages.js";
import { applyIncremental, checkHash, type OsdMap } from "../../proto/osd-map.js";

/** Asks the monitor for a whole map, whatever we have. */
export const subscribeAnew: Subscribe = { kind: "subscribe", fromEpoch: noEpoch };

/** Asks for what follows the map that we have. */
export function subscribeBehind({ epoch: have, hash }: OsdMap): Subscribe {
  return { kind: "subscribe", fromEpoch: epoch(have + 1), haveHash: hash };
}

/** One map, and whether it follows the one before directly. */
export interface MapStep {
  map: OsdMap;
  contiguous: boolean;
}

/**
 * The maps that a message adds to the newest one that we have, oldest first; what we have already
 * is passed over.
 * @throws corrupt: gap, fork, or a hash that is not that of its content; fetch anew. wrong_cluster:
 *   a map of an older generation, or of a newer one that was made without what we know; give up
 */
export function mapsAfter(have: OsdMap | undefined, message: Maps): MapStep[] {
  const steps: MapStep[] = [];
  let newest = have;
  const { full } = message;
  if (full !== undefined && newest !== undefined) checkFollows(full, newest);
  if (full !== undefined && full.epoch > (newest?.epoch ?? 0)) {
    checkHash(full);
    steps.push({ map: full, contiguous: have !== undefined && full.epoch === have.epoch + 1 });
    newest = full;
  }
  for (const incremental of message.incrementals) {
    if (newest === undefined) {
      throw new StorageError("corrupt", `incremental map ${incremental.epoch} without a full one`);
    }
    if (incremental.epoch <= newest.epoch) continue;
    newest = applyIncremental(newest, incremental);
    steps.push({ map: newest, contiguous: true });
  }
  return steps;
}
