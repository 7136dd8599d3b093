// The verbs on a cluster as a whole: `up`, `down`, `status`, `health`.
import { countValue, durationValue, sizeValue } from "../options.js";
import {
  clusterRows,
  dirRow,
  flag,
  optional,
  outputRows,
  progressRows,
  withDefault,
} from "../table/option-rows.js";
import { image, maybe, word } from "../table/slots.js";
import { type Family, verb } from "../table/verb.js";

const up = verb({
  name: "up",
  summary: "Start a cluster on this machine, or what of it is not running.",
  details: [
    "A new cluster has a monitor, OSDs and the pool `rbd`. Returns when the cluster is healthy. " +
      "A call that fails stops the daemons that it has started.",
    "--osds and --osd-size are those of a new cluster. One that is there is started as it is, " +
      "and refused if it has others.",
  ],
  options: {
    osds: optional("n", "OSDs of the cluster", countValue(1, 64), {
      otherwiseText: "3",
    }),
    osdSize: optional("size", "store of each OSD (a sparse file)", sizeValue, {
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

const df = verb({
  name: "df",
  summary: "Show what is stored in each pool, and how much of the OSDs is used.",
  details: [
    "STORED is what clients have written and not discarded, USED what all copies of it take, MAX " +
      "AVAIL what clients can still store when nothing else grows.",
  ],
  options: clusterRows,
  examples: ["cairn df", "cairn df --format json"],
  load: async () => (await import("../usage.js")).dfAction,
});

const logLast = verb({
  name: "log last",
  summary: "Show what has happened to the cluster: health, OSDs, pools, settings.",
  details: ["The monitor keeps the newest 1000 entries, also over its restarts."],
  slots: [maybe(word("n", "how many entries; 20 when it is left out", countValue(1, 1000)))],
  options: {
    watch: flag("go on and print what happens, until SIGINT", { short: "w" }),
    ...clusterRows,
  },
  examples: ["cairn log last", "cairn log last 100 --format json", "cairn log last 1 -w"],
  load: async () => (await import("../cluster-log.js")).lastAction,
});

const auth = verb({
  name: "auth",
  aliases: ["auth ls"],
  summary: "Say who may do what: there are no users and keys yet.",
  options: outputRows,
  examples: ["cairn auth"],
  load: async () => (await import("../cluster-log.js")).authAction,
});

export const clusterFamily: Family = {
  title: "Cluster",
  verbs: [up, down, status, health, df, logLast, auth],
};
