// The verbs on snapshots, clones and copies of images.
import { countValue, powerOfTwoSize } from "../options.js";
import { orImageId, orSnapId } from "../table/id-slots.js";
import { layoutRows } from "../table/layout-rows.js";
import {
  asIs,
  clusterRows,
  flag,
  longRows,
  optional,
  outputRows,
  progressRows,
  quiesceRows,
  required,
  sparseRow,
  withDefault,
} from "../table/option-rows.js";
import {
  destImage,
  destSnapshot,
  file,
  image,
  imageOrSnapshot,
  maybe,
  snapshot,
  word,
} from "../table/slots.js";
import { type Family, verb } from "../table/verb.js";

const create = verb({
  name: "snap create",
  aliases: ["snap add"],
  summary: "Take a snapshot of an image, also while it is in use.",
  details: ["It has all that was written before, and nothing that is written after."],
  slots: [snapshot("the image, and the name of the new snapshot")],
  options: { ...quiesceRows, ...longRows },
  examples: ["cairn snap create rbd/disk1@monday", "cairn snap create --image disk1 --snap monday"],
  load: async () => (await import("../snapshots.js")).createAction,
});

const list = verb({
  name: "snap ls",
  aliases: ["snap list"],
  summary: "List the snapshots of an image, oldest first.",
  slots: [orImageId(image("the image"))],
  options: {
    all: flag("with those of groups, and those that wait for their last clone", { short: "a" }),
    ...clusterRows,
  },
  examples: ["cairn snap ls rbd/disk1"],
  load: async () => (await import("../snapshots.js")).listAction,
});

const remove = verb({
  name: "snap rm",
  aliases: ["snap remove"],
  summary: "Remove a snapshot.",
  details: [
    "Space is given back in the background. A snapshot that has clones is hidden, and goes with " +
      "the last of them.",
  ],
  slots: [orImageId(orSnapId(snapshot("the snapshot")))],
  options: { force: flag("also when it is protected"), ...longRows },
  examples: [
    "cairn snap rm rbd/disk1@monday",
    "cairn snap rm --pool rbd --image-id 00000000deadbeef --snap-id 4",
  ],
  load: async () => (await import("../snapshots.js")).removeAction,
});

const renaming = verb({
  name: "snap rename",
  summary: "Rename a snapshot.",
  slots: [snapshot("the snapshot"), destSnapshot("the same image with the new name")],
  options: clusterRows,
  examples: ["cairn snap rename rbd/disk1@monday rbd/disk1@before-upgrade"],
  load: async () => (await import("../snapshots.js")).renameAction,
});

const rollback = verb({
  name: "snap rollback",
  aliases: ["snap revert"],
  summary: "Make an image what a snapshot shows. What was written since is lost.",
  slots: [snapshot("the snapshot")],
  options: longRows,
  examples: ["cairn snap rollback rbd/disk1@monday"],
  load: async () => (await import("../snapshots.js")).rollbackAction,
});

const protect = verb({
  name: "snap protect",
  summary: "Keep a snapshot from being removed. Clones do not need it.",
  slots: [snapshot("the snapshot")],
  options: clusterRows,
  examples: ["cairn snap protect rbd/base@golden"],
  load: async () => (await import("../snapshots.js")).protectAction(true),
});

const unprotect = verb({
  name: "snap unprotect",
  summary: "Allow a snapshot to be removed again.",
  slots: [orImageId(snapshot("the snapshot"))],
  options: clusterRows,
  examples: ["cairn snap unprotect rbd/base@golden"],
  load: async () => (await import("../snapshots.js")).protectAction(false),
});

const purge = verb({
  name: "snap purge",
  summary: "Remove all snapshots of an image but the protected ones.",
  slots: [orImageId(image("the image"))],
  options: longRows,
  examples: [
    "cairn snap purge rbd/disk1",
    "cairn snap purge --pool rbd --image-id 00000000deadbeef",
  ],
  load: async () => (await import("../snapshots.js")).purgeAction,
});

const limitSet = verb({
  name: "snap limit set",
  summary: "Set how many snapshots an image can have.",
  slots: [image("the image")],
  options: { limit: required("n", "so many", countValue(0, 512)), ...clusterRows },
  examples: ["cairn snap limit set rbd/disk1 --limit 10"],
  load: async () => (await import("../snapshots.js")).limitAction,
});

const limitClear = verb({
  name: "snap limit clear",
  summary: "Take the limit of snapshots of an image away.",
  slots: [image("the image")],
  options: clusterRows,
  examples: ["cairn snap limit clear rbd/disk1"],
  load: async () => (await import("../snapshots.js")).limitAction,
});

export const snapshotFamily: Family = {
  title: "Snapshots",
  verbs: [
    create,
    list,
    remove,
    renaming,
    rollback,
    protect,
    unprotect,
    purge,
    limitSet,
    limitClear,
  ],
};

const clone = verb({
  name: "clone",
  summary: "Make an image that begins as a snapshot of another one, and shares its data.",
  details: ["The snapshot need not be protected. Clones of clones can be made, to any depth."],
  slots: [snapshot("the snapshot"), destImage("the new image")],
  options: { ...layoutRows, ...clusterRows },
  examples: ["cairn clone rbd/base@golden rbd/vm1", "cairn clone rbd/base@golden fast/team/vm2"],
  load: async () => (await import("../clones.js")).cloneAction,
});

const children = verb({
  name: "children",
  summary: "List the clones of an image's snapshots, or of one.",
  slots: [orImageId(orSnapId(imageOrSnapshot("the image, or one snapshot of it")))],
  options: {
    all: flag("those in the trash are always listed; for the sake of rbd", { short: "a" }),
    descendants: flag("with the clones of clones, to any depth"),
    ...clusterRows,
  },
  examples: ["cairn children rbd/base@golden"],
  load: async () => (await import("../clones.js")).childrenAction,
});

const flatten = verb({
  name: "flatten",
  summary: "Copy into a clone what it has from its parent, so that it stands for itself.",
  details: [
    "Goes on while the image is in use. It can be stopped and begun again. Its snapshots keep " +
      "the parent, unless it has the feature deep-flatten, as images have by default.",
  ],
  slots: [image("the clone")],
  options: longRows,
  examples: ["cairn flatten rbd/vm1"],
  load: async () => (await import("../clones.js")).flattenAction,
});

const copy = verb({
  name: "cp",
  aliases: ["copy"],
  summary: "Copy an image, or what a snapshot shows, to a new image without snapshots.",
  slots: [imageOrSnapshot("the source"), destImage("the new image")],
  options: { ...layoutRows, ...sparseRow, ...longRows },
  examples: [
    "cairn cp rbd/disk1 rbd/disk2",
    "cairn cp rbd/disk1@monday fast/disk1 --object-size 1M",
  ],
  load: async () => (await import("../clones.js")).copyAction,
});

const deepCopy = verb({
  name: "deep cp",
  aliases: ["deep copy"],
  summary: "Copy an image with all its snapshots.",
  details: ["The copy of a clone is a clone of the same parent, and so are its snapshots."],
  slots: [imageOrSnapshot("the source"), destImage("the new image")],
  options: {
    flatten: flag("the copy of a clone stands for itself, with all its data"),
    ...layoutRows,
    ...longRows,
  },
  examples: ["cairn deep cp rbd/disk1 fast/disk1"],
  load: async () => (await import("../clones.js")).deepCopyAction,
});

const sparsify = verb({
  name: "sparsify",
  summary: "Give back the space of blocks of zeros.",
  details: [
    "Goes on while the image is in use, and changes nothing that it or a snapshot shows. What is " +
      "kept for older snapshots stays as it is.",
  ],
  slots: [image("the image")],
  options: {
    sparseSize: withDefault(
      "size",
      "units of which all is zeros; at most an object",
      powerOfTwoSize,
      4096,
    ),
    ...longRows,
  },
  examples: ["cairn sparsify rbd/disk1"],
  load: async () => (await import("../clones.js")).sparsifyAction,
});

const diff = verb({
  name: "diff",
  summary: "List the parts of an image that differ from a snapshot, or that have data.",
  slots: [imageOrSnapshot("the image, or a snapshot of it")],
  options: {
    fromSnap: optional("snap", "since this snapshot", asIs, { completes: "snap" }),
    wholeObject: flag("whole objects that may differ: faster"),
    ...clusterRows,
  },
  examples: [
    "cairn diff rbd/disk1 --from-snap monday",
    "cairn diff rbd/disk1@tuesday --format json",
  ],
  load: async () => (await import("../diff.js")).diffAction,
});

const exportDiff = verb({
  name: "export-diff",
  summary: "Write what differs from a snapshot, or all that is there, as a file for import-diff.",
  details: [
    "The file has the format of rbd's export-diff (v1). One that exists is never overwritten.",
  ],
  slots: [
    imageOrSnapshot("the image, or the snapshot that the diff ends at"),
    file("the file; - is standard output"),
  ],
  options: {
    fromSnap: optional("snap", "since this snapshot", asIs, { completes: "snap" }),
    wholeObject: flag("whole objects that may differ: faster, and more bytes"),
    ...longRows,
  },
  examples: [
    "cairn export-diff rbd/disk1@monday monday.diff",
    "cairn export-diff --from-snap monday rbd/disk1@tuesday - | ssh b cairn import-diff - disk1",
  ],
  load: async () => (await import("../diff-files.js")).exportDiffAction,
});

const importDiff = verb({
  name: "import-diff",
  summary: "Apply a diff to an image, then take its end snapshot.",
  details: [
    "The image has the snapshot that the diff begins at, and not the one that it ends at. The " +
      "snapshot is taken when all of the diff is stored: an import that was cut off is repeated. " +
      "Who has the image open waits meanwhile.",
  ],
  slots: [file("the file; - is standard input"), image("the image")],
  options: {
    sparseSize: withDefault(
      "size",
      "units of zeros that take no space, 4K to 1M",
      powerOfTwoSize,
      4096,
    ),
    thinOvercommit: flag("allow an image that is larger than its pool can hold"),
    ...longRows,
  },
  examples: ["cairn import-diff tuesday.diff rbd/copy", "zcat d.gz | cairn import-diff - rbd/copy"],
  load: async () => (await import("../diff-files.js")).importDiffAction,
});

const mergeDiff = verb({
  name: "merge-diff",
  summary: "Make one diff of two that follow each other. Needs no cluster.",
  details: ["Of v1 diffs the result is, byte for byte, that of rbd's merge-diff."],
  slots: [
    word("first", "the older diff; - is standard input", asIs, { completes: "file" }),
    word("second", "the newer diff; - is standard input", asIs, { completes: "file" }),
    file("the result; - is standard output"),
  ],
  options: { ...outputRows, ...progressRows },
  examples: ["cairn merge-diff monday.diff tuesday.diff both.diff"],
  load: async () => (await import("../diff-files.js")).mergeDiffAction,
});

const usage = verb({
  name: "du",
  aliases: ["disk-usage"],
  summary: "Show how much of its size an image uses, and each of its snapshots.",
  details: [
    "Without an image, all of a pool. A snapshot counts what it has that the one before it has " +
      "not, an image what it has that its newest snapshot has not.",
  ],
  slots: [maybe(imageOrSnapshot("the image, or a snapshot of it"))],
  options: {
    fromSnap: optional("snap", "what was written since this snapshot", asIs, { completes: "snap" }),
    mergeSnapshots: flag("count snapshots to their image"),
    exact: flag("figures are always exact; for the sake of rbd"),
    ...longRows,
  },
  examples: ["cairn du rbd/disk1", "cairn du --pool rbd --merge-snapshots"],
  load: async () => (await import("../diff.js")).usageAction,
});

export const cloneFamily: Family = {
  title: "Clones, copies and differences",
  verbs: [
    clone,
    children,
    flatten,
    copy,
    deepCopy,
    sparsify,
    diff,
    usage,
    exportDiff,
    importDiff,
    mergeDiff,
  ],
};
