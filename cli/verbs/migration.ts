// The verbs of live migration: images from files and from other places, used while they come.
import type { GivenSource } from "../migration.js";
import { layoutRows } from "../table/layout-rows.js";
import { asIs, clusterRows, flag, longRows, optional } from "../table/option-rows.js";
import { destImage, image, imageOrSnapshot, word } from "../table/slots.js";
import { type Family, type Slot, verb } from "../table/verb.js";

/** A file, or the image that is to be moved, or a snapshot of one; those also by options. */
function source(): Slot<GivenSource> {
  const named = imageOrSnapshot("the image");
  const help = "the image to be moved; with --import-only a file, or a snapshot of an image";
  return {
    ...word("source", help, asIs),
    optional: true,
    completes: "file",
    options: named.options,
    named: named.named,
    read(words, flags) {
      const snap = flags.snap as string | undefined;
      return named.named(flags) ? { image: named.read([], flags), snap } : { text: words[0], snap };
    },
  };
}

const prepare = verb({
  name: "migration prepare",
  summary: "Begin to move an image, or to import one, that can be used at once under its new name.",
  details: [
    "What is not copied yet is read from the source, and all writes go to the new image. Whoever " +
      "has the image open goes on, after a short pause, with the new one. Then: `cairn migration " +
      "execute` copies, `cairn migration commit` ends it, `cairn migration abort` undoes it.",
    "With --import-only the source stays as it is. It is a raw or qcow2 file, on this host or " +
      "on a web server that answers ranges; --snap is then an internal snapshot of the qcow2 " +
      "file, by its id or name. Or it is a snapshot of an image, POOL/IMAGE@SNAP; a word that " +
      "names a file here is that. Every client that opens the new image before it is executed " +
      "needs the file.",
    '--source-spec takes what rbd takes: {"type": "qcow2", "stream": {"type": "file", ' +
      '"file_path": "/disk.qcow2"}}, or {"type": "http", "url": "https://..."} as the stream; a ' +
      'snapshot of it as snap_name; or {"type": "native", "pool_name": "rbd", "image_name": ' +
      '"disk1", "snap_name": "monday"}.',
  ],
  slots: [source(), destImage("the new image")],
  options: {
    importOnly: flag("the source is a file or a snapshot, which stays as it is"),
    sourceSpec: optional("json", "where the data comes from", asIs, {
      conflicts: "sourceSpecPath",
    }),
    sourceSpecPath: optional("file", "a file with the same; - is standard input", asIs, {
      completes: "file",
    }),
    flatten: flag("what a clone is moved to always stands for itself; for the sake of rbd"),
    thinOvercommit: flag("allow an image that is larger than its pool can hold"),
    ...layoutRows,
    ...clusterRows,
  },
  examples: [
    "cairn migration prepare rbd/disk1 fast/disk1",
    "cairn migration prepare --import-only debian.qcow2 rbd/debian",
    "cairn migration prepare --import-only debian.qcow2 --snap installed rbd/debian",
    "cairn migration prepare --import-only rbd/disk1@monday fast/disk2",
  ],
  load: async () => (await import("../migration.js")).prepareAction,
});

const execute = verb({
  name: "migration execute",
  summary: "Copy what the new image has not yet, while it is in use.",
  details: ["It can be stopped at any time; the same command goes on where it was."],
  slots: [image("the new image, or the old one")],
  options: longRows,
  examples: ["cairn migration execute fast/disk1"],
  load: async () => (await import("../migration.js")).executeAction,
});

const commit = verb({
  name: "migration commit",
  summary: "End a migration: the old image is removed, a file stays as it is.",
  details: [
    "Refused before all is copied, and while anybody uses the old image. Its clones become " +
      "clones of the new one; whoever has them open goes on.",
  ],
  slots: [image("the new image")],
  options: {
    force: flag("clones are never in the way; for the sake of rbd"),
    ...longRows,
  },
  examples: ["cairn migration commit fast/disk1"],
  load: async () => (await import("../migration.js")).commitAction,
});

const abort = verb({
  name: "migration abort",
  summary: "Undo a migration: the new image is removed, with what was written to it.",
  details: [
    "The old image is again what it was when the migration was prepared. Refused while anybody " +
      "uses the new one.",
  ],
  slots: [image("the new image, or the old one")],
  options: longRows,
  examples: ["cairn migration abort fast/disk1"],
  load: async () => (await import("../migration.js")).abortAction,
});

export const migrationFamily: Family = {
  title: "Live migration",
  verbs: [prepare, execute, commit, abort],
};
