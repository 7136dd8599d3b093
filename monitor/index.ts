// What other folders (cli) use of the monitor.
export { addressFile, type MonitorHandle, mkfs, runMonitor } from "./main.js";
export { type Rebuilt, rebuild } from "./rebuild-store.js";
