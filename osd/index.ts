// What other folders may use of the OSD daemon.
export {
  identityFile,
  type MkfsOsdOptions,
  mkfsOsd,
  type OsdHandle,
  type OsdPorts,
  runOsd,
  storePath,
  untilSignal,
} from "./main.js";
