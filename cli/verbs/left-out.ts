// Options of rbd that are left out on purpose: who gives one is told why, and what to do instead.

export interface LeftOut {
  why: string;
  instead: string;
}

const journals: LeftOut = {
  why: "images have no journals",
  instead: "Leave it out: every write is durable on all copies when it is answered.",
};

/** Of every verb that has them in rbd. */
export const leftOutEverywhere: Readonly<Record<string, LeftOut>> = {
  "--journal-object-size": journals,
  "--journal-pool": journals,
  "--journal-splay-width": journals,
  "--mirror-image-mode": {
    why: "mirroring to another cluster is later work",
    instead: "`cairn export-diff` and `cairn import-diff` carry changes to another cluster.",
  },
};

/** By verb and option. */
export const leftOut: Readonly<Record<string, LeftOut>> = {
  "migration prepare --snap": {
    why: "an image moves with all its snapshots, a file as it is now",
    instead:
      "One snapshot alone: cairn cp POOL/IMAGE@SNAP DEST. Of a qcow2 file: qemu-img convert " +
      "-l SNAP.",
  },
};

/** @param verb its words, by whichever name */
export function whyLeftOut(verb: string, option: string): LeftOut | undefined {
  return leftOut[`${verb} ${option}`] ?? leftOutEverywhere[option];
}
