// Names of images as users write them.
import { describe, expect, it } from "vitest";
import { formatSpec, parseSpec } from "./spec.js";

describe("a spec", () => {
  it.each([
    ["a", "rbd", "", "a", undefined],
    ["fast/a", "fast", "", "a", undefined],
    ["fast/ns/a", "fast", "ns", "a", undefined],
    ["a@s", "rbd", "", "a", "s"],
    ["fast/ns/a.b-c_d@s.1", "fast", "ns", "a.b-c_d", "s.1"],
  ])("%s is read, and written in full", (text, pool, namespace, image, snap) => {
    const spec = parseSpec(text, { snap: "allowed" });
    expect(spec).toEqual({ pool, namespace, image, snap });
    expect(parseSpec(formatSpec(spec), { snap: "allowed" })).toEqual(spec);
  });

  it.each(["", "/a", "a/", "a//b", "a/b/c/d", "a@", "@s", "a@s@t", "a b", "a@s/t", "ä"])(
    "%j is refused",
    (text) => {
      const parse = () => parseSpec(text, { snap: "allowed" });
      expect(parse).toThrow(expect.objectContaining({ code: "invalid_argument" }));
    },
  );

  it("has a snapshot only where one is meant", () => {
    expect(() => parseSpec("a@s")).toThrow(/no snapshot is meant/);
    expect(() => parseSpec("a", { snap: "required" })).toThrow(/a snapshot is missing/);
  });

  it("takes the defaults that it is given, but a pool that is named stands for itself", () => {
    const rules = { pool: "fast", namespace: "ns" };
    expect(parseSpec("a", rules)).toMatchObject({ pool: "fast", namespace: "ns" });
    expect(parseSpec("rbd/a", rules)).toMatchObject({ pool: "rbd", namespace: "" });
  });
});
