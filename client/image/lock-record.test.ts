// The lock's key-values and the notifications: what is written, and what is refused.
import { describe, expect, it } from "vitest";
import { encodeValue } from "../../proto/encoding.js";
import {
  decodeLock,
  decodeReply,
  decodeRequest,
  encodeReply,
  encodeRequest,
  type LockRecord,
  releaseSteps,
  takeSteps,
} from "./lock-record.js";
import { u64Value } from "./omap-values.js";

const record: LockRecord = {
  id: "7.3",
  client: "7",
  description: "host1 pid 7",
  token: 3,
  takenAt: 5,
  watchTimeoutMs: 10_000,
};

describe("the lock in a header", () => {
  it("is what takeSteps() has set", () => {
    const steps = takeSteps({ token: 2, holder: undefined }, record);
    const set = steps.filter(({ code }) => code === "omapSet");
    const omap = set.map(({ key = "", value = new Uint8Array() }): [string, Uint8Array] => [
      key,
      value,
    ]);
    expect(decodeLock(omap)).toEqual({ token: 3, holder: record });
    expect(decodeLock([])).toEqual({ token: 0, holder: undefined });
  });

  it("is compared before it is taken or freed", () => {
    const guards = takeSteps({ token: 3, holder: record }, { ...record, token: 4 }).slice(0, 3);
    expect(guards).toEqual([
      { code: "assertExists" },
      { code: "omapCompare", key: "lock", value: encodeValue(record) },
      { code: "omapCompare", key: "lock_token", value: u64Value(3) },
    ]);
    expect(releaseSteps(record)[0]).toEqual(guards[1]);
    // A key without a value compares as empty.
    expect(takeSteps({ token: 0, holder: undefined }, record)[2]?.value).toHaveLength(0);
  });

  it.each<[string, [string, Uint8Array][]]>([
    ["a short token", [["lock_token", Uint8Array.of(1)]]],
    [
      "no msgpack",
      [
        ["lock_token", u64Value(3)],
        ["lock", Uint8Array.of(0xc1)],
      ],
    ],
    [
      "another shape",
      [
        ["lock_token", u64Value(3)],
        ["lock", encodeValue({ id: "x" })],
      ],
    ],
    [
      "another token",
      [
        ["lock_token", u64Value(4)],
        ["lock", encodeValue(record)],
      ],
    ],
  ])("is corrupt with %s", (_what, omap) => {
    expect(() => decodeLock(omap)).toThrow(expect.objectContaining({ code: "corrupt" }));
  });
});

describe("notifications", () => {
  it("come back as they were", () => {
    const change = {
      kind: "resize",
      sizeBytes: 512,
      allowShrink: true,
      overcommit: false,
    } as const;
    const request = { op: "change", request: "00000000000000aa", change } as const;
    expect(decodeRequest(encodeRequest(request))).toEqual(request);
    expect(decodeReply(encodeReply({ answer: "releasing" }))).toEqual({ answer: "releasing" });
  });

  it("are refused when nobody knows them", () => {
    const unknown = encodeValue({ op: "format" });
    expect(() => decodeRequest(unknown)).toThrow(
      expect.objectContaining({ code: "protocol_error" }),
    );
    expect(() => decodeReply(unknown)).toThrow(expect.objectContaining({ code: "protocol_error" }));
  });
});
