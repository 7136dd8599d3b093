// Joins hundreds of small modules into a few files: to find and read them one by one takes a large
// part of the time that a `cairn` command needs to start. Packages go to dist/node_modules, where
// Node looks before it looks in node_modules; the program itself to dist/bundle, which bin/cairn
// runs. Tests that import sources take neither.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rootFolder, run } from "./environment.mjs";

const bundles = [{ name: "@sinclair/typebox", parts: ["index", "compiler", "value"] }];

/** Makes what is not there yet in the installed version. After `npm ci` only: it runs esbuild. */
export async function bundlePackages() {
  for (const bundle of bundles) await bundlePackage(bundle);
}

/**
 * Joins what tsc has made of cairn's own modules. Each verb keeps a file of its own, which is
 * loaded when it runs. The files lie as deep below dist as the modules that look for files of the
 * repository: the entry as dist/cli/main.js, the others as dist/cli/local-cluster. What is up to
 * date stays untouched: commands may be running, and load their files when they need them.
 */
export async function bundleProgram() {
  const dist = join(rootFolder, "dist");
  const folder = join(dist, "bundle");
  const madeMs = changedMs(join(folder, "main.js"));
  const sources = readdirSync(dist).map((name) => join(dist, name, "tsconfig.tsbuildinfo"));
  if ([fileURLToPath(import.meta.url), ...sources].every((file) => changedMs(file) <= madeMs))
    return;
  const fresh = `${folder}.new`;
  const old = `${folder}.old`;
  rmSync(fresh, { recursive: true, force: true });
  await esbuild(
    ...[join(dist, "cli/main.js"), "--packages=external"],
    ...["--chunk-names=chunks/[name]-[hash]", `--outdir=${fresh}`],
  );
  // Whole or not at all: without it, bin/cairn runs what was compiled.
  rmSync(old, { recursive: true, force: true });
  if (existsSync(folder)) renameSync(folder, old);
  renameSync(fresh, folder);
  rmSync(old, { recursive: true, force: true });
}

function changedMs(file) {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
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
  await esbuild(...entries, `--outdir=${folder}`);
  mkdirSync(folder, { recursive: true });
  const exports = Object.fromEntries(
    parts.map((part) => [part === "index" ? "." : `./${part}`, `./${part}.js`]),
  );
  writeFileSync(made, JSON.stringify({ name, version, type: "module", exports }, null, 2));
}

async function esbuild(...args) {
  const program = join(rootFolder, "node_modules/.bin/esbuild");
  const options = ["--bundle", "--splitting", "--format=esm", "--platform=node", "--target=node20"];
  await run(program, [...args, ...options, "--log-level=warning"]);
}

function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}
