// Tests of the argument values: sizes, counts, addresses, image names.
import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import { addressText, addressValue, countValue, durationValue, sizeValue } from "./options.js";

describe("addressValue", () => {
  it.each([
    ["127.0.0.1:6789", { host: "127.0.0.1", port: 6789 }],
    ["[::1]:0", { host: "::1", port: 0 }],
    ["mon.example:65535", { host: "mon.example", port: 65535 }],
  ])("takes %s, and addressText gives it back", (text, address) => {
    expect(addressValue(text)).toEqual(address);
    expect(addressText(address)).toBe(text);
  });

  it.each(["", "6789", "host:", ":6789", "host:65536", "::1:6789", "a b:1", "h/x:1"])(
    "refuses %j",
    (text) => {
      expect(() => addressValue(text)).toThrow(InvalidArgumentError);
    },
  );
});

describe("numbers", () => {
  it("takes whole numbers in a range", () => {
    const value = countValue(1, 64);
    expect([value("1"), value("64")]).toEqual([1, 64]);
    for (const text of ["0", "65", "", "1.5", "-1", "1e1", "one", "9".repeat(20)]) {
      expect(() => value(text)).toThrow(InvalidArgumentError);
    }
  });

  it("takes sizes and durations, and says what they should be", () => {
    expect(sizeValue("4G")).toBe(4 * 2 ** 30);
    expect(durationValue("10")).toBe(10_000);
    expect(() => sizeValue("4 bananas")).toThrow(/is not a size\. Write bytes/);
    expect(() => durationValue("-1s")).toThrow(InvalidArgumentError);
  });
});
