// What other folders may use of the OSD daemon.
export {
  identityFile,
  type MkfsOsdOptions,
  mkfsOsd,
  type OfflineOsd,
  type OsdHandle,
  type OsdPorts,
  readOfflineOsd,
  runOsd,
  storePath,
} from "./main.js";
