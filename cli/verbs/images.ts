// The verbs on images as a whole: `create`, `ls`, `info`, `rm`, `resize`, `import`, `export`.
import { imageSizeValue } from "../options.js";
import { orImageId } from "../table/id-slots.js";
import { layoutRows } from "../table/layout-rows.js";
import {
  choice,
  clusterRows,
  flag,
  longRows,
  progressRows,
  required,
  sparseRow,
} from "../table/option-rows.js";
import {
  destImage,
  file,
  image,
  imageOrSnapshot,
  importedImage,
  maybe,
  pool,
} from "../table/slots.js";
import { type Family, verb } from "../table/verb.js";

const overcommitRow = {
  thinOvercommit: flag("allow an image that is larger than its pool can hold"),
} as const;

const exportFormatRow = choice(
  "n",
  "1: the bytes of the image; 2: the image with all its snapshots, as rbd has it",
  ["1", "2"],
  "1",
);

const create = verb({
  name: "create",
  summary: "Create an image. It is thin: space is taken as it is written.",
  details: [
    "With --thick-provision zeros are written over all of it first, so that it has its space on " +
      "all copies. It appears when that is done; stopped before, nothing of it is left. " +
      "docs/operating/image-options.md says what takes such space and what gives it back.",
  ],
  slots: [image("its pool and name")],
  options: {
    size: required("size", "its size: 4G, 512M, bytes", imageSizeValue, { short: "s" }),
    ...layoutRows,
    ...overcommitRow,
    thickProvision: flag("take the space of its whole size now", { conflicts: "thinOvercommit" }),
    ...clusterRows,
    ...progressRows,
  },
  examples: [
    "cairn create rbd/disk1 --size 4G",
    "cairn create --pool rbd --image disk1 -s 4G",
    "cairn create rbd/db1 --size 64G --thick-provision",
  ],
  load: async () => (await import("../image.js")).createAction,
});

const list = verb({
  name: "ls",
  aliases: ["list"],
  summary: "List the images of a pool.",
  details: ["In a pipe only their names, one a line, unless it is told --long or --format."],
  slots: [pool("the pool; rbd when it is left out")],
  options: {
    long: flag("with snapshots, parents and who holds the lock", { short: "l" }),
    ...clusterRows,
  },
  examples: ["cairn ls", "cairn ls -l fast", "cairn ls rbd/team --format json"],
  load: async () => (await import("../image.js")).listAction,
});

const info = verb({
  name: "info",
  summary: "Show an image, or a snapshot of it.",
  slots: [orImageId(imageOrSnapshot("the image, or a snapshot of it"))],
  options: clusterRows,
  examples: ["cairn info rbd/disk1", "cairn info rbd/disk1@monday"],
  load: async () => (await import("../image.js")).infoAction,
});

const remove = verb({
  name: "rm",
  aliases: ["remove"],
  summary: "Remove an image and its data.",
  details: [
    "Refused while anybody has the image open. It can be stopped at any time: the same command " +
      "finishes a removal that was cut off.",
  ],
  slots: [image("its pool and name")],
  options: longRows,
  examples: ["cairn rm rbd/disk1"],
  load: async () => (await import("../image.js")).removeAction,
});

const resize = verb({
  name: "resize",
  summary: "Change the size of an image, also while it is in use.",
  slots: [image("its pool and name")],
  options: {
    size: required("size", "its new size", imageSizeValue, { short: "s" }),
    allowShrink: flag("discard what lies behind the new size"),
    ...overcommitRow,
    ...longRows,
  },
  examples: ["cairn resize rbd/disk1 --size 8G", "cairn resize rbd/disk1 -s 1G --allow-shrink"],
  load: async () => (await import("../image.js")).resizeAction,
});

const importing = verb({
  name: "import",
  summary: "Make an image from a raw or qcow2 file.",
  details: [
    "Which of them it is shows in its content. Blocks of zeros take no space. The image appears " +
      "when all of it is stored; an import that fails or is stopped leaves nothing. What one has " +
      "written that was killed (kill -9) takes space until the next import into its pool, two " +
      "minutes later or more, clears it away.",
    "A pipe that carries qcow2 is first spooled to TMPDIR, since the format needs random access. " +
      "Backing files of a qcow2 image are opened with the rights of the caller: import no images " +
      "of people that you do not trust with a backing file.",
  ],
  slots: [
    file("the file; - is standard input"),
    importedImage("pool and name of the new image; left out: the file's name"),
  ],
  options: {
    exportFormat: exportFormatRow,
    ...layoutRows,
    ...overcommitRow,
    ...sparseRow,
    ...longRows,
  },
  examples: [
    "cairn import debian.qcow2 rbd/debian",
    "cairn import debian.raw --dest-pool fast",
    "zcat disk.raw.gz | cairn import - rbd/disk1",
  ],
  load: async () => (await import("../image.js")).importAction,
});

const exporting = verb({
  name: "export",
  summary: "Write an image, or a snapshot of it, to a new raw file, or to standard output.",
  details: ["A file that exists is never overwritten."],
  slots: [
    imageOrSnapshot("the image, or a snapshot of it"),
    maybe(file("the file; - is standard output; left out: the image's name")),
  ],
  options: { exportFormat: exportFormatRow, ...longRows },
  examples: [
    "cairn export rbd/disk1 disk1.raw",
    "cairn export rbd/disk1 - | zstd > disk1.raw.zst",
    "cairn export --export-format 2 rbd/disk1 disk1.export",
  ],
  load: async () => (await import("../image.js")).exportAction,
});

const renaming = verb({
  name: "mv",
  aliases: ["rename"],
  summary: "Rename an image. Whoever has it open goes on with it.",
  slots: [image("the image"), destImage("its new name in the same pool")],
  options: clusterRows,
  examples: ["cairn mv rbd/disk1 rbd/disk2"],
  load: async () => (await import("../clones.js")).renameAction,
});

export const imageFamily: Family = {
  title: "Images",
  verbs: [create, list, info, resize, renaming, remove, importing, exporting],
};
