// What is kept of scrubs, from one to the next.
import { describe, expect, it } from "vitest";
import { maxBadBlocks, maxInconsistentObjects } from "../../proto/scrub.js";
import {
  countsOf,
  decodeScrubRecord,
  encodeScrubRecord,
  type FoundObject,
  newScrubRecord,
  noFindings,
  ownFindings,
  ownRecord,
  recordAfter,
  withFound,
} from "./record.js";

const blocks = (object: string, badBlocks: number[], repaired = false): FoundObject => ({
  object,
  repaired,
  good: [0],
  bad: [{ osd: 1, problem: "none", badBlocks }],
});
const missing = (object: string): FoundObject => ({
  object,
  repaired: false,
  good: [0],
  bad: [{ osd: 1, problem: "missing", badBlocks: [] }],
});
const findings = (...found: FoundObject[]) => found.reduce(withFound, noFindings);

describe("a scrub record", () => {
  it("is the same after it was stored; what can't be read counts as none", () => {
    const record = recordAfter(newScrubRecord(5), findings(blocks("o", [1, 2])), true, 9);
    expect(decodeScrubRecord(encodeScrubRecord(record))).toEqual(record);
    for (const text of ["", "{", "{}", '{"sinceMs":-1}']) {
      expect(decodeScrubRecord(text)).toBeUndefined();
    }
  });

  it("a deep scrub replaces all, a light one says nothing of blocks", () => {
    const found = findings(blocks("o1", [1, 2]), missing("o2"));
    const deep = recordAfter(newScrubRecord(1), found, true, 10);
    expect(deep).toMatchObject({ lastMs: 10, lastDeepMs: 10, copyErrors: 1, blockErrors: 2 });
    const light = recordAfter(deep, findings(missing("o3")), false, 20);
    expect(light).toMatchObject({ lastMs: 20, lastDeepMs: 10, copyErrors: 1, blockErrors: 2 });
    expect(light.objects.map(({ object }) => object)).toEqual(["o3", "o1"]);
    const clean = recordAfter(light, noFindings, true, 30);
    expect(clean).toMatchObject({ copyErrors: 0, blockErrors: 0, objects: [] });
  });

  it("has what a repair has left", () => {
    const repaired = findings(blocks("o1", [1, 2, 3], true), blocks("o2", [4]));
    expect(countsOf(repaired)).toEqual({ errors: 4, repaired: 3 });
    expect(recordAfter(newScrubRecord(1), repaired, true, 10)).toMatchObject({
      blockErrors: 1,
      copyErrors: 0,
      objects: [{ object: "o2" }],
    });
  });

  it("of a PG that was divided since speaks of its own objects", () => {
    const found = findings(blocks("mine", [1, 2]), missing("mine too"), blocks("childs", [3]));
    const both = recordAfter(newScrubRecord(1), found, true, 10);
    const isMine = (object: string) => object.startsWith("mine");
    expect(ownRecord(both, isMine)).toEqual(
      recordAfter(
        newScrubRecord(1),
        findings(blocks("mine", [1, 2]), missing("mine too")),
        true,
        10,
      ),
    );
    expect(ownRecord(both, (object) => !isMine(object))).toEqual(
      recordAfter(newScrubRecord(1), findings(blocks("childs", [3])), true, 10),
    );
    expect(ownRecord(both, () => true)).toBe(both);
    expect(ownFindings(found, (object) => !isMine(object))).toEqual(
      findings(blocks("childs", [3])),
    );
  });

  it("lists so many and counts all", () => {
    const many = Array.from({ length: 200 }, (_, at) =>
      blocks(
        `o${at}`,
        Array.from({ length: 100 }, (_item, index) => index),
      ),
    );
    const record = recordAfter(newScrubRecord(1), findings(...many), true, 10);
    expect(record.blockErrors).toBe(20_000);
    expect(record.objects).toHaveLength(maxInconsistentObjects);
    expect(record.objects[0]?.bad[0]).toMatchObject({ badBlockCount: 100 });
    expect(record.objects[0]?.bad[0]?.badBlocks).toHaveLength(maxBadBlocks);
  });
});
