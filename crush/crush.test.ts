// Text maps, shadow ids, the builder and the tester, against the golden files that crushtool made
// (test/golden/crush). What needs crushtool itself is in crushtool.test.ts.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { StorageError } from "../common/errors.js";
import { native } from "../native/index.js";
import { type GoldenCase, parseCases } from "../test/golden/crush/cases.mjs";
import {
  addOsd,
  type CrushMap,
  compileCrushMap,
  defaultMap,
  formatMappings,
  osdWeights,
  parseCrushMap,
  printCrushMap,
  removeOsd,
  reweight,
  runTest,
  SummaryCounter,
  type TestOptions,
} from "./index.js";
import { formatWeight, weightFromNumber } from "./weight.js";

const folder = join(import.meta.dirname, "../test/golden/crush");
const read = (name: string): string => readFileSync(join(folder, name), "utf8");
const cases: GoldenCase[] = parseCases(read("cases.txt"));
const mapNames = [...new Set(cases.map((golden) => golden.map))];

const base = `
tunable choose_local_tries 0
tunable choose_local_fallback_tries 0
tunable choose_total_tries 50
tunable chooseleaf_descend_once 1
tunable chooseleaf_vary_r 1
tunable chooseleaf_stable 1
device 0 osd.0 class ssd
device 1 osd.1 class hdd
type 0 osd
type 1 host
type 10 root
host host0 {
  id -2
  alg straw2
  hash 0
  item osd.0 weight 1.5
  item osd.1
}
root default {
  alg straw2
  item host0
}
rule r {
  id 0
  type replicated
  step take default class ssd
  step chooseleaf firstn 0 type osd
  step emit
}
`;

function errorOf(text: string): StorageError {
  try {
    parseCrushMap(text);
  } catch (error) {
    if (error instanceof StorageError) return error;
    throw error;
  }
  throw new Error("the map was accepted");
}

const lineOf = (text: string, part: string): number =>
  text.slice(0, text.indexOf(part)).split("\n").length;

function mappingLines(map: CrushMap, options: TestOptions, weights: Uint32Array): string {
  let text = "";
  for (const batch of runTest(native, compileCrushMap(map), options, weights))
    text += formatMappings(batch, options);
  return text;
}

describe("text maps", () => {
  it.each(mapNames)("%s: parse and print give crushtool's bytes", (name) => {
    expect(printCrushMap(parseCrushMap(read(`${name}.txt`)))).toBe(read(`${name}.txt`));
  });

  it.each(mapNames)("%s: the compiled form is the committed one", (name) => {
    const compiled = compileCrushMap(parseCrushMap(read(`${name}.txt`)));
    expect(Buffer.from(compiled).equals(readFileSync(join(folder, `${name}.cmap`)))).toBe(true);
  });

  it("gives ids and shadow ids that the text leaves out", () => {
    const map = parseCrushMap(base);
    expect(map.buckets.map((bucket) => [bucket.id, bucket.shadowIds])).toEqual([
      [-2, { ssd: -3, hdd: -5 }],
      [-1, { ssd: -4, hdd: -6 }],
    ]);
    expect(map.buckets[1]?.items).toEqual([{ id: -2, weight: 2.5 * 0x10000 }]);
  });

  it.each([
    ["alg straw2", "alg list", "bucket host0 uses alg list; Cairn places with straw2 only"],
    ["alg straw2", "alg uniform", "bucket host0 uses alg uniform"],
    ["hash 0", "hash 2", "bucket host0 uses hash 2"],
    ["choose_local_tries 0", "choose_local_tries 2", "tunable choose_local_tries is 2"],
    ["chooseleaf_stable 1", "chooseleaf_stable 7", "tunable chooseleaf_stable is 7"],
    ["tunable choose_total_tries 50", "tunable msr_descents 3", "tunable msr_descents is unknown"],
    ["step emit", "step set_choose_local_tries 3", "step set_choose_local_tries"],
    ["rule r {", "choose_args 0 {\n}\nrule r {", "choose_args"],
  ])("refuses by name: %s -> %s", (from, to, message) => {
    const text = base.replace(from, to);
    const error = errorOf(text);
    expect(error.code).toBe("unsupported_feature");
    expect(error.message).toContain(message);
    expect(error.message).toContain(`line ${lineOf(text, to.split("\n", 1).join())}: `);
  });

  it("refuses a map that leaves the legacy tunables in force", () => {
    const error = errorOf(base.replace("tunable choose_local_tries 0\n", ""));
    expect(error.code).toBe("unsupported_feature");
    expect(error.message).toContain("choose_local_tries");
  });

  it.each([
    ["item osd.1", "item osd.9", "item osd.9 in bucket host0 isn't defined"],
    ["item osd.1", "item default", "item default in bucket host0 isn't defined"],
    ["item osd.1", "item osd.0", "defined twice"],
    ["item osd.1", "item osd.1 weight x", '"x" where a weight'],
    ["item osd.1", "item osd.1 weight 101", "weighs 101"],
    ["item osd.1", "item osd.1 weight -1", "weighs -1"],
    ["device 1 osd.1", "device 1 osd.0", "osd.0 is defined twice"],
    ["device 1 osd.1", "device 0 osd.1", "device 0 is defined twice"],
    ["host host0", "chassis host0", '"chassis" is neither'],
    ["take default class ssd", "take default class nvme", "no device has class nvme"],
    ["take default class ssd", "take nowhere", "item nowhere in rule r isn't defined"],
    ["type osd", "type disk", "type disk isn't defined"],
    ["firstn 0", "firstn 1000", "a count is 1000"],
    ["id -2", "id 2", "a bucket's id"],
    ["  step emit\n}", "  step emit", "the map ends"],
  ])("refuses: %s -> %s", (from, to, message) => {
    expect(errorOf(base.replace(from, to)).message).toContain(message);
  });

  it("refuses buckets nested deeper than 16", () => {
    let text = "";
    for (let level = 1; level <= 20_000; level += 1) {
      const below = level === 1 ? "host0" : `deep${level - 1}`;
      text += `host deep${level} {\n alg straw2\n item ${below}\n}\n`;
    }
    expect(errorOf(base.replace("root default", `${text}root default`)).code).toBe("too_large");
  });
});

describe("weights", () => {
  it("reads as crushtool: a float, cut to 16.16", () => {
    expect(weightFromNumber(1.000001)).toBe(0x10000);
    expect(weightFromNumber(0.1)).toBe(6553);
    expect(weightFromNumber(7.277)).toBe(476905);
  });

  it("prints as %.3f, halves to even", () => {
    expect([4096, 12288, 0x10000, 476905, 0].map(formatWeight)).toEqual([
      "0.062",
      "0.188",
      "1.000",
      "7.277",
      "0.000",
    ]);
  });
});

describe("the tester through the native mapper", () => {
  it.each(cases)("$name: crushtool's first lines", (golden) => {
    const expected = read(`${golden.name}.lines`);
    const map = parseCrushMap(read(`${golden.map}.txt`));
    const { rule: ruleId, numRep, minX } = golden;
    const maxX = minX + expected.split("\n").length - 2;
    const given = golden.weights.map(([osd, weight]): [number, number] => [osd, Number(weight)]);
    const lines = mappingLines(map, { ruleId, numRep, minX, maxX }, osdWeights(map, given));
    expect(lines).toBe(expected);
  });

  it("joins batches without a gap", () => {
    // A rule that costs nothing: 64 entries a row make three batches of these inputs.
    const map = parseCrushMap(base.replace(/step take[\s\S]+emit/, "step take osd.0\n  step emit"));
    const options = { ruleId: 0, numRep: 64, minX: 10, maxX: 9000 };
    const lines = mappingLines(map, options, osdWeights(map, [])).trimEnd().split("\n");
    expect(lines.map((line) => Number(line.split(" ")[4]))).toEqual(
      Array.from({ length: 8991 }, (_, index) => 10 + index),
    );
  });

  it("counts placements, holes and short rows", () => {
    const weights = Uint32Array.of(0x10000, 0x10000, 0);
    const counter = new SummaryCounter(2, weights);
    counter.add({ firstX: 0, rows: Int32Array.of(0, 1, 0, 0x7fffffff, 0, 0x7ffffffe) });
    expect(counter.result()).toEqual({
      mappingCount: 3,
      badMappingCount: 2,
      countByOsd: [3, 1, 0],
      meanCount: 2,
      standardDeviation: 1,
    });
  });
});

describe("the builder", () => {
  const osds = [
    { id: 0, host: "a", rack: "r1", weight: 1, deviceClass: "hdd" },
    { id: 1, host: "a", weight: 2, deviceClass: "ssd" },
    { id: 2, host: "b", rack: "r2", weight: 0.5, deviceClass: "hdd" },
  ];

  it("builds root, racks, hosts and OSDs with summed weights", () => {
    const map = defaultMap(osds);
    const byName = new Map(map.buckets.map((bucket) => [bucket.name, bucket]));
    expect([...byName.keys()].sort()).toEqual(["a", "b", "default", "r1", "r2"]);
    expect(byName.get("default")?.items.map((item) => item.weight / 0x10000)).toEqual([3, 0.5]);
    expect(map.classes).toEqual(["hdd", "ssd"]);
    expect(parseCrushMap(printCrushMap(map))).toEqual(map);
  });

  it("places replicas on different hosts, or OSDs when asked", () => {
    const options = { ruleId: 0, numRep: 3, minX: 0, maxX: 99 };
    const rows = (map: CrushMap): number[] =>
      mappingLines(map, options, osdWeights(map, []))
        .trimEnd()
        .split("\n")
        .map((line) => line.split(",").length);
    expect(new Set(rows(defaultMap(osds)))).toEqual(new Set([2]));
    expect(new Set(rows(defaultMap(osds, "osd")))).toEqual(new Set([3]));
  });

  it("adds, reweights and removes without moving ids", () => {
    const first = defaultMap(osds);
    const added = addOsd(first, { id: 7, host: "c", weight: 1, deviceClass: "nvme" });
    const shadowsOf = (map: CrushMap): [string, number | undefined][] =>
      map.buckets.map((bucket) => [bucket.name, bucket.shadowIds.hdd]);
    expect(shadowsOf(added)).toEqual(expect.arrayContaining(shadowsOf(first)));
    const heavier = reweight(added, 7, 4);
    expect(heavier.buckets.find((bucket) => bucket.name === "default")?.items).toContainEqual({
      id: added.buckets.find((bucket) => bucket.name === "c")?.id,
      weight: 4 * 0x10000,
    });
    const removed = removeOsd(heavier, 7);
    expect(removed.devices.map((device) => device.id)).toEqual([0, 1, 2]);
    expect(() => removeOsd(removed, 7)).toThrow(/isn't in the CRUSH map/);
    expect(() => addOsd(first, { id: 0, host: "a", weight: 1 })).toThrow(/already/);
    expect(() => reweight(first, 0, 200)).toThrow(/at most 100/);
  });
});
