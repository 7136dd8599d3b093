// Tests of the comparison of copies: equal ones, and each way in which they are not.
import { describe, expect, it } from "vitest";
import { comparePg, type ObjectCopy, type PgCopy } from "./copies.js";

function object(name: string, data: string, description = "1.1", badBlocks = 0): ObjectCopy {
  return { name, data: Buffer.from(data), description: Buffer.from(description), badBlocks };
}

/** Objects in the order in which a store has them. */
function copy(osd: number, ...objects: ObjectCopy[]): PgCopy {
  return {
    osd,
    next: async (after) => {
      const behind = objects.findIndex(({ name }) => name === after);
      return objects[after === null ? 0 : behind + 1] ?? null;
    },
  };
}

describe("copies of a PG laid beside each other", () => {
  const a = object("a", "abc");
  const b = object("b", "defg");

  it("are equal when each byte is", async () => {
    const equal = await comparePg([copy(0, a, b), copy(1, object("a", "abc"), b), copy(2, a, b)]);
    expect(equal).toEqual({ names: ["a", "b"], comparedBytes: 7, differences: [] });
    expect(await comparePg([copy(0), copy(1)])).toMatchObject({ names: [], differences: [] });
  });

  it("differ by one byte, by a tail, by a description", async () => {
    const others = [object("a", "abd"), object("a", "abcd"), object("a", "abc", "1.2")];
    const found = await Promise.all(others.map((it) => comparePg([copy(4, a), copy(6, it)])));
    expect(found.map(({ differences }) => differences)).toEqual([
      ["a: data of osd.4 and osd.6 differs from byte 2"],
      ["a: data of osd.4 and osd.6 differs from byte 3"],
      ["a: description of osd.4 and osd.6 differs from byte 2"],
    ]);
    expect(found.every(({ comparedBytes }) => comparedBytes === 0)).toBe(true);
  });

  it("tell of an object that some lack, and go on behind it", async () => {
    const found = await comparePg([copy(0, b), copy(1, a, b), copy(2, a, object("b", "defx"))]);
    expect(found.names).toEqual(["a", "b"]);
    expect(found.differences).toEqual([
      "a: absent on osd.0",
      "b: data of osd.0 and osd.2 differs from byte 3",
    ]);
  });

  it("are walked in the order of the names' bytes", async () => {
    // By UTF-16 units the first would be behind the second.
    const names = ["\u{ff5e}", "\u{1f600}"].map((name) => object(name, "x"));
    const found = await comparePg([copy(0, ...names), copy(1, ...names.slice(1))]);
    expect(found.names).toEqual(names.map(({ name }) => name));
    expect(found.differences).toEqual([`${names[0]?.name}: absent on osd.1`]);
  });

  it("may have bad blocks only where that is tolerated, and the rest counts", async () => {
    const bad = object("a", "\0bc", "1.1", 1);
    const pair = [copy(0, a), copy(1, bad)];
    expect((await comparePg(pair)).differences).toEqual(["a: 1 bad blocks on osd.1"]);
    expect((await comparePg(pair, { tolerateBadBlocks: true })).differences).toEqual([]);
    const other = [copy(0, a), copy(1, object("a", "\0bc", "1.2", 1))];
    expect((await comparePg(other, { tolerateBadBlocks: true })).differences).toEqual([
      "a: description of osd.0 and osd.1 differs from byte 2",
    ]);
  });
});
