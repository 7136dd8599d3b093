// The verbs that manage the OSDs of a cluster, its flags and its settings.
import { InvalidArgumentError } from "commander";
import { type MapFlag, mapFlags } from "../../proto/map-flags.js";
import { settingNames } from "../../proto/settings.js";
import { countValue, durationValue, shareValue } from "../options.js";
import { asIs, clusterRows, withDefault } from "../table/option-rows.js";
import { oneOf, word } from "../table/slots.js";
import { type Family, type Verb, verb } from "../table/verb.js";

/** Below maxOsds of proto/osd-map.ts, which the table of verbs does not load. */
export const osdId = countValue(0, 9999);
const osdSlot = word("id", "its number", osdId, { completes: "osd" });

const tree = verb({
  name: "osd tree",
  summary: "Show the CRUSH tree with the OSDs' states.",
  options: clusterRows,
  examples: ["cairn osd tree"],
  load: async () => (await import("../osd.js")).treeAction,
});

const list = verb({
  name: "osd ls",
  summary: "List the OSDs with addresses, usage and memory.",
  options: clusterRows,
  examples: ["cairn osd ls --format json"],
  load: async () => (await import("../osd.js")).listAction,
});

const df = verb({
  name: "osd df",
  summary: "Show how full each OSD is, beside the others, and how many PGs it has.",
  options: clusterRows,
  examples: ["cairn osd df", "cairn osd df --format table"],
  load: async () => (await import("../usage.js")).osdDfAction,
});

const changes = [
  ["out", "Take an OSD out: its data moves to the others."],
  ["in", "Bring an OSD in again."],
  ["down", "Mark an OSD down; one that runs comes up again by itself."],
] as const;

const changeVerbs: Verb[] = changes.map(([change, summary]) =>
  verb({
    name: `osd ${change}`,
    summary,
    slots: [osdSlot],
    options: clusterRows,
    examples: [`cairn osd ${change} 2`],
    load: async () => (await import("../osd.js")).changeAction(change),
  }),
);

const flagHelp: Readonly<Record<MapFlag, string>> = {
  nobackfill: "no copy of a PG is made anew as a whole",
  "nodeep-scrub": "no deep scrub begins by schedule",
  nodown: "no OSD is marked down for not answering",
  noin: "an OSD that boots is not brought in",
  noout: "no OSD is marked out for being down",
  norebalance: "no backfill of PGs that have all their copies",
  norecover: "nothing is recovered but what clients wait for",
  noscrub: "no light scrub begins by schedule",
  nosnaptrim: "removed snapshots keep their space",
  noup: "no OSD that boots is marked up",
  pause: "clients hold all reads and writes",
};

const flagDetails = [`${mapFlags.map((name) => `${name}: ${flagHelp[name]}`).join("; ")}.`];

const flagVerbs: Verb[] = (
  [
    ["set", "Set a flag: hold the cluster back from something that it does by itself."],
    ["unset", "Take a flag away."],
  ] as const
).map(([change, summary]) =>
  verb({
    name: `osd ${change}`,
    summary,
    details: flagDetails,
    slots: [oneOf("flag", "its name", mapFlags)],
    options: clusterRows,
    examples: [`cairn osd ${change} noout`],
    load: async () => (await import("../osd-flags.js")).flagAction(change),
  }),
);

const affinity = verb({
  name: "osd primary-affinity",
  summary: "Set which share of the PGs that an OSD would lead it does lead.",
  slots: [osdSlot, word("share", "0: only those that no other OSD can lead; 1: all", shareValue)],
  options: clusterRows,
  examples: ["cairn osd primary-affinity 2 0.5"],
  load: async () => (await import("../osd-flags.js")).affinityAction,
});

function clientValue(text: string): string {
  if (/^[0-9]{1,20}$/.test(text) && BigInt(text) < 2n ** 64n) return text;
  throw new InvalidArgumentError("It should be a client's id: a number.");
}

const client = word("client", "its id, as `cairn lock ls` shows it", clientValue);

const blocklistAdd = verb({
  name: "osd blocklist add",
  summary: "Refuse everything of a client. It has to be started anew to go on.",
  slots: [client],
  options: {
    expire: withDefault("duration", "for how long", durationValue, 3_600_000, {
      otherwiseText: "1h",
    }),
    ...clusterRows,
  },
  examples: ["cairn osd blocklist add 17234567890 --expire 1h"],
  load: async () => (await import("../osd-blocklist.js")).addAction,
});

const blocklistRemove = verb({
  name: "osd blocklist rm",
  summary: "Take a client off the list before its time.",
  slots: [client],
  options: clusterRows,
  examples: ["cairn osd blocklist rm 17234567890"],
  load: async () => (await import("../osd-blocklist.js")).removeAction,
});

const blocklistList = verb({
  name: "osd blocklist ls",
  summary: "Show the clients that every OSD refuses.",
  options: clusterRows,
  examples: ["cairn osd blocklist ls --format json"],
  load: async () => (await import("../osd-blocklist.js")).listAction,
});

export const osdFamily: Family = {
  title: "OSDs",
  verbs: [
    tree,
    list,
    df,
    ...changeVerbs,
    ...flagVerbs,
    affinity,
    blocklistAdd,
    blocklistRemove,
    blocklistList,
  ],
};

const settingSlot = word("name", `${settingNames.join(", ")}, or osd.ID.log_level`, asIs);

const configSet = verb({
  name: "config set",
  summary: "Set a setting of the cluster; it takes effect while the daemons run.",
  slots: [settingSlot, word("value", 'its value; "" takes the setting away', asIs)],
  options: clusterRows,
  examples: ["cairn config set osd.log_level debug", "cairn config set osd.2.log_level trace"],
  load: async () => (await import("../config.js")).setAction,
});

const configGet = verb({
  name: "config get",
  summary: "Show a setting of the cluster.",
  slots: [settingSlot],
  options: clusterRows,
  examples: ["cairn config get osd.log_level"],
  load: async () => (await import("../config.js")).getAction,
});

const configList = verb({
  name: "config ls",
  aliases: ["config list"],
  summary: "List the settings of the cluster that are set.",
  options: clusterRows,
  examples: ["cairn config ls --format json"],
  load: async () => (await import("../config.js")).listAction,
});

export const configFamily: Family = {
  title: "Settings",
  verbs: [configSet, configGet, configList],
};
