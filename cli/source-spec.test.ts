// Source specs of rbd, and what is refused in them.
import { describe, expect, it } from "vitest";
import { originOf, parseSourceSpec } from "./source-spec.js";

const file = (path: unknown) => ({ type: "file", file_path: path });
const spec = (value: unknown) => JSON.stringify(value);

describe("a source spec", () => {
  it("is a format and a stream", () => {
    expect(parseSourceSpec(spec({ type: "qcow2", stream: file("/a/b") }))).toEqual({
      format: "qcow2",
      stream: "file",
      location: "/a/b",
    });
    const url = "https://example.org/disk.raw?x=1";
    expect(parseSourceSpec(spec({ type: "raw", stream: { type: "http", url } }))).toEqual({
      format: "raw",
      stream: "http",
      location: url,
    });
  });

  it.each([
    ["{", "invalid_argument", /no JSON/],
    [spec([]), "invalid_argument", /has to be an object/],
    [spec({ type: "vmdk", stream: file("/a") }), "invalid_argument", /"raw" or "qcow2"/],
    [spec({ type: "raw" }), "invalid_argument", /stream has to be an object/],
    [spec({ type: "raw", stream: file(7) }), "invalid_argument", /file_path/],
    [spec({ type: "raw", stream: { type: "s3" } }), "unsupported_feature", /type s3/],
    [spec({ type: "raw", stream: file("/a"), snapshots: [] }), "unsupported_feature", /snapshots/],
    [spec({ type: "native", pool_name: "rbd" }), "unsupported_feature", /native/],
    [
      spec({ type: "raw", stream: { type: "http", url: "ftp://a" } }),
      "invalid_argument",
      /no http/,
    ],
    [
      spec({ type: "raw", stream: { type: "http", url: "http://u:p@a/" } }),
      "unsupported_feature",
      /password/,
    ],
  ])("%s is refused", (text, code, message) => {
    const refusal = { code, message: expect.stringMatching(message) };
    expect(() => parseSourceSpec(text)).toThrow(expect.objectContaining(refusal));
  });
});

it("a word is a URL or a path from here", () => {
  expect(originOf("http://a/b")).toEqual({ stream: "http", location: "http://a/b" });
  expect(originOf("disk.raw").location).toBe(`${process.cwd()}/disk.raw`);
});
