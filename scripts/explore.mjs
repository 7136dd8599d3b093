// `npm run explore`: builds the crash explorer of the object store and runs it with the arguments
// given (native/explore/README.md). Exit code: 0 no finding, 1 a finding, 2 bad arguments.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { buildNative } from "./build.mjs";
import { ensurePackages, rootFolder, runMain, UserError } from "./environment.mjs";

runMain(async () => {
  await ensurePackages(["build"]);
  await buildNative({ targets: ["explore"] });
  const program = join(rootFolder, "build/native/explore");
  const result = spawnSync(program, process.argv.slice(2), { stdio: "inherit" });
  if (result.error) throw new UserError(`cannot run ${program}: ${result.error.message}`);
  process.exitCode = result.status ?? 1;
});
