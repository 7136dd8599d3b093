// `cairn monitor rebuild`: makes the lost store of a monitor anew from what OSDs that do not run
// have in theirs; `cairn osd export-map`: takes that from an OSD on another host.
import { readFile, writeFile } from "node:fs/promises";
import { StorageError, toStorageError } from "../common/errors.js";
import { generationOf } from "../proto/generation.js";
import type { OutputOptions } from "./options.js";
import { printResult } from "./output.js";

/** Where an OSD keeps its data. */
export interface OsdPlace {
  dataDir: string;
  store?: string;
}

interface RebuildFlags extends OutputOptions {
  data: string;
  osdDir: OsdPlace[];
  mapFile: string[];
  without: number[];
  acceptLoss?: true;
}

interface ExportFlags extends OutputOptions {
  data: string;
  store?: string;
  out: string;
}

export async function rebuildAction(flags: RebuildFlags): Promise<void> {
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
  printResult(flags, result, () =>
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

export async function exportAction(flags: ExportFlags): Promise<void> {
  const { readOfflineOsd } = await import("../osd/index.js");
  const found = await readOfflineOsd(flags.data, flags.store);
  try {
    await writeFile(flags.out, `${JSON.stringify(found)}\n`, { flag: "wx", mode: 0o600 });
  } catch (thrown) {
    throw toStorageError(thrown, `write ${flags.out}`);
  }
  const { osd, map } = found;
  printResult(
    flags,
    { osd, epoch: map.epoch, out: flags.out },
    () => `map epoch ${map.epoch} of osd.${osd} is in ${flags.out}`,
  );
}
