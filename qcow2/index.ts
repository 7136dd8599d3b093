// What other folders use of the qcow2 format.
export { ImageChain, type Layer } from "./chain.js";
export { type CheckResult, check } from "./check.js";
export { type CreateOptions, createQcow2 } from "./create.js";
export type { Qcow2Header } from "./header.js";
export { Qcow2Image } from "./image.js";
export {
  type CompressedExtent,
  type DataExtent,
  hasData,
  type MapExtent,
  type MapSummary,
  map,
  summarize,
  type ZeroExtent,
} from "./map.js";
export { type ImageFormat, probe } from "./probe.js";
export { readSnapshots, type Snapshot } from "./snapshots.js";
export { type ByteSource, FileSource, hex, type ImageFile, imageError } from "./source.js";
