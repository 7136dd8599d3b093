// `npm run bench -- NAME [ARGUMENT]...`: builds what is missing, the native benchmarks too, then
// runs bench/NAME.ts with the arguments behind it. Imports node:* only.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { buildAll, buildNative } from "./build.mjs";
import { rootFolder, runMain, step, UserError } from "./environment.mjs";

const names = "ceph cluster growth images import recovery split vhost-null".split(" ");
// What benchmarks compare with in the same run.
const targets = ["bench_net", "bench_vhost_null", "bench_vhost_null_server"];

runMain(async () => {
  const [name, ...options] = process.argv.slice(2);
  if (!names.includes(name))
    throw new UserError(`usage: npm run bench -- NAME [ARGUMENT]..., NAME of: ${names.join(", ")}`);
  await buildAll({ packageGroups: ["build", "start"] });
  await step("building the native benchmarks", () => buildNative({ targets }));
  const tsx = join(rootFolder, "node_modules/tsx/dist/cli.mjs");
  const program = join(rootFolder, "bench", `${name}.ts`);
  const { status } = spawnSync(process.execPath, [tsx, program, ...options], { stdio: "inherit" });
  process.exitCode = status ?? 1;
});
