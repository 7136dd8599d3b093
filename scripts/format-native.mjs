// Formats the C++ sources with clang-format-14 (.clang-format). `--check` changes nothing, lists the
// files that are not formatted, and exits with 1 when there is one. Imports node:* only.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rootFolder, runMain, UserError } from "./environment.mjs";

const formatter = "clang-format-14";

function sources() {
  return readdirSync(join(rootFolder, "native"), { recursive: true })
    .filter((path) => /\.(cc|hh)$/.test(path))
    .map((path) => join("native", path))
    .sort();
}

function formatted(path) {
  const result = spawnSync(formatter, [path], { cwd: rootFolder, encoding: "utf8" });
  if (result.error?.code === "ENOENT") {
    throw new UserError(`${formatter} is missing: apt-get install -y ${formatter}`);
  }
  if (result.status !== 0) throw new UserError(`${formatter} ${path} failed: ${result.stderr}`);
  return result.stdout;
}

async function main() {
  const check = process.argv.includes("--check");
  const others = sources().filter((path) => {
    const wanted = formatted(path);
    if (readFileSync(join(rootFolder, path), "utf8") === wanted) return false;
    if (!check) writeFileSync(join(rootFolder, path), wanted);
    return true;
  });
  for (const path of others) process.stdout.write(`${path}: ${check ? "not " : ""}formatted\n`);
  if (check && others.length > 0) throw new UserError("run `npm run format`");
}

runMain(main);
