// A map store in memory, for tests of what is above the store. failNext makes an append fail.
import { StorageError } from "../../common/errors.js";
import type { Incremental, OsdMap } from "../../proto/osd-map.js";
import type { MapHead, MapHistory, MapStore } from "../store/map-store.js";

export class MemoryMapStore implements MapStore {
  failNext = false;
  private readonly incrementals: Incremental[] = [];
  private newest: OsdMap;

  constructor(private readonly base: OsdMap) {
    this.newest = base;
  }

  /** What a new process finds; what the old one appends from now on is lost. */
  handOver(): MemoryMapStore {
    const found = new MemoryMapStore(this.base);
    found.incrementals.push(...this.incrementals);
    found.newest = this.newest;
    return found;
  }

  get clusterId(): string {
    return this.base.clusterId;
  }

  head(): MapHead {
    return { epoch: this.newest.epoch, hash: this.newest.hash };
  }

  load(): Promise<MapHistory> {
    return Promise.resolve({ base: this.base, incrementals: [...this.incrementals] });
  }

  append(incremental: Incremental, map: OsdMap): Promise<void> {
    if (this.failNext) return Promise.reject(new StorageError("no_space", "the disk is full"));
    this.incrementals.push(incremental);
    this.newest = map;
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
