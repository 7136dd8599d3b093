// The verbs on what can be set for an image: metadata, configuration, features.
import { InvalidArgumentError } from "commander";
import { isConfigEntity } from "../../proto/image-options.js";
import { featuresValue } from "../table/layout-rows.js";
import { asIs, clusterRows, longRows } from "../table/option-rows.js";
import { image, imageOrSnapshot, rest, word } from "../table/slots.js";
import { type Family, type Verb, verb } from "../table/verb.js";
import { poolName } from "./pools.js";

const imageSlot = image("the image");
const keySlot = word("key", "the key", asIs);
const optionSlot = word("option", "its name, such as rbd_qos_iops_limit", asIs);

const metaList = verb({
  name: "image-meta ls",
  aliases: ["image-meta list"],
  summary: "List the metadata of an image.",
  slots: [imageSlot],
  options: clusterRows,
  examples: ["cairn image-meta ls rbd/disk1"],
  load: async () => (await import("../image-settings.js")).metaListAction,
});

const metaGet = verb({
  name: "image-meta get",
  summary: "Show a value of an image's metadata.",
  slots: [imageSlot, keySlot],
  options: clusterRows,
  examples: ["cairn image-meta get rbd/disk1 owner"],
  load: async () => (await import("../image-settings.js")).metaGetAction,
});

const metaSet = verb({
  name: "image-meta set",
  summary: "Set a key of an image's metadata.",
  slots: [imageSlot, keySlot, word("value", "its value", asIs)],
  options: clusterRows,
  examples: ["cairn image-meta set rbd/disk1 owner alice"],
  load: async () => (await import("../image-settings.js")).metaSetAction,
});

const metaRemove = verb({
  name: "image-meta rm",
  aliases: ["image-meta remove"],
  summary: "Remove a key of an image's metadata.",
  slots: [imageSlot, keySlot],
  options: clusterRows,
  examples: ["cairn image-meta rm rbd/disk1 owner"],
  load: async () => (await import("../image-settings.js")).metaRemoveAction,
});

const configList = verb({
  name: "config image ls",
  aliases: ["config image list"],
  summary: "List the options of an image, and where their values come from.",
  slots: [imageSlot],
  options: clusterRows,
  examples: ["cairn config image ls rbd/disk1"],
  load: async () => (await import("../image-settings.js")).configListAction,
});

const configGet = verb({
  name: "config image get",
  summary: "Show an option that is set for an image.",
  slots: [imageSlot, optionSlot],
  options: clusterRows,
  examples: ["cairn config image get rbd/disk1 rbd_qos_iops_limit"],
  load: async () => (await import("../image-settings.js")).configGetAction,
});

const configSet = verb({
  name: "config image set",
  summary: "Set an option of an image; it takes effect where the image is in use.",
  slots: [imageSlot, optionSlot, word("value", "its value: a number, with K, M or G", asIs)],
  options: clusterRows,
  examples: ["cairn config image set rbd/disk1 rbd_qos_iops_limit 500"],
  load: async () => (await import("../image-settings.js")).configSetAction,
});

const configRemove = verb({
  name: "config image rm",
  aliases: ["config image remove"],
  summary: "Take an option of an image away: its pool's holds.",
  slots: [imageSlot, optionSlot],
  options: clusterRows,
  examples: ["cairn config image rm rbd/disk1 rbd_qos_iops_limit"],
  load: async () => (await import("../image-settings.js")).configRemoveAction,
});

const poolList = verb({
  name: "config pool ls",
  aliases: ["config pool list"],
  summary: "List the options that hold for all images of a pool.",
  slots: [poolName],
  options: clusterRows,
  examples: ["cairn config pool ls rbd"],
  load: async () => (await import("../image-settings.js")).poolConfigListAction,
});

const poolGet = verb({
  name: "config pool get",
  summary: "Show an option that is set for all images of a pool.",
  slots: [poolName, optionSlot],
  options: clusterRows,
  examples: ["cairn config pool get rbd rbd_qos_iops_limit"],
  load: async () => (await import("../image-settings.js")).poolConfigGetAction,
});

const poolSet = verb({
  name: "config pool set",
  summary: "Set an option for all images of a pool that have no value of their own.",
  slots: [poolName, optionSlot, word("value", "its value: a number, with K, M or G", asIs)],
  options: clusterRows,
  examples: ["cairn config pool set rbd rbd_qos_iops_limit 2000"],
  load: async () => (await import("../image-settings.js")).poolConfigSetAction,
});

const poolRemove = verb({
  name: "config pool rm",
  aliases: ["config pool remove"],
  summary: "Take an option for all images of a pool away.",
  slots: [poolName, optionSlot],
  options: clusterRows,
  examples: ["cairn config pool rm rbd rbd_qos_iops_limit"],
  load: async () => (await import("../image-settings.js")).poolConfigRemoveAction,
});

const entitySlot = word("config-entity", "global, client, or client.HOST", (text) => {
  if (isConfigEntity(text)) return text;
  throw new InvalidArgumentError("It should be global, client, or client.HOST.");
});
const entities = [
  "They hold for images that have no value of their own or of their pool, at once also for those " +
    "that are in use. What is set for client.HOST holds for clients on that host, and comes " +
    "before what is set for client, and that before global.",
];

const globalList = verb({
  name: "config global ls",
  aliases: ["config global list"],
  summary: "List the options that are set for the images of all pools.",
  slots: [entitySlot],
  options: clusterRows,
  examples: ["cairn config global ls global"],
  load: async () => (await import("../config-global.js")).listAction,
});

const globalGet = verb({
  name: "config global get",
  summary: "Show an option that is set for the images of all pools.",
  slots: [entitySlot, optionSlot],
  options: clusterRows,
  examples: ["cairn config global get global rbd_qos_iops_limit"],
  load: async () => (await import("../config-global.js")).getAction,
});

const globalSet = verb({
  name: "config global set",
  summary: "Set an option for the images of all pools.",
  details: entities,
  slots: [entitySlot, optionSlot, word("value", "its value: a number, with K, M or G", asIs)],
  options: clusterRows,
  examples: [
    "cairn config global set global rbd_qos_iops_limit 5000",
    "cairn config global set client.backup1 rbd_qos_read_bps_limit 100M",
  ],
  load: async () => (await import("../config-global.js")).setAction,
});

const globalRemove = verb({
  name: "config global rm",
  aliases: ["config global remove"],
  summary: "Take an option for the images of all pools away.",
  slots: [entitySlot, optionSlot],
  options: clusterRows,
  examples: ["cairn config global rm global rbd_qos_iops_limit"],
  load: async () => (await import("../config-global.js")).removeAction,
});

const features: Verb[] = (["enable", "disable"] as const).map((change) =>
  verb({
    name: `feature ${change}`,
    summary: `${change === "enable" ? "Enable" : "Disable"} features of an image.`,
    details: [
      "object-map needs exclusive-lock, fast-diff needs object-map. deep-flatten can only be " +
        "disabled; layering stays while the image has a parent or clones.",
    ],
    slots: [
      imageSlot,
      rest("feature", "features, such as object-map", featuresValue, { completes: "feature" }),
    ],
    options: clusterRows,
    examples: [`cairn feature ${change} rbd/disk1 object-map fast-diff`],
    load: async () => (await import("../image-settings.js")).featureAction(change),
  }),
);

const objectMaps: Verb[] = (
  [
    ["check", "Check the object map of an image: there is none that could be wrong."],
    ["rebuild", "Make the object map of an image anew: there is none that could be wrong."],
  ] as const
).map(([name, summary]) =>
  verb({
    name: `object-map ${name}`,
    summary,
    details: [
      "What rbd keeps in an object map, the OSDs derive from what they store. The verb looks for " +
        "the image, and succeeds.",
    ],
    slots: [imageOrSnapshot("the image, or a snapshot of it")],
    options: longRows,
    examples: [`cairn object-map ${name} rbd/disk1`],
    load: async () => (await import("../watch.js")).objectMapAction(name),
  }),
);

export const imageSettingFamily: Family = {
  title: "Settings of images",
  verbs: [
    metaList,
    metaGet,
    metaSet,
    metaRemove,
    configList,
    configGet,
    configSet,
    configRemove,
    poolList,
    poolGet,
    poolSet,
    poolRemove,
    globalList,
    globalGet,
    globalSet,
    globalRemove,
    ...features,
    ...objectMaps,
  ],
};
