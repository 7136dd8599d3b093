// Tests of the argument values: sizes, counts, addresses, image names.
import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import { nbdValue } from "./nbd-target.js";
import {
  addressText,
  addressValue,
  countValue,
  durationValue,
  imageSizeValue,
  momentValue,
  powerOfTwoSize,
  shareValue,
  sizeValue,
  watchTimeoutValue,
} from "./options.js";

describe("imageSizeValue", () => {
  it.each([
    ["1024M", 2 ** 30],
    ["1024B", 1024],
    ["0", 0],
    ["1048576", 2 ** 20],
  ])("takes %s", (text, bytes) => {
    expect(imageSizeValue(text)).toBe(bytes);
  });

  it.each(["1", "1024", "1048575"])("refuses %s, which rbd takes for MiB", (text) => {
    expect(() => imageSizeValue(text)).toThrow(`Write ${text}M, or ${text}B`);
  });
});

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

  it("takes powers of two and shares", () => {
    expect([powerOfTwoSize("4M"), shareValue("0.5"), shareValue("1")]).toEqual([2 ** 22, 0.5, 1]);
    for (const text of ["3M", "0"]) expect(() => powerOfTwoSize(text)).toThrow(/power of two/);
    for (const text of ["1.1", "-1", "half"]) expect(() => shareValue(text)).toThrow(/from 0 to 1/);
  });

  it("takes moments: now, from now on, and dates", () => {
    const value = momentValue(() => 1000);
    expect([value("now"), value("2s"), value("tomorrow")]).toEqual([1000, 3000, 86_401_000]);
    expect(value("2026-01-31T00:00:00Z")).toBe(Date.UTC(2026, 0, 31));
    for (const text of ["soon", "7", "2026-13-45"]) expect(() => value(text)).toThrow(/a date/);
  });
});

describe("watchTimeoutValue", () => {
  it.each([
    ["1ms", 1],
    ["3s", 3000],
    ["5m", 300_000],
  ])("takes %s", (text, timeoutMs) => expect(watchTimeoutValue(text)).toBe(timeoutMs));

  it.each(["0", "0.1ms", "301s", "99d"])("refuses %s, and says the range", (text) => {
    expect(() => watchTimeoutValue(text)).toThrow("from 1ms to 5m");
  });
});

describe("nbdValue", () => {
  it("takes a port that clients can know, and refuses port 0", () => {
    expect(nbdValue("tcp:[::1]:10809")).toEqual({ tcp: { host: "::1", port: 10809 } });
    expect(() => nbdValue("tcp:127.0.0.1:0")).toThrow("from 1 to 65535");
  });
});
