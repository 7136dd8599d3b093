// Verbs of rbd that are known and not there: they say so, with exit code 2.
import { StorageError } from "../../common/errors.js";
import { asIs } from "../table/option-rows.js";
import { maybe, rest } from "../table/slots.js";
import type { Family, Verb } from "../table/verb.js";

interface Later {
  /** first words of the verbs */
  name: string;
  aliases?: readonly string[];
  what: string;
  instead: string;
}

const matters: readonly Later[] = [
  {
    name: "mirror",
    what: "mirroring to another cluster",
    instead: "`cairn export` and `cairn import` carry an image to another cluster.",
  },
  {
    name: "journal",
    what: "journals of images",
    instead: "Every write is durable on all copies when it is answered; no journal is needed.",
  },
  {
    name: "encryption",
    what: "encryption by the client",
    instead: "Encrypt inside the virtual machine, with LUKS for example.",
  },
  {
    name: "device",
    aliases: ["map", "unmap", "showmapped", "nbd"],
    what: "block devices of this host's kernel",
    instead: "`cairn attach POOL/IMAGE --nbd unix:PATH` serves an image to nbd-client or QEMU.",
  },
  {
    name: "persistent-cache",
    what: "a write cache on the client's disk",
    instead: "There is no volatile client cache: writes are durable when they are answered.",
  },
];

/** The first words of the verbs that are later work, with what they are about. */
export const laterVerbs: readonly { words: string; what: string }[] = matters.flatMap(
  ({ name, aliases = [], what }) => [name, ...aliases].map((words) => ({ words, what })),
);

function laterVerb({ name, aliases = [], what, instead }: Later): Verb {
  return {
    name,
    aliases,
    summary: `Later work: ${what}.`,
    details: [instead],
    slots: [maybe(rest("word", "whatever rbd takes", asIs))],
    options: {},
    examples: [],
    lenient: true,
    exits: ["2 always"],
    load: async () => async () => {
      throw new StorageError("invalid_argument", `cairn ${name}: Cairn does not have ${what} yet`, {
        remedy: instead,
      });
    },
  };
}

export const laterFamily: Family = {
  title: "Known from rbd, later work",
  verbs: matters.map(laterVerb),
};
