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
export const leftOut: Readonly<Record<string, LeftOut>> = {
  "--journal-object-size": journals,
  "--journal-pool": journals,
  "--journal-splay-width": journals,
  "--mirror-image-mode": {
    why: "mirroring to another cluster is later work",
    instead: "`cairn export-diff` and `cairn import-diff` carry changes to another cluster.",
  },
};
