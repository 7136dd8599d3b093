// The live comparison with Ceph's crushtool: maps from a seed, printed, compiled and mapped by
// both. Runs where crushtool (Debian package ceph-base) is installed; with
// CAIRN_REQUIRE_CRUSHTOOL=1 its absence is a failure.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { native } from "../native/index.js";
import { crushtoolArguments, type GoldenCase, parseCases } from "../test/golden/crush/cases.mjs";
import {
  type CrushMap,
  compileCrushMap,
  defaultMap,
  formatMappings,
  type OsdSpec,
  osdWeights,
  parseCrushMap,
  printCrushMap,
  runTest,
  type TestOptions,
} from "./index.js";

const isInstalled = spawnSync("crushtool", ["--help"]).status !== null;
const isRequired = process.env.CAIRN_REQUIRE_CRUSHTOOL === "1";
const goldenFolder = join(import.meta.dirname, "../test/golden/crush");

function crushtool(args: string[]): string {
  const result = spawnSync("crushtool", args, { encoding: "utf8", maxBuffer: 1 << 28 });
  if (result.status !== 0) throw new Error(`crushtool ${args.join(" ")}: ${result.stderr}`);
  return result.stdout;
}

/** mulberry32: small numbers from a seed, for test maps only. */
function randomFrom(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) % bound;
  };
}

function randomMap(seed: number): CrushMap {
  const below = randomFrom(seed);
  const osds: OsdSpec[] = Array.from({ length: 5 + below(40) }, (_, id) => {
    const host = below(9);
    return {
      id,
      host: `host${host}`,
      rack: `rack${host % 3}`,
      weight: below(8000) / 1000,
      deviceClass: ["hdd", "ssd", undefined][below(3)],
    };
  });
  const map = defaultMap(osds, "host");
  const [rule] = map.rules;
  if (rule === undefined) throw new Error("defaultMap made no rule");
  const take = { op: "take", itemId: -1 } as const;
  const emit = { op: "emit" } as const;
  const leaf = (mode: "firstn" | "indep", typeId: number) =>
    ({ op: "chooseleaf", mode, count: 0, typeId }) as const;
  const [deviceClass] = map.classes;
  const rules = [
    [take, leaf("indep", 1), emit],
    [{ ...take, deviceClass }, leaf("firstn", 1), emit],
    [{ op: "set_chooseleaf_tries", value: 5 } as const, take, leaf("indep", 3), emit],
    [{ op: "set_chooseleaf_vary_r", value: 3 } as const, take, leaf("firstn", 3), emit],
    [{ op: "set_choose_tries", value: 3 } as const, take, leaf("indep", 0), emit],
  ].map((steps, index) => ({ ...rule, id: index + 1, name: `rule${index + 1}`, steps }));
  // Printing rounds weights to three digits; the map under test is what both sides read.
  return parseCrushMap(printCrushMap({ ...map, rules: [rule, ...rules] }));
}

describe.runIf(isInstalled || isRequired)("against crushtool", () => {
  let scratch = "";
  beforeAll(() => {
    if (!isInstalled) throw new Error("crushtool is required here but not installed (ceph-base)");
    scratch = mkdtempSync(join(tmpdir(), "crush-test-"));
  });
  afterAll(() => {
    if (scratch !== "") rmSync(scratch, { recursive: true });
  });

  const compileWithCrushtool = (text: string): string => {
    const textPath = join(scratch, "map.txt");
    const binaryPath = join(scratch, "map.bin");
    writeFileSync(textPath, text);
    crushtool(["-c", textPath, "-o", binaryPath]);
    return binaryPath;
  };

  function* ourLines(golden: GoldenCase, map: CrushMap): Generator<string> {
    const { rule: ruleId, numRep, minX, maxX } = golden;
    const options: TestOptions = { ruleId, numRep, minX, maxX };
    const given = golden.weights.map(([osd, weight]): [number, number] => [osd, Number(weight)]);
    const batches = runTest(native, compileCrushMap(map), options, osdWeights(map, given));
    for (const batch of batches) yield formatMappings(batch, options);
  }

  it.each([1, 2, 3, 4, 5, 6, 7, 8])("random map %i: text and mappings", (seed) => {
    const map = randomMap(seed);
    const text = printCrushMap(map);
    const binaryPath = compileWithCrushtool(text);
    expect(crushtool(["-d", binaryPath])).toBe(text);
    // Without the shadow ids: both sides have to hand out the same ones.
    const withoutShadows = text.replace(/^\tid -\d+ class .*\n/gm, "");
    expect(printCrushMap(parseCrushMap(withoutShadows))).toBe(
      crushtool(["-d", compileWithCrushtool(withoutShadows)]),
    );
    const remade = compileWithCrushtool(text);
    for (const rule of map.rules) {
      const golden = {
        ...{ rule: rule.id, numRep: 1 + ((seed + rule.id) % 6), minX: 0, maxX: 1999 },
        weights: [
          [0, "0"],
          [2, "0.4"],
          [4, "0.99"],
        ],
      } as GoldenCase;
      expect([...ourLines(golden, map)].join("")).toBe(
        crushtool(crushtoolArguments(golden, remade)),
      );
    }
  });

  const million = parseCases(readFileSync(join(goldenFolder, "cases.txt"), "utf8")).filter(
    (golden: GoldenCase) => golden.maxX >= 999_999,
  );

  it.each(million)(
    "$name: the SHA-256 of a million lines",
    (golden: GoldenCase) => {
      const map = parseCrushMap(readFileSync(join(goldenFolder, `${golden.map}.txt`), "utf8"));
      const sha256 = createHash("sha256");
      for (const lines of ourLines(golden, map)) sha256.update(lines);
      expect(sha256.digest("hex")).toBe(golden.sha256);
    },
    120_000,
  );
});
