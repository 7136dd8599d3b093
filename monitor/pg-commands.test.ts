// Who is asked for a scrub; what is listed of its findings, and of what no OSD has.
import { describe, expect, it } from "vitest";
import { pgId } from "../common/units.js";
import type { PgRow } from "../proto/commands.js";
import type { MessageFromMonitor } from "../proto/messages.js";
import type { Cluster } from "./cluster.js";
import { inconsistentObjects, scrubPgs, unfoundObjects } from "./pg-commands.js";

const row = (seed: number, pool: string, primary: number): PgRow =>
  ({ pgid: pgId(1, seed), pool, primary }) as PgRow;
const rows = [row(0, "rbd", 2), row(1, "rbd", -1), row(2, "other", 1)];

/** What is sent, in place of the OSDs' connections. */
function told(args: Parameters<typeof scrubPgs>[2]) {
  const sent: [number, MessageFromMonitor][] = [];
  const cluster = { tell: (osd: number, message: MessageFromMonitor) => sent.push([osd, message]) };
  return { result: scrubPgs(cluster as unknown as Cluster, rows, args), sent };
}

describe("pg scrub", () => {
  it("asks the primaries of a pool, and says which PGs have none", () => {
    const { result, sent } = told({ pool: "rbd", mode: "repair", request: 9 });
    expect(result).toEqual({ asked: [pgId(1, 0)], unserved: [pgId(1, 1)] });
    expect(sent).toEqual([[2, { kind: "scrubPg", pgid: pgId(1, 0), mode: "repair", request: 9 }]]);
  });

  it("asks the primary of one PG", () => {
    const { sent } = told({ pgid: pgId(1, 2), mode: "scrub", request: 9 });
    expect(sent.map(([osd]) => osd)).toEqual([1]);
  });

  it.each([
    [{}, "invalid_argument"],
    [{ pgid: pgId(1, 0), pool: "rbd" }, "invalid_argument"],
    [{ pgid: pgId(1, 7) }, "not_found"],
    [{ pool: "none" }, "not_found"],
  ])("refuses %j", (args, code) => {
    const both = { ...args, mode: "scrub" as const, request: 1 };
    expect(() => told(both)).toThrow(expect.objectContaining({ code }));
  });
});

describe("pg list inconsistent", () => {
  it("has what the primary reports, nothing of a PG that was never scrubbed", () => {
    const objects = [{ object: "o", good: [0], bad: [] }];
    const scrub = { lastMs: 4, lastDeepMs: 3, errors: 1, objects, finished: [] };
    const pgs = [{ ...row(0, "rbd", 0), scrub }, row(1, "rbd", 0)];
    expect(inconsistentObjects(pgs, pgId(1, 0))).toMatchObject({ errors: 1, objects });
    expect(inconsistentObjects(pgs, pgId(1, 1))).toMatchObject({ errors: 0, objects: [] });
  });
});

describe("pg list unfound", () => {
  it("has the names that the primary reports, and how many there are in all", () => {
    const pgs = [
      { ...row(0, "rbd", 0), unfound: 3, unfoundObjects: ["a", "b"] },
      { ...row(1, "rbd", 0), unfound: 0 },
    ];
    const found = { pgid: pgId(1, 0), unfound: 3, objects: ["a", "b"] };
    expect(unfoundObjects(pgs, pgId(1, 0))).toEqual(found);
    expect(unfoundObjects(pgs, pgId(1, 1))).toMatchObject({ unfound: 0, objects: [] });
    expect(() => unfoundObjects(pgs, pgId(1, 9))).toThrow(
      expect.objectContaining({ code: "not_found" }),
    );
  });
});
