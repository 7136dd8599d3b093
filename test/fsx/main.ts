// The command: see README.md. Exit code 0: nothing found; 1: a finding or a failure; 2: usage.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readClusterFile } from "../../cli/local-cluster/cluster-dir.js";
import { ClusterClient } from "../../client/index.js";
import { Exercise, Finding } from "./exercise.js";
import { makeImagePort } from "./image-paths.js";
import { minSizeBytes, OperationSource } from "./operations.js";

const usage = `usage: npm run fsx -- [--ops N] [--seed S] [--dir FOLDER]
  --ops N     operations (default 20000)
  --seed S    draws the same operations again
  --dir DIR   where the cluster's folder is made (default: the project's folder)
`;

const root = join(fileURLToPath(import.meta.url), "../../..");

interface Options {
  operations: number;
  seed: bigint;
  dir: string;
}

function optionsOf(): Options {
  const { values } = parseArgs({
    options: {
      ops: { type: "string", default: "20000" },
      seed: { type: "string", default: randomBytes(6).readUIntLE(0, 6).toString() },
      dir: { type: "string", default: root },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    process.exit(0);
  }
  const operations = Number(values.ops);
  if (!Number.isSafeInteger(operations) || operations < 1)
    throw new Error("--ops: a number from 1");
  if (!/^\d+$/.test(values.seed)) throw new Error("--seed: a decimal number");
  return { operations, seed: BigInt(values.seed), dir: values.dir };
}

function cairn(dir: string, ...args: string[]): void {
  execFileSync(process.execPath, [join(root, "bin/cairn"), ...args, "--dir", dir], {
    stdio: ["ignore", "ignore", "inherit"],
  });
}

async function runAll(run: Exercise, source: OperationSource, operations: number): Promise<void> {
  try {
    for (let index = 0; index < operations; ++index) {
      await run.run(source.next());
      if (process.stderr.isTTY && index % 100 === 0) {
        process.stderr.write(`\r${index} of ${operations} operations`);
      }
    }
    await run.finish();
  } catch (thrown) {
    await run.abandon();
    throw thrown;
  }
}

async function exercise({ operations, seed }: Options, folder: string): Promise<void> {
  const file = readClusterFile(join(folder, "cluster"));
  if (file === undefined) throw new Error("cairn up has left no cluster file");
  const cluster = await ClusterClient.connect({ monitor: file.monitor });
  const other = await ClusterClient.connect({ monitor: file.monitor });
  try {
    const port = await makeImagePort(root, folder, { cluster, other }, minSizeBytes);
    const source = new OperationSource(seed, minSizeBytes);
    const run = await Exercise.begin(port, source.path(), minSizeBytes);
    const startMs = performance.now();
    await runAll(run, source, operations);
    const seconds = (performance.now() - startMs) / 1000;
    if (process.stderr.isTTY) process.stderr.write("\r");
    for (const [what, count] of Object.entries(run.counts).sort()) {
      process.stdout.write(`  ${what}: ${count}\n`);
    }
    process.stdout.write(`${operations} operations in ${seconds.toFixed(1)} s, no difference\n`);
  } finally {
    await other.close();
    await cluster.close();
  }
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = optionsOf();
  } catch (thrown) {
    process.stderr.write(`fsx: ${(thrown as Error).message}\n${usage}`);
    return 2;
  }
  const { operations, seed } = options;
  process.stdout.write(`seed ${seed}, ${operations} operations\n`);
  const folder = mkdtempSync(join(options.dir, ".test-fsx-"));
  const clusterDir = join(folder, "cluster");
  let failed = true;
  try {
    cairn(clusterDir, "up");
    await exercise(options, folder);
    failed = false;
  } catch (thrown) {
    if (!(thrown instanceof Finding)) throw thrown;
    process.stdout.write(`FINDING ${thrown.message}\n`);
    for (const line of thrown.history) process.stdout.write(`  ${line}\n`);
    process.stdout.write(`again: npm run fsx -- --ops ${operations} --seed ${seed}\n`);
  } finally {
    cairn(clusterDir, "down", ...(failed ? [] : ["--purge"]));
    if (failed) process.stdout.write(`the cluster's files and logs stay in ${folder}\n`);
    else rmSync(folder, { recursive: true, force: true });
  }
  return failed ? 1 : 0;
}

process.exitCode = await main();
