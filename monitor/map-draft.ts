// The epoch in the making: changes that services agreed on, on top of the newest sealed map.
//
// Invariant: every service sees the changes of those before it, under the epoch that they will
// have. sealNext() turns them into one incremental, whatever their number.
import {
  applyChanges,
  diff,
  type Incremental,
  type MapChanges,
  makeIncremental,
  type OsdMap,
} from "../proto/osd-map.js";

export class MapDraft {
  private draft: OsdMap;
  private touched = false;

  /** @param newest the newest sealed map */
  constructor(private newest: OsdMap) {
    this.draft = applyChanges(newest, {}, newest.modifiedAt);
  }

  /** The map being made. Its hash is not valid yet. */
  view(): OsdMap {
    return this.draft;
  }

  /** The newest sealed map. */
  sealed(): OsdMap {
    return this.newest;
  }

  add(changes: MapChanges): void {
    this.draft = applyChanges(
      { ...this.draft, epoch: this.newest.epoch, hash: this.newest.hash },
      changes,
      this.newest.modifiedAt,
    );
    this.touched = true;
  }

  /**
   * Closes the epoch; a new one, still empty, is begun on top of it.
   * @param wallMs milliseconds since 1970
   * @returns undefined when nothing has changed
   */
  sealNext(wallMs: number): { incremental: Incremental; map: OsdMap } | undefined {
    if (!this.touched) return undefined;
    const changes = diff(this.newest, this.draft);
    this.touched = false;
    if (Object.keys(changes).length === 0) return undefined;
    const made = makeIncremental(this.newest, changes, wallMs);
    this.newest = made.map;
    this.draft = applyChanges(made.map, {}, made.map.modifiedAt);
    return made;
  }
}
