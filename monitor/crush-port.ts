// What the monitor needs of CRUSH, as a port: crush/ (text maps) and the native core (mapping)
// implement it in the composition root, tests do without them.
import type { OsdInfo } from "../proto/osd-map.js";
import type { CrushMapper } from "../proto/placement.js";

export interface CrushRule {
  id: number;
  name: string;
}

/** A bucket or device of a CRUSH map, depth first. */
export interface CrushNode {
  /** negative: a bucket */
  id: number;
  name: string;
  type: string;
  depth: number;
  weight: number;
}

export interface CrushPort {
  /** The text map of these OSDs: root, hosts, OSDs weighted by size, one replicated rule. */
  build(osds: readonly OsdInfo[], failureDomain: string): string;
  /** @throws invalid_argument or corrupt when the text is no CRUSH map */
  rules(text: string): CrushRule[];
  nodes(text: string): CrushNode[];
  compile(text: string): Uint8Array;
  readonly mapper: CrushMapper;
}
