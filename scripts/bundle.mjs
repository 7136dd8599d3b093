// Joins packages of hundreds of small modules into a few files in dist/node_modules, where Node
// looks before it looks in node_modules: to find and read the modules one by one took half of the
// time that a `cairn` command needs to start. Tests run the sources and take the package itself.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rootFolder, run } from "./environment.mjs";

const bundles = [{ name: "@sinclair/typebox", parts: ["index", "compiler", "value"] }];

/** Makes what is not there yet in the installed version. After `npm ci` only: it runs esbuild. */
export async function bundlePackages() {
  for (const bundle of bundles) await bundlePackage(bundle);
}

async function bundlePackage({ name, parts }) {
  const source = join(rootFolder, "node_modules", name);
  const folder = join(rootFolder, "dist/node_modules", name);
  const { version } = readJson(join(source, "package.json"));
  const made = join(folder, "package.json");
  if (existsSync(made) && readJson(made).version === version) return;
  const entries = parts.map((part) => {
    const module = part === "index" ? "index.mjs" : `${part}/index.mjs`;
    return `${part}=${join(source, "build/esm", module)}`;
  });
  const options = ["--bundle", "--splitting", "--format=esm", "--platform=node", "--target=node20"];
  const esbuild = join(rootFolder, "node_modules/.bin/esbuild");
  await run(esbuild, [...entries, ...options, `--outdir=${folder}`, "--log-level=warning"]);
  mkdirSync(folder, { recursive: true });
  const exports = Object.fromEntries(
    parts.map((part) => [part === "index" ? "." : `./${part}`, `./${part}.js`]),
  );
  writeFileSync(made, JSON.stringify({ name, version, type: "module", exports }, null, 2));
}

function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}
