// Loads the native addon (build/native/cairn.node) and types it. The only importer of the addon.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { StorageError, toStorageError } from "../common/errors.js";
import type { Native } from "./binding.js";

export type * from "./binding.js";

/**
 * Searches build/native upwards from this file: it runs from the sources and from dist/.
 * CAIRN_NATIVE_BUILD names another folder of build/: npm run teeth builds one with planted bugs.
 */
function addonPath(): string {
  const build = process.env.CAIRN_NATIVE_BUILD ?? "native";
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const candidate = join(folder, "build", build, "cairn.node");
    if (existsSync(candidate)) return candidate;
    if (dirname(folder) === folder) break;
  }
  throw new StorageError("not_found", "the native addon is not built", {
    remedy: "run `npm run build` in Cairn's folder",
  });
}

/**
 * @throws StorageError unsupported_feature: what was built does not load. So it is when this
 *   processor is older than the one it was built on (native/CMakeLists.txt marks what it needs).
 */
function load(path: string): Native {
  try {
    return createRequire(import.meta.url)(path) as Native;
  } catch (error) {
    const { message } = toStorageError(error);
    throw new StorageError("unsupported_feature", `the native addon does not load: ${message}`, {
      remedy: `Build it on this machine: rm -r ${dirname(path)} && npm run build`,
      cause: error,
    });
  }
}

export const native: Native = load(addonPath());
