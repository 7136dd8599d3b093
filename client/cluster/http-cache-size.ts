// How much of an image file of a web server is kept by a client that reads it.
import { StorageError } from "../../common/errors.js";
import { parseSize } from "../../common/units.js";

const defaultBytes = 256 << 20;
/** Some chunks: readers that take turns would otherwise fetch the same again and again. */
const minBytes = 4 << 20;
const variable = "CAIRN_HTTP_CACHE_BYTES";

/** @throws invalid_argument */
export function httpCacheBytesOf(
  given: number | undefined,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): number {
  const text = environment[variable] ?? "";
  const bytes = given ?? (text === "" ? defaultBytes : parsed(text));
  if (Number.isSafeInteger(bytes) && bytes >= minBytes) return bytes;
  throw new StorageError("invalid_argument", `a cache of ${bytes} bytes is too small`, {
    remedy: `Give ${minBytes} or more (${variable}).`,
  });
}

function parsed(text: string): number {
  try {
    return parseSize(text);
  } catch (cause) {
    throw new StorageError("invalid_argument", `${variable} is no size: "${text}"`, {
      remedy: "Give a number of bytes, such as 1G.",
      cause,
    });
  }
}
