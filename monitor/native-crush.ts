// CrushPort for real: maps as text by crush/, the mapping by the native core.
import { native } from "../native/index.js";
import type { CrushPort } from "./crush-port.js";
import { crushText } from "./crush-text.js";

export const nativeCrush: CrushPort = {
  ...crushText,
  mapper: {
    mapPgs: (compiled, ruleId, poolId, pgNum, size, weights) =>
      native.crushMapPgs(compiled, ruleId, poolId, pgNum, size, weights),
  },
};
