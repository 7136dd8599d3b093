// The table of all verbs.
import type { Family } from "../table/verb.js";
import { activityFamily } from "./activity.js";
import { clusterFamily } from "./cluster.js";
import { crushFamily, daemonFamily } from "./daemons.js";
import { imageSettingFamily } from "./image-settings.js";
import { imageFamily } from "./images.js";
import { laterFamily } from "./later.js";
import { migrationFamily } from "./migration.js";
import { configFamily, osdFamily } from "./osds.js";
import { groupFamily, namespaceFamily, trashFamily } from "./places.js";
import { pgFamily, poolFamily } from "./pools.js";
import { shellFamily } from "./shell.js";
import { cloneFamily, snapshotFamily } from "./snapshots.js";
import { useFamily } from "./use.js";

/** Those that do something. */
export const usableFamilies: readonly Family[] = [
  clusterFamily,
  imageFamily,
  snapshotFamily,
  cloneFamily,
  migrationFamily,
  trashFamily,
  groupFamily,
  namespaceFamily,
  imageSettingFamily,
  useFamily,
  activityFamily,
  poolFamily,
  pgFamily,
  osdFamily,
  configFamily,
  daemonFamily,
  crushFamily,
  shellFamily(() => usableFamilies),
];

/** All that the parser knows. */
export const families: readonly Family[] = [...usableFamilies, laterFamily];
