// `npm run teeth`: builds everything once more with the planted bugs in it, then runs
// test/teeth/main.ts with the arguments given. Imports node:* only.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { buildAll, configureNative, configureSanitizedByClang } from "./build.mjs";
import { nodeIncludeFolder, rootFolder, run, runMain, step } from "./environment.mjs";

const planted = "-DCAIRN_PLANTED_BUGS=ON";

async function buildPlanted() {
  await configureNative("build/planted", [
    planted,
    `-DCAIRN_NODE_INCLUDE=${nodeIncludeFolder()}`,
    `-DCAIRN_NODE_ADDON_API=${join(rootFolder, "node_modules/node-addon-api")}`,
  ]);
  await run("ninja", ["-C", "build/planted", "cairn_addon", "explore"]);
  await configureSanitizedByClang("build/fuzz-planted", [planted]);
  await run("ninja", ["-C", "build/fuzz-planted", "fuzz_virtqueue"]);
}

runMain(async () => {
  await buildAll({ packageGroups: ["build", "start", "test"] });
  await step("building with planted bugs", buildPlanted);
  const tsx = join(rootFolder, "node_modules/tsx/dist/cli.mjs");
  const program = join(rootFolder, "test/teeth/main.ts");
  const { status } = spawnSync(process.execPath, [tsx, program, ...process.argv.slice(2)], {
    stdio: "inherit",
  });
  process.exitCode = status ?? 1;
});
