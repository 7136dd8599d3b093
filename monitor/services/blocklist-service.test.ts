// The blocklist: what is added, removed, and expires.
import { describe, expect, it } from "vitest";
import { testMap } from "../../proto/fixtures.js";
import { applyChanges, diff, type OsdMap, sealed } from "../../proto/osd-map.js";
import {
  blocklistDeadlineMs,
  expireBlocklist,
  maxBlocklistEntries,
  planBlocklistAdd,
  planBlocklistRemove,
} from "./blocklist-service.js";

const next = (map: OsdMap, changes: object): OsdMap => {
  const { hash: _hash, ...content } = applyChanges(map, changes, 0);
  return sealed(content);
};

describe("blocklist", () => {
  const empty = testMap(3);
  const one = next(empty, planBlocklistAdd(empty, { client: "7", untilMs: 5000 }));
  const two = next(one, planBlocklistAdd(one, { client: "3", untilMs: 9000 }));

  it("holds each client once, with its newest time", () => {
    expect(two.blocklist).toEqual([
      { client: "3", untilMs: 9000 },
      { client: "7", untilMs: 5000 },
    ]);
    const again = next(two, planBlocklistAdd(two, { client: "7", untilMs: 6000 }));
    expect(again.blocklist?.[1]).toEqual({ client: "7", untilMs: 6000 });
  });

  it("travels by incrementals, and leaves no trace when it is empty", () => {
    expect(diff(one, two)).toEqual({ blocklist: two.blocklist });
    const gone = next(one, planBlocklistRemove(one, "7"));
    expect("blocklist" in gone).toBe(false);
    expect(diff(one, gone)).toEqual({ blocklist: [] });
    expect(diff(empty, gone)).toEqual({});
  });

  it("removes only what is there", () => {
    expect(() => planBlocklistRemove(one, "8")).toThrow(
      expect.objectContaining({ code: "not_found" }),
    );
  });

  it("is bounded", () => {
    const blocklist = Array.from({ length: maxBlocklistEntries }, (_, i) => ({
      client: String(i),
      untilMs: 1,
    }));
    const full = { ...empty, blocklist };
    const add = (client: string) => planBlocklistAdd(full, { client, untilMs: 2 });
    expect(() => add("x")).toThrow(expect.objectContaining({ code: "too_large" }));
    expect(add("5").blocklist).toHaveLength(maxBlocklistEntries);
  });

  it("expires entry by entry", () => {
    expect(blocklistDeadlineMs(empty)).toBeUndefined();
    expect(blocklistDeadlineMs(two)).toBe(5000);
    expect(expireBlocklist(two, 4999)).toBeUndefined();
    expect(expireBlocklist(two, 5000)).toEqual({ blocklist: [{ client: "3", untilMs: 9000 }] });
  });
});
