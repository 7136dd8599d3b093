// `npm run teeth`: builds what is to be hunted, with the planted bugs in it, then runs
// test/teeth/main.ts with the arguments given. Imports node:* only.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { buildAll, buildNative, configureSanitizedByClang } from "./build.mjs";
import { rootFolder, run, runMain, step } from "./environment.mjs";

/** What the hunters run, with the bugs in it: explorer, addon, with `fuzzer` that of rings too. */
export async function buildPlanted({ fuzzer }) {
  await buildNative({ targets: ["planted"] });
  if (!fuzzer) return;
  await run("ninja", ["-C", await configureSanitizedByClang(), "fuzz_virtqueue_planted"]);
}

/** Runs test/teeth/main.ts to its end. @param stdout as of spawnSync's stdio */
export function runTeeth(args, stdout) {
  const tsx = join(rootFolder, "node_modules/tsx/dist/cli.mjs");
  const program = join(rootFolder, "test/teeth/main.ts");
  return spawnSync(process.execPath, [tsx, program, ...args], {
    encoding: "utf8",
    stdio: ["ignore", stdout, "inherit"],
  });
}

async function main() {
  await buildAll({ packageGroups: ["build", "start", "test"] });
  await step("building with planted bugs", () => buildPlanted({ fuzzer: true }));
  process.exitCode = runTeeth(process.argv.slice(2), "inherit").status ?? 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) runMain(main);
