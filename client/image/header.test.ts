// The bytes of docs/format/image.md: those of test/golden/image/header.json are what every version
// has to read and write.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  decodeHeader,
  decodePending,
  encodePending,
  headerSteps,
  type ImageHeader,
  u64Value,
} from "./header.js";

interface Golden {
  header: { id: string; values: Record<string, string> };
  pending: { record: { state: "importing"; name: string; refreshedAt: number }; value: string };
}

const file = new URL("../../test/golden/image/header.json", import.meta.url);
const golden = JSON.parse(readFileSync(file, "utf8")) as Golden;

const header: ImageHeader = {
  id: "00000000deadbeef",
  sizeBytes: 5 * 2 ** 30 + 512,
  order: 22,
  objectPrefix: "rbd_data.00000000deadbeef",
  features: 0n,
  createdAt: 1_700_000_000_000,
  trimEndBytes: undefined,
};

function goldenOmap(): [string, Uint8Array][] {
  return Object.entries(golden.header.values).map(([key, hex]) => [key, Buffer.from(hex, "hex")]);
}

describe("the image header", () => {
  it("is written as the golden bytes say", () => {
    const written = headerSteps(header).map(({ key, value }) => [
      key,
      Buffer.from(value ?? []).toString("hex"),
    ]);
    expect(Object.fromEntries(written)).toEqual(golden.header.values);
  });

  it("is read from them, also while it shrinks", () => {
    expect(decodeHeader(golden.header.id, goldenOmap())).toEqual(header);
    const shrinking: [string, Uint8Array] = ["trim_end", u64Value(2 ** 40)];
    expect(decodeHeader(header.id, [...goldenOmap(), shrinking]).trimEndBytes).toBe(2 ** 40);
  });

  it.each([
    ["a missing size", "size", undefined, "corrupt"],
    ["a size of 7 bytes", "size", "00000000000000", "corrupt"],
    ["a size above 2^53", "size", "ffffffffffffffff", "corrupt"],
    ["a size above the largest image", "size", "0000000000000100", "corrupt"],
    ["an order of 63", "order", "3f", "corrupt"],
    ["an order of 2 bytes", "order", "1600", "corrupt"],
    ["another image's prefix", "object_prefix", "7262645f646174612e31", "corrupt"],
    ["a prefix that is no text", "object_prefix", "ff", "corrupt"],
    ["a feature of the future", "features", "0000000000000080", "unsupported_feature"],
  ])("is refused with %s", (_what, key, hex, code) => {
    const omap = goldenOmap().filter(([other]) => other !== key);
    if (hex !== undefined) omap.push([key, Buffer.from(hex, "hex")]);
    expect(() => decodeHeader(header.id, omap)).toThrow(expect.objectContaining({ code }));
  });
});

describe("a pending entry", () => {
  it("is written and read as the golden bytes say", () => {
    const { record, value } = golden.pending;
    expect(Buffer.from(encodePending(record)).toString("hex")).toBe(value);
    expect(decodePending(Buffer.from(value, "hex"))).toEqual(record);
  });

  it.each(["", "c0", "80", "ff00", "83a57374617465a6626f6775732d"])("refuses %j", (hex) => {
    const decode = () => decodePending(Buffer.from(hex, "hex"));
    expect(decode).toThrow(expect.objectContaining({ code: "corrupt" }));
  });
});
