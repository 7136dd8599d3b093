// The verbs that run daemons and make or mend their stores, and those on CRUSH maps in files.
import { InvalidArgumentError } from "commander";
import { defaultMetadataCacheBytes, logLevels } from "../../common/config.js";
import { localSocketsVariable, onOrOff } from "../../common/local-sockets.js";
import type { OsdPlace } from "../monitor-rebuild.js";
import { addressValue, metadataCacheValue, sizeValue } from "../options.js";
import {
  asIs,
  choice,
  dirRow,
  flag,
  optional,
  outputRows,
  repeated,
  required,
  withDefault,
} from "../table/option-rows.js";
import { maybe, word } from "../table/slots.js";
import { type Family, type OptionRow, verb } from "../table/verb.js";
import { osdId } from "./osds.js";

const daemonRows = {
  ...dirRow,
  data: optional("path", "its data folder", asIs, {
    otherwiseText: "the one in --dir",
    completes: "folder",
  }),
  listen: optional("host:port", "where to listen", addressValue, {
    otherwiseText: "a port of 127.0.0.1",
  }),
  logFile: optional("path", "append the log to this file", asIs, {
    otherwiseText: "with --data standard error, else in log/ of --dir",
    completes: "file",
  }),
  logLevel: choice("level", "the log's level at the start", logLevels, "info"),
} as const;

const runDetails = [
  "With --dir it is one of a local cluster and finds everything there; with --data it stands " +
    "alone. It logs JSON lines; SIGTERM and SIGINT stop it. One that ends by itself has exit " +
    "code 1 and says why.",
];

const dataRow = {
  data: required("path", "its folder", asIs, { completes: "folder" }),
} as const;

const storeRow = {
  store: optional("path", "block device or file of its store", asIs, {
    otherwiseText: "in --data",
    completes: "file",
  }),
} as const;

const osd = verb({
  name: "osd",
  summary: "Run one OSD in the foreground, as an init system does.",
  details: runDetails,
  options: {
    id: optional("n", "its number", osdId),
    ...storeRow,
    monitor: optional("host:port", "the monitor's address", addressValue),
    host: optional("name", "host bucket in the CRUSH map", asIs, {
      otherwiseText: "the host's name",
    }),
    deviceClass: optional("class", "for CRUSH rules that ask for one", asIs, {
      otherwiseText: "ssd",
    }),
    localSockets: choice(
      "when",
      "reach OSDs and clients of this machine by Unix sockets, which cost less than TCP",
      onOrOff,
      "on",
      { env: localSocketsVariable },
    ),
    overwrites: choice(
      "place",
      "where small overwrites go: beside each other, which costs less, or where they were",
      ["move", "stay"] as const,
      "move",
      { env: "CAIRN_OVERWRITES" },
    ),
    metadataCache: withDefault(
      "size",
      "memory for block maps: 4M for each GiB of the store that is overwritten at random",
      metadataCacheValue,
      defaultMetadataCacheBytes,
      { env: "CAIRN_METADATA_CACHE", otherwiseText: "32M" },
    ),
    faultDisk: optional(
      "socket",
      "for tests: keep what is not flushed in memory, lose it and fail as told at this socket",
      asIs,
      { completes: "file" },
    ),
    ...daemonRows,
  },
  examples: [
    "cairn osd --id 0 --dir /var/lib/cairn",
    "cairn osd --id 4 --data /var/lib/osd4 --monitor 10.0.0.1:6789 --listen 10.0.0.4:6800",
  ],
  load: async () => (await import("../osd.js")).runAction,
});

const osdMkfs = verb({
  name: "osd mkfs",
  summary: "Make the store of a new OSD.",
  options: {
    id: required("n", "its number", osdId),
    ...dataRow,
    ...storeRow,
    size: optional("size", "of a store in a file (sparse)", sizeValue),
    clusterId: optional("uuid", "the cluster's id", asIs, { conflicts: "monitor" }),
    monitor: optional("host:port", "ask this monitor for the cluster's id", addressValue),
    ...outputRows,
  },
  examples: ["cairn osd mkfs --id 4 --data /var/lib/osd4 --size 100G --monitor 10.0.0.1:6789"],
  load: async () => (await import("../osd.js")).mkfsAction,
});

const exportMap = verb({
  name: "osd export-map",
  summary: "Write what a stopped OSD knows of the cluster map, for `cairn monitor rebuild`.",
  options: {
    ...dataRow,
    ...storeRow,
    out: required("file", "a new file", asIs, { completes: "file" }),
    ...outputRows,
  },
  examples: ["cairn osd export-map --data /var/lib/cairn/osd2 --out osd2.map"],
  load: async () => (await import("../monitor-rebuild.js")).exportAction,
});

const monitor = verb({
  name: "monitor",
  summary: "Run the monitor in the foreground, as an init system does.",
  details: runDetails,
  options: {
    http: optional("host:port", "where to serve /api/v1 and /metrics", addressValue),
    ...daemonRows,
  },
  examples: [
    "cairn monitor --dir /var/lib/cairn",
    "cairn monitor --data /var/lib/cairn-mon --listen 127.0.0.1:6789 --http 127.0.0.1:9283",
  ],
  load: async () => (await import("../monitor.js")).runAction,
});

const monitorMkfs = verb({
  name: "monitor mkfs",
  summary: "Make a new cluster: the folder of its monitor.",
  options: {
    ...dataRow,
    clusterId: optional("uuid", "its id", asIs, { otherwiseText: "a random one" }),
    failureDomain: withDefault("type", "over what copies are spread: osd, host", asIs, "host"),
    ...outputRows,
  },
  examples: ["cairn monitor mkfs --data /var/lib/cairn-mon"],
  load: async () => (await import("../monitor.js")).mkfsAction,
});

/** DIR, or DIR=STORE. */
function placeValue(text: string): OsdPlace {
  const [dataDir, store, ...rest] = text.split("=");
  if (!dataDir || store === "" || rest.length > 0) {
    throw new InvalidArgumentError("It should be DIR, or DIR=STORE.");
  }
  return store === undefined ? { dataDir } : { dataDir, store };
}

const rebuild = verb({
  name: "monitor rebuild",
  summary: "Make the lost store of a monitor anew from the maps that the OSDs hold.",
  details: [
    "The new store is of a new generation. The OSDs must not run meanwhile, and all that were up " +
      "must be given: as folders on this host, or as files of `cairn osd export-map`.",
  ],
  options: {
    ...dataRow,
    osdDir: repeated("dir[=store]", "folder of an OSD", placeValue, { completes: "folder" }),
    mapFile: repeated("file", "of `cairn osd export-map`", asIs, { completes: "file" }),
    without: repeated("id", "an OSD that is gone for good", osdId),
    acceptLoss: flag("go on although data that no map names will be removed"),
    ...outputRows,
  },
  examples: [
    "cairn monitor rebuild --data /var/lib/cairn/mon --osd-dir /var/lib/cairn/osd0 \\",
    "      --osd-dir /var/lib/cairn/osd1=/dev/sdb --map-file osd2.map --without 3",
  ],
  load: async () => (await import("../monitor-rebuild.js")).rebuildAction,
});

export const daemonFamily: Family = {
  title: "Daemons",
  verbs: [osd, osdMkfs, exportMap, monitor, monitorMkfs, rebuild],
};

function integer(text: string): number {
  if (!/^[0-9]+$/.test(text)) throw new InvalidArgumentError("It should be a whole number.");
  return Number(text);
}

const weights: OptionRow<string[]> = {
  ...repeated("OSD W...", "an OSD's weight, from 0 (out) to 1 (in)", asIs),
  otherwiseText: "all 1",
};

export const crushTest = verb({
  name: "crush test",
  summary: "Map inputs through a text map and print the lines that crushtool --test prints.",
  slots: [maybe(word("mapfile", "the map in crushtool's text form", asIs, { completes: "file" }))],
  options: {
    rule: required("N", "the rule's id", integer),
    numRep: required("N", "devices wanted for each input, 1 to 64", integer),
    minX: required("N", "the first input", integer),
    maxX: required("N", "the last input", integer),
    weight: weights,
    summary: flag("counts for each OSD, their deviation and the speed, instead of mappings"),
    format: choice("format", "output format", ["text", "json"], "text"),
  },
  examples: ["cairn crush test map.txt --rule 0 --num-rep 3 --min-x 0 --max-x 1023 --summary"],
  load: async () => {
    const [{ testAction }, { native }] = await Promise.all([
      import("../crush.js"),
      import("../../native/index.js"),
    ]);
    const { stdout, stderr } = process;
    return testAction({ native, stdout, stderr });
  },
});

export const crushFamily: Family = { title: "CRUSH maps", verbs: [crushTest] };
