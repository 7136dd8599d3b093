// The verbs on the trash, on groups and on namespaces.
import { checkInterval, checkStart } from "../../proto/purge-schedule.js";
import { durationValue, momentValue, shareValue, valueParser } from "../options.js";
import { orImageId } from "../table/id-slots.js";
import { asIs, clusterRows, flag, longRows, optional, quiesceRows } from "../table/option-rows.js";
import {
  destGroup,
  group,
  groupBesideImage,
  groupSnapshot,
  image,
  imageBesideGroup,
  maybe,
  namespace,
  pool,
  trashed,
  word,
  wordOrOption,
} from "../table/slots.js";
import { type Family, type Verb, verb } from "../table/verb.js";

const moment = momentValue(() => Date.now());

const trashMove = verb({
  name: "trash mv",
  aliases: ["trash move"],
  summary: "Move an image to the trash: it loses its name, and keeps its data.",
  slots: [image("the image")],
  options: {
    expiresAt: optional("when", "keep it so long: now, tomorrow, 7d, 2026-01-31", moment, {
      otherwiseText: "now",
    }),
    delay: optional("duration", "the same as a time from now", durationValue, {
      conflicts: "expiresAt",
    }),
    ...clusterRows,
  },
  examples: ["cairn trash mv rbd/disk1", "cairn trash mv rbd/disk1 --expires-at 7d"],
  load: async () => (await import("../trash.js")).moveAction,
});

const trashList = verb({
  name: "trash ls",
  aliases: ["trash list"],
  summary: "List the images in the trash of a pool.",
  slots: [pool("the pool; rbd when it is left out")],
  options: {
    all: flag("all are always listed; for the sake of rbd", { short: "a" }),
    long: flag("all is always shown; for the sake of rbd", { short: "l" }),
    ...clusterRows,
  },
  examples: ["cairn trash ls rbd"],
  load: async () => (await import("../trash.js")).listAction,
});

const trashRestore = verb({
  name: "trash restore",
  summary: "Give an image in the trash its name back, or another one.",
  slots: [trashed("its pool and id")],
  options: { image: optional("name", "its new name", asIs), ...clusterRows },
  examples: [
    "cairn trash restore rbd/00000000deadbeef",
    "cairn trash restore rbd/00000000deadbeef --image disk2",
  ],
  load: async () => (await import("../trash.js")).restoreAction,
});

const trashRemove = verb({
  name: "trash rm",
  aliases: ["trash remove"],
  summary: "Remove an image in the trash with its data.",
  slots: [trashed("its pool and id")],
  options: { force: flag("also before the time until which it is kept"), ...longRows },
  examples: ["cairn trash rm rbd/00000000deadbeef"],
  load: async () => (await import("../trash.js")).removeAction,
});

const trashPurge = verb({
  name: "trash purge",
  summary: "Remove the images in the trash whose time has come.",
  slots: [pool("the pool; rbd when it is left out")],
  options: {
    expiredBefore: optional("when", "those that may be removed by then", moment, {
      otherwiseText: "now",
    }),
    threshold: optional("share", "only until so much of the pool is used: 0.8", shareValue),
    ...longRows,
  },
  examples: ["cairn trash purge rbd", "cairn trash purge rbd --threshold 0.8"],
  load: async () => (await import("../trash.js")).purgeAction,
});

const levelRows = {
  pool: optional("pool", "of this pool; else of all pools", asIs, {
    short: "p",
    completes: "pool",
  }),
  namespace: optional("namespace", "of this namespace of the pool", asIs),
  ...clusterRows,
};
const interval = word(
  "interval",
  "minutes, hours or days: 30m, 12h, 1d",
  valueParser(checkInterval),
);
const startTime = word(
  "start-time",
  "of the day, UTC: 13:55, 13:55+02:00",
  valueParser(checkStart),
);

const scheduleAdd = verb({
  name: "trash purge schedule add",
  summary: "Have the trash purged by the cluster itself, at an interval.",
  details: [
    "What a namespace has counts for it, else what its pool has, else what all pools have. " +
      "Moments are counted from the start time (midnight when it is left out). " +
      "docs/operating/trash.md says who does it.",
  ],
  slots: [interval, maybe(startTime)],
  options: levelRows,
  examples: [
    "cairn trash purge schedule add 1d 03:30",
    "cairn trash purge schedule add --pool rbd --namespace team 6h",
  ],
  load: async () => (await import("../purge-schedule.js")).addAction,
});

const scheduleList = verb({
  name: "trash purge schedule ls",
  aliases: ["trash purge schedule list"],
  summary: "List the schedules of all pools together, of a pool, or of a namespace.",
  options: {
    recursive: flag("with those of pools and namespaces below", { short: "R" }),
    ...levelRows,
  },
  examples: ["cairn trash purge schedule ls -R", "cairn trash purge schedule ls --pool rbd"],
  load: async () => (await import("../purge-schedule.js")).listAction,
});

const scheduleRemove = verb({
  name: "trash purge schedule rm",
  aliases: ["trash purge schedule remove"],
  summary: "Remove a schedule, or all of its level.",
  slots: [maybe(interval), maybe(startTime)],
  options: levelRows,
  examples: [
    "cairn trash purge schedule rm --pool rbd 6h",
    "cairn trash purge schedule rm 1d 03:30",
  ],
  load: async () => (await import("../purge-schedule.js")).removeAction,
});

const scheduleStatus = verb({
  name: "trash purge schedule status",
  summary: "Show when each trash is purged next, and what the last time has come to.",
  options: levelRows,
  examples: ["cairn trash purge schedule status --pool rbd"],
  load: async () => (await import("../purge-schedule.js")).statusAction,
});

export const trashFamily: Family = {
  title: "Trash",
  verbs: [
    ...[trashMove, trashList, trashRestore, trashRemove, trashPurge],
    ...[scheduleAdd, scheduleList, scheduleRemove, scheduleStatus],
  ],
};

const groupCreate = verb({
  name: "group create",
  summary: "Create a group of images, which are snapshotted together.",
  slots: [group("its pool and name")],
  options: clusterRows,
  examples: ["cairn group create rbd/web"],
  load: async () => (await import("../groups.js")).createAction,
});

const groupList = verb({
  name: "group ls",
  aliases: ["group list"],
  summary: "List the groups of a pool.",
  slots: [pool("the pool; rbd when it is left out")],
  options: clusterRows,
  examples: ["cairn group ls rbd"],
  load: async () => (await import("../groups.js")).listAction,
});

const groupInfo = verb({
  name: "group info",
  summary: "Show a group.",
  slots: [group("the group")],
  options: clusterRows,
  examples: ["cairn group info rbd/web"],
  load: async () => (await import("../groups.js")).infoAction,
});

const groupRemove = verb({
  name: "group rm",
  aliases: ["group remove"],
  summary: "Remove a group and its snapshots. Its images stay.",
  slots: [group("the group")],
  options: clusterRows,
  examples: ["cairn group rm rbd/web"],
  load: async () => (await import("../groups.js")).removeAction,
});

const groupRename = verb({
  name: "group rename",
  summary: "Rename a group.",
  slots: [group("the group"), destGroup("its new name in the same pool")],
  options: clusterRows,
  examples: ["cairn group rename rbd/web rbd/shop"],
  load: async () => (await import("../groups.js")).renameAction,
});

const members: Verb[] = (
  [
    ["add", [], "Put an image into a group."],
    ["rm", ["group image remove"], "Take an image out of a group."],
  ] as const
).map(([change, aliases, summary]) =>
  verb({
    name: `group image ${change}`,
    aliases,
    summary,
    slots: [
      groupBesideImage("the group"),
      change === "add" ? imageBesideGroup("the image") : orImageId(imageBesideGroup("the image")),
    ],
    options: clusterRows,
    examples: [`cairn group image ${change} rbd/web rbd/disk1`],
    load: async () => (await import("../groups.js")).memberAction(change),
  }),
);

const memberList = verb({
  name: "group image ls",
  aliases: ["group image list"],
  summary: "List the images of a group.",
  slots: [group("the group")],
  options: clusterRows,
  examples: ["cairn group image ls rbd/web"],
  load: async () => (await import("../groups.js")).membersAction,
});

const snapCreate = verb({
  name: "group snap create",
  summary: "Take a snapshot of all images of a group, as of one moment.",
  details: ["All images have it, or none."],
  slots: [groupSnapshot("the group, and the name of the new snapshot")],
  options: { ...quiesceRows, ...clusterRows },
  examples: ["cairn group snap create rbd/web@monday"],
  load: async () => (await import("../groups.js")).snapCreateAction,
});

const snapList = verb({
  name: "group snap ls",
  aliases: ["group snap list"],
  summary: "List the snapshots of a group.",
  slots: [group("the group")],
  options: clusterRows,
  examples: ["cairn group snap ls rbd/web"],
  load: async () => (await import("../groups.js")).snapListAction,
});

const snapInfo = verb({
  name: "group snap info",
  summary: "Show a snapshot of a group.",
  slots: [groupSnapshot("the snapshot")],
  options: clusterRows,
  examples: ["cairn group snap info rbd/web@monday"],
  load: async () => (await import("../groups.js")).snapInfoAction,
});

const snapRemove = verb({
  name: "group snap rm",
  aliases: ["group snap remove"],
  summary: "Remove a snapshot of a group, from all its images.",
  slots: [groupSnapshot("the snapshot")],
  options: clusterRows,
  examples: ["cairn group snap rm rbd/web@monday"],
  load: async () => (await import("../groups.js")).snapRemoveAction,
});

const snapRename = verb({
  name: "group snap rename",
  summary: "Rename a snapshot of a group.",
  slots: [groupSnapshot("the snapshot"), wordOrOption("new-snap", "its new name", "destSnap")],
  options: clusterRows,
  examples: ["cairn group snap rename rbd/web@monday before-upgrade"],
  load: async () => (await import("../groups.js")).snapRenameAction,
});

const snapRollback = verb({
  name: "group snap rollback",
  summary: "Make all images of a group what they were: all, or none.",
  slots: [groupSnapshot("the snapshot")],
  options: longRows,
  examples: ["cairn group snap rollback rbd/web@monday"],
  load: async () => (await import("../groups.js")).snapRollbackAction,
});

export const groupFamily: Family = {
  title: "Groups of images",
  verbs: [
    groupCreate,
    groupList,
    groupInfo,
    groupRemove,
    groupRename,
    ...members,
    memberList,
    snapCreate,
    snapList,
    snapInfo,
    snapRemove,
    snapRename,
    snapRollback,
  ],
};

const namespaceCreate = verb({
  name: "namespace create",
  summary: "Create a namespace: images, trash and groups of one are not seen from others.",
  slots: [namespace("its pool and name")],
  options: clusterRows,
  examples: ["cairn namespace create rbd/team"],
  load: async () => (await import("../namespaces.js")).createAction,
});

const namespaceList = verb({
  name: "namespace ls",
  aliases: ["namespace list"],
  summary: "List the namespaces of a pool.",
  slots: [pool("the pool; rbd when it is left out")],
  options: clusterRows,
  examples: ["cairn namespace ls rbd"],
  load: async () => (await import("../namespaces.js")).listAction,
});

const namespaceRemove = verb({
  name: "namespace rm",
  aliases: ["namespace remove"],
  summary: "Remove an empty namespace.",
  slots: [namespace("its pool and name")],
  options: clusterRows,
  examples: ["cairn namespace rm rbd/team"],
  load: async () => (await import("../namespaces.js")).removeAction,
});

const poolInit = verb({
  name: "pool init",
  summary: "Mark a pool as one for images. New pools are marked already.",
  slots: [pool("the pool; rbd when it is left out")],
  options: { force: flag("also a pool of another application"), ...clusterRows },
  examples: ["cairn pool init fast"],
  load: async () => (await import("../namespaces.js")).initAction,
});

const poolStats = verb({
  name: "pool stats",
  summary: "Count the images and snapshots of a pool, and add up the images' sizes.",
  slots: [pool("the pool; rbd when it is left out")],
  options: clusterRows,
  examples: ["cairn pool stats rbd"],
  load: async () => (await import("../namespaces.js")).statsAction,
});

export const namespaceFamily: Family = {
  title: "Pools as places for images",
  verbs: [namespaceCreate, namespaceList, namespaceRemove, poolInit, poolStats],
};
