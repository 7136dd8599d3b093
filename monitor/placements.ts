// Where all PGs are by a map: computed when first asked for, kept for the newest map asked about.
import type { PgId } from "../common/units.js";
import type { OsdMap } from "../proto/osd-map.js";
import { allPlacements, type PgPlacement } from "../proto/placement.js";
import type { CrushPort } from "./crush-port.js";

export class PlacementCache {
  private compiled: { text: string; bytes: Uint8Array } | undefined;
  private placed: { hash: string; placements: ReadonlyMap<PgId, PgPlacement> } | undefined;

  constructor(private readonly crush: CrushPort) {}

  /** The placements of all PGs of a sealed map. */
  of(map: OsdMap): ReadonlyMap<PgId, PgPlacement> {
    if (this.placed?.hash !== map.hash) {
      const placements = allPlacements(map, this.compile(map.crush), this.crush.mapper);
      this.placed = { hash: map.hash, placements };
    }
    return this.placed.placements;
  }

  private compile(text: string): Uint8Array {
    if (this.compiled?.text !== text) this.compiled = { text, bytes: this.crush.compile(text) };
    return this.compiled.bytes;
  }
}
