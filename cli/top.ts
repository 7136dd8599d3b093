// `cairn top`: the images that are in use, by what they do now.
import { setTimeout as sleep } from "node:timers/promises";
import type { ActivityRow, ActivitySample } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { formatSize } from "../common/units.js";
import { withCluster } from "./connect.js";
import { imagesOf } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { coloured, type Output, rendered, table } from "./output.js";
import { withAbortSignal } from "./signals.js";
import type { PoolAddress } from "./table/slots.js";
import type { SortKey } from "./verbs/sort-keys.js";

interface TopFlags extends ClusterOptions {
  sort: SortKey;
  interval: number;
  count?: number;
}

/** As rbd names them. */
interface IostatFlags extends TopFlags {
  iterations?: number;
  sortBy?: SortKey;
}

type Client = Parameters<Parameters<typeof withCluster>[1]>[0];
type Report = (rows: readonly ActivityRow[]) => void;

/** Images that are asked at a time. */
const asksAtOnce = 32;

type Place = PoolAddress | undefined;

/** `cairn top` */
export const topAction = (place: Place, flags: TopFlags): Promise<void> =>
  show(place, flags, process.stdout.isTTY === true && flags.format !== "json");

/** `cairn perf image iostat` */
export const iostatAction = (place: Place, flags: IostatFlags): Promise<void> => {
  const count = flags.iterations ?? flags.count;
  const named = { ...flags, sort: flags.sortBy ?? flags.sort };
  return show(place, count === undefined ? named : { ...named, count }, false);
};

async function show(place: Place, flags: TopFlags, onScreen: boolean): Promise<void> {
  if (flags.interval < 100) {
    throw new StorageError("invalid_argument", "an interval is at least 100ms");
  }
  await withAbortSignal((signal) =>
    withCluster(flags, (client) => watchImages(client, place, flags, onScreen, signal)),
  );
}

async function watchImages(
  client: Client,
  place: Place,
  flags: TopFlags,
  onScreen: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { ActivityRates } = await import("../client/index.js");
  const rates = new ActivityRates();
  const report = onScreen ? screenReport(flags) : lineReport(flags);
  rates.next(await sample(client, place));
  try {
    if (onScreen) process.stdout.write(enterScreen);
    for (let shown = 0; shown < (flags.count ?? Number.POSITIVE_INFINITY); shown += 1) {
      await sleep(flags.interval, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      report(sorted(rates.next(await sample(client, place)), flags.sort));
    }
  } finally {
    if (onScreen) process.stdout.write(leaveScreen);
  }
}

async function sample(client: Client, place: Place): Promise<ActivitySample[]> {
  const { imageActivity, Namespaces } = await import("../client/index.js");
  const pools =
    place?.pool === undefined ? client.map().pools.map(({ name }) => name) : [place.pool];
  const asks: (() => Promise<ActivitySample>)[] = [];
  for (const pool of pools) {
    const { scope } = await imagesOf(client, { pool, namespace: "" });
    const listed = place?.namespace
      ? [place.namespace]
      : ["", ...(await new Namespaces(scope).list()).map(({ name }) => name)];
    for (const namespace of listed) {
      const images = await imagesOf(client, { pool, namespace });
      for (const [name, id] of await images.scope.directory.names()) {
        asks.push(async () => {
          const sources = await imageActivity(images.scope, id);
          return { id, name: `${images.scope.prefix}${name}`, sources };
        });
      }
    }
  }
  const samples: ActivitySample[] = [];
  for (let at = 0; at < asks.length; at += asksAtOnce) {
    samples.push(...(await Promise.all(asks.slice(at, at + asksAtOnce).map((ask) => ask()))));
  }
  return samples.filter(({ sources }) => sources.length > 0);
}

const sortValues: Record<Exclude<SortKey, "name">, (row: ActivityRow) => number> = {
  iops: ({ iops }) => iops,
  "read-iops": ({ readIops }) => readIops,
  "write-iops": ({ writeIops }) => writeIops,
  bandwidth: ({ bytesPerS }) => bytesPerS,
  "read-bandwidth": ({ readBytesPerS }) => readBytesPerS,
  "write-bandwidth": ({ writeBytesPerS }) => writeBytesPerS,
  latency: ({ latencyMs }) => latencyMs,
  "read-latency": ({ readLatencyMs }) => readLatencyMs,
  "write-latency": ({ writeLatencyMs }) => writeLatencyMs,
};

/** The most first; equal ones by name. */
export function sorted(rows: readonly ActivityRow[], key: SortKey): ActivityRow[] {
  const byName = (a: ActivityRow, b: ActivityRow) => (a.name < b.name ? -1 : 1);
  if (key === "name") return [...rows].sort(byName);
  const value = sortValues[key];
  return [...rows].sort((a, b) => value(b) - value(a) || byName(a, b));
}

export function topTable(rows: readonly ActivityRow[]): Output {
  const right = "right" as const;
  const titles = ["RD", "WR", "RD_BYTES", "WR_BYTES", "RD_LAT", "WR_LAT", "INFLIGHT"];
  return table(
    [{ title: "NAME" }, ...titles.map((title) => ({ title, align: right })), { title: "USED BY" }],
    rows.map((row) => [
      row.name,
      `${row.readIops.toFixed(0)}/s`,
      `${row.writeIops.toFixed(0)}/s`,
      `${formatSize(Math.round(row.readBytesPerS))}/s`,
      `${formatSize(Math.round(row.writeBytesPerS))}/s`,
      `${row.readLatencyMs.toFixed(2)} ms`,
      `${row.writeLatencyMs.toFixed(2)} ms`,
      row.inFlight,
      row.users.join(", "),
    ]),
  );
}

/** One block of lines, or one JSON document, for each interval. */
function lineReport(flags: TopFlags): Report {
  return (rows) => {
    const text =
      flags.format === "json"
        ? JSON.stringify({ at: new Date().toISOString(), images: rows })
        : rendered(rows.length === 0 ? "no image is in use" : topTable(rows), flags.format);
    process.stdout.write(flags.format === "json" ? `${text}\n` : `${text}\n\n`);
  };
}

// The other screen of the terminal, without a cursor; and back.
const enterScreen = "\u001b[?1049h\u001b[?25l";
const leaveScreen = "\u001b[?25h\u001b[?1049l";
const home = "\u001b[H";
const clearLine = "\u001b[K";
const clearBelow = "\u001b[J";

function screenReport(flags: TopFlags): Report {
  return (rows) => {
    const { columns, rows: height } = process.stdout;
    const sum = (value: (row: ActivityRow) => number) => rows.reduce((n, r) => n + value(r), 0);
    const head =
      `cairn top: ${rows.length} images in use, ${sum(({ iops }) => iops).toFixed(0)} IOPS, ` +
      `${formatSize(Math.round(sum(({ bytesPerS }) => bytesPerS)))}/s; ` +
      `by ${flags.sort}, each ${flags.interval / 1000} s; Ctrl-C ends it`;
    const body = rows.length === 0 ? "" : rendered(topTable(rows), flags.format);
    const lines = [coloured("bold", head.slice(0, columns)), "", ...body.split("\n")]
      .slice(0, height - 1)
      .map((line, at) => (at < 3 ? line : line.slice(0, columns)));
    process.stdout.write(
      `${home}${lines.map((line) => `${line}${clearLine}`).join("\n")}\n${clearBelow}`,
    );
  };
}
