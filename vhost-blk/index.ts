// What other folders use of the exports.
export {
  checkSocketPath,
  defaultQueues,
  type ExportTarget,
  maxQueues,
  type RunningExport,
  serialOf,
  serve,
} from "./export-server.js";
