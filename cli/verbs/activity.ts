// The verbs that show what images do: `top`, `perf image iotop`, `perf image iostat`, `trace`.
import { InvalidArgumentError } from "commander";
import { countValue, durationValue } from "../options.js";
import { choice, clusterRows, optional, withDefault } from "../table/option-rows.js";
import { image, maybe, pool } from "../table/slots.js";
import { type Family, verb } from "../table/verb.js";
import { type SortKey, sortKeys } from "./sort-keys.js";

const topRows = {
  sort: choice("key", "what is first", sortKeys, "iops"),
  interval: withDefault("duration", "between two looks: 2, 2s, 500ms", durationValue, 2000, {
    otherwiseText: "2s",
  }),
  count: optional("n", "end after so many", countValue(1, Number.MAX_SAFE_INTEGER)),
  ...clusterRows,
};
/** @throws InvalidArgumentError */
function sortByValue(text: string): SortKey {
  const [direction, what = ""] = text.replace("_", "-").split("-");
  const kind = ({ ops: "iops", bytes: "bandwidth", latency: "latency" } as const)[what];
  const found = sortKeys.find((key) => key === `${direction}-${kind}`);
  if (found !== undefined) return found;
  throw new InvalidArgumentError("It should be write or read, then -ops, -bytes or -latency.");
}

const place = maybe(pool("the pool, or a namespace of it as POOL/NAMESPACE; else all of them"));
const whatItShows =
  "Reads and writes, their bytes, and their mean latency in the interval, of the images that " +
  "somebody has open, and who that is. The figures come from those processes, so the latency is " +
  "what the guest sees, without what the image's own limits make it wait.";

const top = verb({
  name: "top",
  aliases: ["perf image iotop"],
  summary: "Show the images that are in use by IOPS, bandwidth or latency, live.",
  details: [
    whatItShows,
    "On a terminal the screen is drawn anew; in a pipe each interval is a block of lines, or one " +
      "JSON document on its own line.",
  ],
  slots: [place],
  options: topRows,
  examples: ["cairn top", "cairn top --pool rbd --sort bandwidth", "cairn top --count 1 rbd"],
  load: async () => (await import("../top.js")).topAction,
});

const iostat = verb({
  name: "perf image iostat",
  summary: "As top, but always in lines, one block for each interval.",
  details: [whatItShows],
  slots: [place],
  options: {
    ...topRows,
    iterations: optional("n", "the same as --count", countValue(1, Number.MAX_SAFE_INTEGER), {
      conflicts: "count",
    }),
    sortBy: optional(
      "key",
      "the same as --sort, in rbd's words: write-ops, read-bytes",
      sortByValue,
    ),
  },
  examples: ["cairn perf image iostat rbd --interval 5s", "cairn perf image iostat --format json"],
  load: async () => (await import("../top.js")).iostatAction,
});

const trace = verb({
  name: "trace",
  summary: "Show where the time of an image's requests goes: client, network, disk, replicas.",
  details: [
    "Asks the processes that have the image open to trace it, waits, and prints a table for " +
      "each. docs/operating/trace.md says what the stages are.",
  ],
  slots: [image("the image")],
  options: {
    seconds: withDefault("n", "how long", countValue(1, 3600), 10),
    every: withDefault("n", "trace one of so many requests", countValue(1, 1_000_000), 1),
    ...clusterRows,
  },
  examples: ["cairn trace rbd/disk1 --seconds 10", "cairn trace rbd/disk1 --format json"],
  load: async () => (await import("../trace.js")).traceAction,
});

export const activityFamily: Family = { title: "What images do", verbs: [top, iostat, trace] };
