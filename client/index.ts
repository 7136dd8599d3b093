// The public API of the client library: docs/library.md.
export {
  ClusterClient,
  type ClusterClientOptions,
  type LogLine,
} from "./cluster/cluster-client.js";
export { MonitorSession, type SessionOptions } from "./cluster/monitor-session.js";
export {
  type ActivitySource,
  type DeviceTrace,
  imageActivity,
  traceImage,
} from "./image/activity.js";
export { ActivityRates, type ActivityRow, type ActivitySample } from "./image/activity-rates.js";
export type { AdvisoryLock, AdvisoryLocks } from "./image/advisory-lock-record.js";
export type { ImageLocks } from "./image/advisory-locks.js";
export type { ChildInfo, Clones, ParentInfo } from "./image/clones.js";
export type { ConfigRow, ImageConfig } from "./image/config-store.js";
export type { Copies, CopyOptions, CopyTarget } from "./image/copy.js";
export { type DiffExtent, type DiffOptions, diffExtents, type ExtentState } from "./image/diff.js";
export { type ExportDiffOptions, exportDiff, exportSnapshots } from "./image/export-diff.js";
export {
  defaultFeatures,
  type ImageFeature,
  imageFeatures,
  parseFeature,
} from "./image/features.js";
export type { GroupSnapshotInfo } from "./image/group-snapshots.js";
export type { GroupImageInfo, Groups } from "./image/groups.js";
export { Image, type OpenImageOptions } from "./image/image.js";
export { imageOptions } from "./image/image-config.js";
export { ImageLock } from "./image/image-lock.js";
export { checkImageName, type ImageSpec, parseImageSpec } from "./image/image-spec.js";
export { breakLock, type ImageUse, imageUse } from "./image/image-use.js";
export {
  type CreateOptions,
  Images,
  type OpenDevice,
  type OpenOptions,
  type ResizeOptions,
} from "./image/images.js";
export {
  type ImportDiffOptions,
  type ImportSnapshotsOptions,
  importDiff,
  importSnapshots,
} from "./image/import-diff.js";
export { extentsPerBatch, type ImportSource, importImage } from "./image/import-image.js";
export { DeviceInspector } from "./image/inspection.js";
export type { TraceFigures, TraceSummary } from "./image/inspection-record.js";
export type { ImageKey, SnapKey } from "./image/keys.js";
export type { LayoutOptions } from "./image/making.js";
export type { ImageMetadata } from "./image/metadata.js";
export type { MigrationInfo, Migrations, PrepareOptions } from "./image/migration.js";
export type { OriginSpec } from "./image/migration-source.js";
export { type NamespaceInfo, Namespaces } from "./image/namespaces.js";
export { type LockedImage, openLocked } from "./image/open-locked.js";
export { type OpenReader, openReader, type ReaderOptions } from "./image/open-reader.js";
export { type PoolUse, type PoolUser, refuseNeededPool, usersOfPool } from "./image/pool-users.js";
export { PurgeScheduler, type PurgeSchedulerPorts } from "./image/purge-scheduler.js";
export type { ImageInfo, Progress, Scope } from "./image/scope.js";
export type { SnapshotInfo, Snapshots } from "./image/snapshots.js";
export { defaultPool, type FullSpec, formatSpec, parseSpec, type SpecRules } from "./image/spec.js";
export type { PurgeOptions, Trash, TrashInfo } from "./image/trash.js";
export { lastPurge, purgeByPlan } from "./image/trash-purge.js";
export type { PurgeRun } from "./image/trash-purge-record.js";
