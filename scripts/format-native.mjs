// Formats the C++ sources with clang-format-14 (.clang-format). `--check` changes nothing, lists
// the files that are not formatted, and exits with 1 when there is one. Imports node:* only.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { rootFolder, runMain, UserError } from "./environment.mjs";

const formatter = "clang-format-14";

function sources() {
  return readdirSync(join(rootFolder, "native"), { recursive: true })
    .filter((path) => /\.(cc|hh)$/.test(path))
    .map((path) => join("native", path))
    .sort();
}

function runFormatter(options) {
  const result = spawnSync(formatter, [...options, ...sources()], {
    cwd: rootFolder,
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (result.error?.code === "ENOENT") {
    throw new UserError(`${formatter} is missing: apt-get install -y ${formatter}`);
  }
  return result;
}

async function check() {
  const { status, stderr } = runFormatter(["--dry-run", "-Werror"]);
  const violation = /^(\S+?):\d+:\d+: error: code should be clang-formatted/gm;
  const paths = new Set([...stderr.matchAll(violation)].map((match) => match[1]));
  for (const path of paths) process.stdout.write(`${path}: not formatted\n`);
  if (paths.size > 0) throw new UserError("run `npm run format`");
  if (status !== 0) throw new UserError(`${formatter} failed: ${stderr}`);
}

async function format() {
  const { status, stderr } = runFormatter(["-i"]);
  if (status !== 0) throw new UserError(`${formatter} failed: ${stderr}`);
}

runMain(process.argv.includes("--check") ? check : format);
