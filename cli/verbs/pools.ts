// The verbs on pools and placement groups.

import type { PgId } from "../../common/units.js";
import { poolSettings } from "../../proto/pool-settings.js";
import { countValue, durationValue } from "../options.js";
import { asIs, clusterRows, flag, optional, withDefault } from "../table/option-rows.js";
import { maybe, oneOf, word } from "../table/slots.js";
import { type Family, type Verb, verb } from "../table/verb.js";

export const poolName = word("pool", "its name", asIs, { completes: "pool" });

const create = verb({
  name: "pool create",
  summary: "Create a pool.",
  slots: [word("pool", "its name", asIs)],
  options: {
    pgNum: optional("n", "placement groups, a power of two", countValue(1, 65536), {
      otherwiseText: "about 100 for each OSD",
    }),
    size: optional("n", "copies of each object", countValue(1, 16), { otherwiseText: "3" }),
    minSize: optional("n", "copies without which a PG serves nothing", countValue(1, 16)),
    crushRule: optional("id", "rule of the CRUSH map", countValue(0, 255)),
    ...clusterRows,
  },
  examples: ["cairn pool create fast --size 2 --min-size 1 --pg-num 64"],
  load: async () => (await import("../pool.js")).createAction,
});

const list = verb({
  name: "pool ls",
  aliases: ["pool list"],
  summary: "List the pools.",
  options: clusterRows,
  examples: ["cairn pool ls --format json"],
  load: async () => (await import("../pool.js")).listAction,
});

const remove = verb({
  name: "pool rm",
  aliases: ["pool remove"],
  summary: "Remove a pool with all its images. Its name has to be given twice.",
  details: [
    "Refused while images of other pools need it: those that have their data there, clones of " +
      "its images, and what is being migrated from there. To find them, the headers of all other " +
      "images are read.",
  ],
  slots: [poolName, maybe(word("pool-again", "its name once more", asIs, { completes: "pool" }))],
  options: {
    yesIReallyMeanIt: flag("in place of the second name"),
    force: flag("do not look who needs it: images of other pools may be lost, too"),
    ...clusterRows,
  },
  examples: ["cairn pool rm fast fast"],
  load: async () => (await import("../pool.js")).removeAction,
});

const get = verb({
  name: "pool get",
  summary: "Show a setting of a pool, or all of them.",
  slots: [poolName, maybe(oneOf("setting", "which one", poolSettings))],
  options: clusterRows,
  examples: ["cairn pool get rbd size", "cairn pool get rbd"],
  load: async () => (await import("../pool.js")).getAction,
});

const set = verb({
  name: "pool set",
  summary: "Change a setting of a pool while it is used.",
  details: [
    "A greater size has the PGs make the copies that they lack; a smaller one gives copies up. " +
      "A greater pg_num, a power of two, splits each PG into several; when all are clean, " +
      "pgp_num follows by itself, and the new PGs spread over the OSDs. Neither can be lowered.",
  ],
  slots: [poolName, oneOf("setting", "which one", poolSettings), word("value", "its value", asIs)],
  options: clusterRows,
  examples: [
    "cairn pool set rbd min_size 2",
    "cairn pool set fast size 3",
    "cairn pool set rbd pg_num 128",
  ],
  load: async () => (await import("../pool.js")).setAction,
});

export const poolFamily: Family = { title: "Pools", verbs: [create, list, get, set, remove] };

const pgId = (text: string): PgId => text as PgId;

const pgList = verb({
  name: "pg ls",
  summary: "List the PGs: where they are, their states, and when they were scrubbed.",
  options: {
    pool: optional("pool", "of this pool only", asIs, { short: "p", completes: "pool" }),
    state: optional("state", "in this state only, such as degraded", asIs),
    ...clusterRows,
  },
  examples: ["cairn pg ls", "cairn pg ls --pool rbd --state degraded --format json"],
  load: async () => (await import("../pg.js")).listAction,
});

const scrubs = [
  ["scrub", "Compare the copies of a PG: their objects, versions, checksums and key-values."],
  ["deep-scrub", "Compare the copies of a PG, and read all of their data."],
  ["repair", "Deep-scrub a PG and replace what is bad by a good copy."],
] as const;

const scrubVerbs: Verb[] = scrubs.map(([mode, summary]) =>
  verb({
    name: `pg ${mode}`,
    summary,
    slots: [maybe(word("pgid", "the PG", pgId))],
    options: {
      pool: optional("pool", "all PGs of this pool, in place of one", asIs, {
        short: "p",
        completes: "pool",
      }),
      wait: flag("until it is done, and say what was found"),
      timeout: withDefault(
        "duration",
        "with --wait: give up after this time",
        durationValue,
        3_600_000,
        { otherwiseText: "1h" },
      ),
      ...clusterRows,
    },
    examples: [`cairn pg ${mode} 1.2 --wait`, `cairn pg ${mode} --pool rbd`],
    load: async () => (await import("../pg-scrub.js")).scrubAction(mode),
  }),
);

const listInconsistent = verb({
  name: "pg list-inconsistent",
  summary: "List what the last scrubs of a PG found bad and nothing has repaired.",
  slots: [word("pgid", "the PG", pgId)],
  options: clusterRows,
  examples: ["cairn pg list-inconsistent 1.2 --format json"],
  load: async () => (await import("../pg-scrub.js")).listAction,
});

const listUnfound = verb({
  name: "pg list-unfound",
  summary: "List objects of a PG that no OSD that is up has, at most 100.",
  slots: [word("pgid", "the PG", pgId)],
  options: clusterRows,
  examples: ["cairn pg list-unfound 1.2 --format json"],
  load: async () => (await import("../pg.js")).unfoundAction,
});

export const pgFamily: Family = {
  title: "Placement groups",
  verbs: [pgList, ...scrubVerbs, listInconsistent, listUnfound],
};
