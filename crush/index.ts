// The public face of crush/: what monitor, client, osd and cli import.
export {
  addOsd,
  defaultMap,
  type FailureDomain,
  type OsdSpec,
  osdName,
  removeOsd,
  reweight,
} from "./builder.js";
export { compileCrushMap } from "./compiled.js";
export {
  type CrushBucket,
  type CrushDevice,
  type CrushItem,
  type CrushMap,
  type CrushRule,
  type CrushTunables,
  type CrushType,
  itemNone,
  itemUndef,
  jewelTunables,
  maxDevices,
  type RuleStep,
  weightOne,
} from "./map.js";
export { parseCrushMap } from "./parse.js";
export { printCrushMap } from "./print.js";
export {
  type CrushPort,
  checkTestOptions,
  formatMappings,
  type Mapping,
  mappingsOf,
  osdWeights,
  runTest,
  SummaryCounter,
  type TestOptions,
  type TestSummary,
} from "./tester.js";
export { validateMap } from "./validate.js";
