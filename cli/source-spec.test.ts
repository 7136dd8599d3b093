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

  it("names a snapshot of a qcow2 file, or one of another image", () => {
    const shown = spec({ type: "qcow2", stream: file("/a"), snap_name: "monday" });
    expect(parseSourceSpec(shown)).toMatchObject({ location: "/a", snapshot: "monday" });
    const pool = { type: "native", pool_name: "rbd" };
    expect(parseSourceSpec(spec({ ...pool, image_name: "a", snap_name: "s" }))).toEqual({
      native: { pool: "rbd", namespace: "", image: "a", snap: "s" },
    });
    const ids = { pool_namespace: "n", image_id: "0123456789abcdef", snap_id: "4" };
    expect(parseSourceSpec(spec({ ...pool, ...ids }))).toEqual({
      native: {
        ...{ pool: "rbd", namespace: "n", snapId: 4 },
        ...{ image: ids.image_id, imageId: ids.image_id },
      },
    });
  });

  it.each([
    ["{", "invalid_argument", /no JSON/],
    [spec([]), "invalid_argument", /has to be an object/],
    [spec({ type: "vmdk", stream: file("/a") }), "invalid_argument", /"raw", "qcow2" or/],
    [spec({ type: "raw" }), "invalid_argument", /stream has to be an object/],
    [spec({ type: "raw", stream: file(7) }), "invalid_argument", /file_path/],
    [spec({ type: "raw", stream: { type: "s3" } }), "unsupported_feature", /type s3/],
    [spec({ type: "raw", stream: file("/a"), snapshots: [] }), "unsupported_feature", /snapshots/],
    [spec({ type: "native", pool_name: "rbd" }), "invalid_argument", /snapshot of an image/],
    [
      spec({ type: "native", pool_name: "a", image_name: "b", snap_id: "c" }),
      "invalid_argument",
      /snap_id has to be a number/,
    ],
    [
      spec({ type: "native", pool_name: "a", image_name: "b", snap_name: "c", cluster_name: "d" }),
      "unsupported_feature",
      /cluster_name/,
    ],
    [spec({ type: "raw", stream: file("/a"), snap_name: "s" }), "invalid_argument", /of a qcow2/],
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
