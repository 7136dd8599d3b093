// The bound of what is kept of a web server's file: given, from the environment, or neither.
import { expect, it } from "vitest";
import { httpCacheBytesOf } from "./http-cache-size.js";

it("is what is given, else what the environment says, else 256 MiB", () => {
  const environment = { CAIRN_HTTP_CACHE_BYTES: "1G" };
  expect(httpCacheBytesOf(8 << 20, environment)).toBe(8 << 20);
  expect(httpCacheBytesOf(undefined, environment)).toBe(2 ** 30);
  expect(httpCacheBytesOf(undefined, { CAIRN_HTTP_CACHE_BYTES: "" })).toBe(256 << 20);
  expect(httpCacheBytesOf(undefined, {})).toBe(256 << 20);
});

it.each(["many", "-1", "1", "1M"])("can't be %s", (text) => {
  const refused = expect.objectContaining({ code: "invalid_argument" });
  expect(() => httpCacheBytesOf(undefined, { CAIRN_HTTP_CACHE_BYTES: text })).toThrow(refused);
});
