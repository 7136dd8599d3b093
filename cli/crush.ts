// `cairn crush ...`: commands on CRUSH maps in files. `test` prints what crushtool --test
// --show-mappings prints, so that the two can be compared with cmp.
import { readFileSync } from "node:fs";
import type { Writable } from "node:stream";
import { StorageError, toStorageError } from "../common/errors.js";
import {
  type CrushMap,
  type CrushPort,
  checkTestOptions,
  compileCrushMap,
  formatMappings,
  mappingsOf,
  osdWeights,
  parseCrushMap,
  runTest,
  SummaryCounter,
  type TestOptions,
  type TestSummary,
} from "../crush/index.js";

/** What the commands need from outside. */
export interface CrushContext {
  native: CrushPort;
  stdout: Writable;
  stderr: Writable;
}

type OutputFormat = "text" | "json";

interface TestFlags {
  rule: number;
  numRep: number;
  minX: number;
  maxX: number;
  weight: string[];
  summary?: true;
  format: OutputFormat;
}

function usageError(message: string): StorageError {
  return new StorageError("invalid_argument", message, {
    remedy: "`cairn crush test --help` shows the usage.",
  });
}

/**
 * Sorts out the words behind --weight: pairs of OSD and weight. The parser gives --weight all words
 * up to the next option, so MAPFILE can be among them: it stands where an OSD number should.
 */
function splitWeightWords(
  words: readonly string[],
  mapPath: string | undefined,
): { mapPath: string; weights: [osdId: number, weight: number][] } {
  const weights: [number, number][] = [];
  let path = mapPath;
  for (let index = 0; index < words.length; ) {
    const osd = words[index] ?? "";
    const weight = words[index + 1];
    if (!/^[0-9]+$/.test(osd) && path === undefined) {
      path = osd;
      index += 1;
      continue;
    }
    if (!/^[0-9]+$/.test(osd)) throw usageError(`--weight: "${osd}" isn't an OSD number`);
    if (weight === undefined || !/^([0-9]+\.?[0-9]*|\.[0-9]+)$/.test(weight))
      throw usageError(`--weight ${osd}: a weight from 0 to 1 should follow`);
    weights.push([Number(osd), Number(weight)]);
    index += 2;
  }
  if (path === undefined) throw usageError("MAPFILE is missing");
  return { mapPath: path, weights };
}

function readMap(path: string): CrushMap {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw toStorageError(error, `read ${path}`);
  }
  try {
    return parseCrushMap(text);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    throw new StorageError(error.code, `${path}: ${error.message}`, { remedy: error.remedy });
  }
}

/**
 * Writes the pieces in order, each when the one before has left the process, so that at most one is
 * held in memory. Ends early and quietly when the reader has gone (EPIPE), as with `| head`.
 */
async function writeAll(stream: Writable, pieces: Iterable<string>): Promise<void> {
  // The failure arrives through the callback too; without a listener it would end the process.
  const onError = (): void => undefined;
  stream.on("error", onError);
  try {
    for (const piece of pieces) {
      const failure = await new Promise<NodeJS.ErrnoException | null | undefined>((resolve) =>
        stream.write(piece, resolve),
      );
      if (failure?.code === "EPIPE") return;
      if (failure) throw toStorageError(failure, "write the output");
    }
  } finally {
    // The error event comes on the tick after the callback.
    setImmediate(() => stream.off("error", onError));
  }
}

function* mappingPieces(
  batches: ReturnType<typeof runTest>,
  options: TestOptions,
  format: OutputFormat,
): Generator<string> {
  if (format === "text") {
    for (const batch of batches) yield formatMappings(batch, options);
    return;
  }
  yield `{"rule":${options.ruleId},"numRep":${options.numRep},"mappings":[`;
  let separator = "\n";
  for (const batch of batches) {
    let piece = "";
    for (const mapping of mappingsOf(batch, options)) {
      piece += separator + JSON.stringify(mapping);
      separator = ",\n";
    }
    yield piece;
  }
  yield "\n]}\n";
}

interface TimedSummary extends TestSummary {
  /** Of the native mapper and the counting. */
  mappingsPerSecond: number;
}

function summarize(
  batches: ReturnType<typeof runTest>,
  options: TestOptions,
  weights: Uint32Array,
): TimedSummary {
  const counter = new SummaryCounter(options.numRep, weights);
  const startMs = performance.now();
  for (const batch of batches) counter.add(batch);
  const seconds = (performance.now() - startMs) / 1000;
  const summary = counter.result();
  return { ...summary, mappingsPerSecond: Math.round(summary.mappingCount / seconds) };
}

function* summaryPieces(
  map: CrushMap,
  summary: TimedSummary,
  options: TestOptions,
  format: OutputFormat,
): Generator<string> {
  const osds = map.devices.map((device) => ({
    id: device.id,
    name: device.name,
    count: summary.countByOsd[device.id] ?? 0,
  }));
  if (format === "json") {
    const { countByOsd: _, ...figures } = summary;
    const { ruleId: rule, numRep } = options;
    yield `${JSON.stringify({ rule, numRep, ...figures, osds })}\n`;
    return;
  }
  for (const osd of osds) yield `${osd.name}\t${osd.count}\n`;
  yield `mean ${summary.meanCount.toFixed(1)}, `;
  yield `standard deviation ${summary.standardDeviation.toFixed(1)}\n`;
  yield `${summary.mappingCount} mappings, ${summary.badMappingCount} bad, `;
  yield `${summary.mappingsPerSecond} mappings/s\n`;
}

async function runTestCommand(
  context: CrushContext,
  mapArgument: string | undefined,
  flags: TestFlags,
): Promise<void> {
  const { mapPath, weights: given } = splitWeightWords(flags.weight, mapArgument);
  const { rule: ruleId, numRep, minX, maxX } = flags;
  const options: TestOptions = { ruleId, numRep, minX, maxX };
  checkTestOptions(options);
  const map = readMap(mapPath);
  if (!map.rules.some((rule) => rule.id === ruleId)) {
    const known = map.rules.map((rule) => rule.id).join(", ");
    throw new StorageError("not_found", `${mapPath}: no rule ${ruleId}; it has: ${known}`);
  }
  const weights = osdWeights(map, given);
  const batches = runTest(context.native, compileCrushMap(map), options, weights);
  const pieces =
    flags.summary === true
      ? summaryPieces(map, summarize(batches, options, weights), options, flags.format)
      : mappingPieces(batches, options, flags.format);
  await writeAll(context.stdout, pieces);
}

/**
 * The action of `cairn crush test`. Errors reject its promise as a StorageError; exit codes are
 * those of exitCodeOf: 2 for wrong arguments, 1 for a failure.
 */
export const testAction =
  (context: CrushContext) =>
  (mapArgument: string | undefined, flags: TestFlags): Promise<void> =>
    runTestCommand(context, mapArgument, flags);
