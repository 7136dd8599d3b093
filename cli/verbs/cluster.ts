// The verbs on a cluster as a whole: `up`, `down`, `status`, `health`.
import { countValue, durationValue, sizeValue } from "../options.js";
import {
  clusterRows,
  dirRow,
  flag,
  outputRows,
  progressRows,
  withDefault,
} from "../table/option-rows.js";
import { image, maybe } from "../table/slots.js";
import { type Family, verb } from "../table/verb.js";

const gibibyte = 2 ** 30;

const up = verb({
  name: "up",
  summary: "Start a cluster on this machine, or what of it is not running.",
  details: [
    "A new cluster has a monitor, OSDs and the pool `rbd`. Returns when the cluster is healthy. " +
      "A call that fails stops the daemons that it has started.",
  ],
  options: {
    osds: withDefault("n", "OSDs of a new cluster", countValue(1, 64), 3),
    osdSize: withDefault("size", "store of each OSD (a sparse file)", sizeValue, 20 * gibibyte, {
      otherwiseText: "20G",
    }),
    timeout: withDefault("duration", "give up after this", durationValue, 120_000, {
      otherwiseText: "2m",
    }),
    ...outputRows,
    ...dirRow,
    ...progressRows,
  },
  examples: ["cairn up", "cairn up --dir /var/lib/cairn --osds 5 --osd-size 100G"],
  load: async () => (await import("../cluster.js")).upAction,
});

const down = verb({
  name: "down",
  summary: "Stop the daemons of a local cluster.",
  options: {
    purge: flag("remove its folder too, with all data"),
    grace: withDefault(
      "duration",
      "kill a daemon that still runs after this",
      durationValue,
      10_000,
      { otherwiseText: "10s" },
    ),
    ...outputRows,
    ...dirRow,
  },
  examples: ["cairn down", "cairn down --purge"],
  load: async () => (await import("../cluster.js")).downAction,
});

const status = verb({
  name: "status",
  summary: "Show the state of the cluster; of an image: its lock and who watches it.",
  slots: [maybe(image("an image"))],
  options: clusterRows,
  examples: [
    "cairn status",
    "cairn status rbd/disk1",
    "cairn status --monitor 127.0.0.1:6789 --format json",
  ],
  load: async () => (await import("../cluster.js")).statusAction,
});

const health = verb({
  name: "health",
  summary: "Show what is wrong with the cluster, if anything, and what to do.",
  options: clusterRows,
  examples: ["cairn health"],
  exits: ["1 also when the cluster is HEALTH_ERR"],
  load: async () => (await import("../cluster.js")).healthAction,
});

export const clusterFamily: Family = { title: "Cluster", verbs: [up, down, status, health] };
