// Builds the native addon and the TypeScript: `npm run build`. Imports node:* only.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { bundlePackages, bundleProgram } from "./bundle.mjs";
import {
  checkNode,
  ensureNpm,
  ensurePackages,
  nodeIncludeFolder,
  rootFolder,
  run,
  runMain,
  step,
} from "./environment.mjs";

/** Configures a build folder of native/ once; options: extra -D arguments. */
export async function configureNative(folder, options = [], { signal } = {}) {
  if (existsSync(join(rootFolder, folder, "build.ninja"))) return;
  const args = ["-S", "native", "-B", folder, "-G", "Ninja", ...options];
  await run("cmake", args, { quiet: true, signal });
}

/** Configures build/fuzz: ASan and UBSan by clang, for fuzzers and C++ tests. @returns it */
export async function configureSanitizedByClang() {
  const folder = "build/fuzz";
  await configureNative(folder, [
    "-DCMAKE_C_COMPILER=clang-14",
    "-DCMAKE_CXX_COMPILER=clang++-14",
    "-DCAIRN_FUZZ=ON",
    "-DCAIRN_SANITIZE=address,undefined",
  ]);
  return folder;
}

/** Builds the addon, with `tests` the C++ test programs and benchmarks too; or just the targets. */
export async function buildNative({ tests = false, targets, signal } = {}) {
  const node = [
    `-DCAIRN_NODE_INCLUDE=${nodeIncludeFolder()}`,
    `-DCAIRN_NODE_ADDON_API=${join(rootFolder, "node_modules/node-addon-api")}`,
  ];
  await configureNative("build/native", node, { signal });
  const chosen = targets ?? (tests ? ["all"] : ["cairn_addon"]);
  await run("ninja", ["-C", "build/native", ...chosen], { signal });
}

export async function buildTypeScript({ signal } = {}) {
  await run(process.execPath, ["node_modules/typescript/bin/tsc", "-b"], { signal });
  await bundlePackages();
  await bundleProgram();
}

/** @param options signal: an AbortSignal that stops it */
export async function buildAll({ packageGroups = ["build"], tests = false, signal } = {}) {
  checkNode();
  await ensurePackages(packageGroups, { signal });
  await ensureNpm({ signal });
  await step("building the native core", () => buildNative({ tests, signal }));
  await step("building the TypeScript", () => buildTypeScript({ signal }));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) runMain(() => buildAll());
