// CRUSH for real: the text map by crush/, the mapping by the native core.
import { compileCrushMap, parseCrushMap } from "../crush/index.js";
import { native } from "../native/index.js";
import type { CrushPort } from "./map/placement-tracker.js";

export const nativeCrush: CrushPort = {
  compile: (text) => compileCrushMap(parseCrushMap(text)),
  mapper: {
    mapPgs: (compiled, ruleId, poolId, pgNum, size, weights) =>
      native.crushMapPgs(compiled, ruleId, poolId, pgNum, size, weights),
  },
};
