// Where the monitor keeps the epochs of the cluster map: as a port. docs/format/monitor-store.md
// Implementations: LevelMapStore (one monitor). Several monitors need a store with consensus
// behind the same interface (etcd); a monitor never agrees on an epoch by itself.
import { StorageError } from "../../common/errors.js";
import type { Epoch } from "../../common/units.js";
import { applyIncremental, checkHash, type Incremental, type OsdMap } from "../../proto/osd-map.js";

/** The epochs that a store holds: one full map, and every incremental after it. */
export interface MapHistory {
  base: OsdMap;
  /** of the epochs base.epoch + 1, + 2, ... without a gap */
  incrementals: Incremental[];
}

/** The newest epoch and the hash of its map. */
export interface MapHead {
  epoch: Epoch;
  hash: string;
}

export interface MapStore {
  readonly clusterId: string;
  /** The newest durable epoch. */
  head(): MapHead;
  /** All epochs kept, checked against the chain. @throws corrupt */
  load(): Promise<MapHistory>;
  /**
   * Makes an epoch durable: when this resolves it survives a power cut.
   * @param incremental leads from the head to map
   * @throws corrupt when it does not follow the head; io_error, no_space. After a failure the
   *   store takes no more: whether the epoch is durable is known only after opening it anew.
   */
  append(incremental: Incremental, map: OsdMap): Promise<void>;
  close(): Promise<void>;
}

/** The newest map of a history. @throws corrupt when the chain is broken */
export function newestOf(history: MapHistory): OsdMap {
  checkHash(history.base);
  return history.incrementals.reduce(applyIncremental, history.base);
}

/**
 * The map of an epoch of a history.
 * @throws not_found when it is not kept any more, or not made yet
 */
export function mapAt(history: MapHistory, epoch: Epoch): OsdMap {
  const steps = epoch - history.base.epoch;
  if (steps < 0 || steps > history.incrementals.length) {
    const last = history.base.epoch + history.incrementals.length;
    throw new StorageError(
      "not_found",
      `map epoch ${epoch} is not kept: there are ${history.base.epoch} to ${last}`,
    );
  }
  return history.incrementals.slice(0, steps).reduce(applyIncremental, history.base);
}
