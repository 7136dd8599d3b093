// Joins packages of hundreds of small modules into a few files in dist/node_modules, where Node looks
// before it looks in node_modules: to find and read the modules one by one took a third of the time
// that a `cairn` command needs to start. Tests run the sources and take the package itself.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rootFolder } from "./environment.mjs";

const bundles = [{ name: "@sinclair/typebox", parts: ["index", "compiler", "value"] }];

/** Makes what is not there yet in the installed version. After `npm ci` only: it needs esbuild. */
export async function bundlePackages() {
  for (const bundle of bundles) await bundlePackage(bundle);
}

async function bundlePackage({ name, parts }) {
  const source = join(rootFolder, "node_modules", name);
  const folder = join(rootFolder, "dist/node_modules", name);
  const { version } = readJson(join(source, "package.json"));
  const made = join(folder, "package.json");
  if (existsSync(made) && readJson(made).version === version) return;
  const { build } = await import("esbuild");
  const modules = parts.map((part) => (part === "index" ? "index.mjs" : `${part}/index.mjs`));
  await build({
    entryPoints: parts.map((out, i) => ({ in: join(source, "build/esm", modules[i]), out })),
    outdir: folder,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
  });
  mkdirSync(folder, { recursive: true });
  const exports = Object.fromEntries(
    parts.map((part) => [part === "index" ? "." : `./${part}`, `./${part}.js`]),
  );
  writeFileSync(made, JSON.stringify({ name, version, type: "module", exports }, null, 2));
}

function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}
