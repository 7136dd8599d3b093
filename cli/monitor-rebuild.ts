// `cairn monitor rebuild`: makes the lost store of a monitor anew from what OSDs that do not run
// have in theirs; `cairn osd export-map`: takes that from an OSD on another host.
import { readFile, writeFile } from "node:fs/promises";
import { type Command, InvalidArgumentError } from "commander";
import { StorageError, toStorageError } from "../common/errors.js";
import { generationOf } from "../proto/generation.js";
import { countValue, type OutputOptions, withExamples, withOutput } from "./options.js";
import { printResult } from "./output.js";

interface Place {
  dataDir: string;
  store?: string;
}

interface RebuildFlags extends OutputOptions {
  data: string;
  osdDir: Place[];
  mapFile: string[];
  without: number[];
  acceptLoss?: boolean;
}

interface ExportFlags extends OutputOptions {
  data: string;
  store?: string;
  out: string;
}

/** DIR, or DIR=STORE. */
function placeValue(text: string): Place {
  const [dataDir, store, ...rest] = text.split("=");
  if (!dataDir || store === "" || rest.length > 0) {
    throw new InvalidArgumentError("It should be DIR, or DIR=STORE.");
  }
  return store === undefined ? { dataDir } : { dataDir, store };
}

const collect =
  <T>(parse: (text: string) => T) =>
  (text: string, before: T[]): T[] => [...before, parse(text)];

/** Adds `rebuild` to `cairn monitor`. */
export function registerMonitorRebuild(monitor: Command): void {
  const rebuild = monitor
    .command("rebuild")
    .description(
      "Make the store of a monitor anew from the maps that the OSDs hold, in a new generation.\n" +
        "The OSDs must not run meanwhile, and all that were up must be given.",
    )
    .requiredOption("--data <path>", "the monitor's new folder")
    .option("--osd-dir <dir[=store]>", "folder of an OSD; again for each", collect(placeValue), [])
    .option("--map-file <file>", "of `cairn osd export-map`; again for each", collect(String), [])
    .option("--without <id>", "an OSD that is gone for good", collect(countValue(0, 9999)), [])
    .option("--accept-loss", "go on although data that no map names will be removed");
  withOutput(rebuild).action(rebuildAction);
  withExamples(
    rebuild,
    "cairn monitor rebuild --data /var/lib/cairn/mon --osd-dir /var/lib/cairn/osd0 \\\n" +
      "      --osd-dir /var/lib/cairn/osd1=/dev/sdb --map-file osd2.map --without 3",
  );
}

/** Adds `export-map` to `cairn osd`. */
export function registerExportMap(osd: Command): void {
  const exportMap = osd
    .command("export-map")
    .description("Write what a stopped OSD knows of the cluster map, for `cairn monitor rebuild`.")
    .requiredOption("--data <path>", "the OSD's folder")
    .option("--store <path>", "block device or file of its store (default: in --data)")
    .requiredOption("--out <file>", "a new file");
  withOutput(exportMap).action(exportAction);
  withExamples(exportMap, "cairn osd export-map --data /var/lib/cairn/osd2 --out osd2.map");
}

async function rebuildAction(flags: RebuildFlags): Promise<void> {
  const [{ rebuild }, { readOfflineOsd }] = await Promise.all([
    import("../monitor/index.js"),
    import("../osd/index.js"),
  ]);
  const sources: unknown[] = [];
  for (const { dataDir, store } of flags.osdDir) sources.push(await readOfflineOsd(dataDir, store));
  for (const file of flags.mapFile) sources.push(await readMapFile(file));
  const made = await rebuild(flags.data, sources, {
    without: flags.without,
    acceptLoss: flags.acceptLoss === true,
  });
  const { map, fromEpoch, fromOsds, notRecovered } = made;
  const generation = generationOf(map.epoch);
  const result = {
    clusterId: map.clusterId,
    data: flags.data,
    epoch: map.epoch,
    generation,
    fromEpoch,
    fromOsds,
    osds: map.osds.length,
    pools: map.pools.map(({ name }) => name),
    notRecovered,
  };
  printResult(flags.format, result, () =>
    [
      `the store of the monitor is in ${flags.data}: epoch ${map.epoch}, generation ${generation}`,
      `made from epoch ${fromEpoch} of ${fromOsds.map((osd) => `osd.${osd}`).join(", ")}`,
      "not recovered:",
      ...notRecovered.map((line) => `    ${line}`),
    ].join("\n"),
  );
}

async function readMapFile(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch (thrown) {
    if (thrown instanceof SyntaxError) {
      throw new StorageError("corrupt", `${file} is damaged: ${thrown.message}`);
    }
    throw toStorageError(thrown, `read ${file}`);
  }
}

async function exportAction(flags: ExportFlags): Promise<void> {
  const { readOfflineOsd } = await import("../osd/index.js");
  const found = await readOfflineOsd(flags.data, flags.store);
  try {
    await writeFile(flags.out, `${JSON.stringify(found)}\n`, { flag: "wx", mode: 0o600 });
  } catch (thrown) {
    throw toStorageError(thrown, `write ${flags.out}`);
  }
  const { osd, map } = found;
  printResult(
    flags.format,
    { osd, epoch: map.epoch, out: flags.out },
    () => `map epoch ${map.epoch} of osd.${osd} is in ${flags.out}`,
  );
}
