// The public API of the client library.
export {
  ClusterClient,
  type ClusterClientOptions,
  type LogLine,
} from "./cluster/cluster-client.js";
export { MonitorSession, type SessionOptions } from "./cluster/monitor-session.js";
export { ImageLock } from "./image/image-lock.js";
export { checkImageName, type ImageSpec, parseImageSpec } from "./image/image-spec.js";
export { breakLock, type ImageUse, imageUse } from "./image/image-use.js";
export { type ImageInfo, Images, type OpenDevice, type Progress } from "./image/images.js";
export { extentsPerBatch, type ImportSource, importImage } from "./image/import-image.js";
export { type LockedImage, openLocked } from "./image/open-locked.js";
