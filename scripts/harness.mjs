// Runs a part of the harness: builds what is missing, then test/NAME/main.ts with the arguments
// behind it. `npm run fsx -- --ops 1000` is `node scripts/harness.mjs fsx --ops 1000`.
// Imports node:* only.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { buildAll } from "./build.mjs";
import { rootFolder, runMain, UserError } from "./environment.mjs";

runMain(async () => {
  const [name, ...options] = process.argv.slice(2);
  const program = join(rootFolder, "test", name ?? "", "main.ts");
  if (name === undefined || !existsSync(program)) {
    throw new UserError("usage: node scripts/harness.mjs NAME [ARGUMENT]...");
  }
  await buildAll({ packageGroups: ["build", "start", "test"], tests: true });
  const tsx = join(rootFolder, "node_modules/tsx/dist/cli.mjs");
  const { status } = spawnSync(process.execPath, [tsx, program, ...options], { stdio: "inherit" });
  process.exitCode = status ?? 1;
});
