// What a fresh machine needs: Node's version, Debian packages, npm packages. Imports node:* only.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const rootFolder = dirname(dirname(fileURLToPath(import.meta.url)));

/** An error for the user: printed without a stack. */
export class UserError extends Error {}

/** The user has said stop. */
export class Stopped extends UserError {
  constructor(signalName) {
    super(`stopped by ${signalName}`);
  }
}

/** What a child has to stop in, before it is killed. */
const stopGraceMs = 10_000;

/**
 * An AbortSignal that SIGINT, SIGTERM and SIGHUP (the terminal has gone) abort; its reason is the
 * signal's name. These do not end the process any more.
 */
export function abortBySignals() {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"])
    process.on(name, () => controller.abort(name));
  // What is written when the terminal has gone is lost; what has to be stopped is stopped.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
  return controller.signal;
}

/** Settles as `work` does, but rejects with Stopped as soon as the signal aborts. */
export function unlessStopped(signal, work) {
  return new Promise((done, reject) => {
    const stop = () => reject(new Stopped(signal.reason));
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
    work.then(done, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** Asks a child to stop, kills it when it does not, and waits until it is gone. */
export function stopChild(child) {
  if (!child || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((done) => {
    const timer = setTimeout(() => child.kill("SIGKILL"), stopGraceMs);
    child.on("close", () => {
      clearTimeout(timer);
      done();
    });
    child.kill("SIGTERM");
  });
}

/** Prints a step's name, then how long it took; rethrows what it throws. */
export async function step(name, run) {
  const started = Date.now();
  process.stderr.write(`* ${name}\n`);
  const result = await run();
  const seconds = (Date.now() - started) / 1000;
  if (seconds >= 1) process.stderr.write(`  ${name}: done in ${seconds.toFixed(1)} s\n`);
  return result;
}

/**
 * Runs a command to its end. Its output goes to our stderr, or with `quiet` is shown only when it
 * fails. With a `signal` that aborts, the command is stopped first.
 * Rejects with a UserError that names the command (`title`), or with Stopped.
 */
export function run(command, args, options = {}) {
  const { quiet = false, env = process.env, detached = false, signal } = options;
  const title = options.title ?? `${command} ${args.join(" ")}`;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) throw new Stopped(signal.reason);
    const child = spawn(command, args, {
      cwd: rootFolder,
      env,
      detached,
      stdio: ["ignore", quiet ? "pipe" : 2, quiet ? "pipe" : 2],
    });
    const stop = () => stopChild(child);
    signal?.addEventListener("abort", stop, { once: true });
    const chunks = [];
    child.stdout?.on("data", (chunk) => chunks.push(chunk));
    child.stderr?.on("data", (chunk) => chunks.push(chunk));
    child.on("error", (error) => reject(new UserError(`cannot run ${command}: ${error.message}`)));
    child.on("close", (code, killedBy) => {
      signal?.removeEventListener("abort", stop);
      if (signal?.aborted) return reject(new Stopped(signal.reason));
      if (code === 0) return resolve();
      process.stderr.write(Buffer.concat(chunks));
      reject(new UserError(`${title} failed (${killedBy ?? `exit code ${code}`})`));
    });
  });
}

export function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  throw new UserError(
    `Cairn needs Node.js 20.19 or later; this is ${process.versions.node}. ` +
      "Install a newer one from https://nodejs.org or your distribution.",
  );
}

function missingPackages(packages) {
  const query = spawnSync(
    "dpkg-query",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query fills these fields
    ["-W", "-f", "${Package} ${db:Status-Abbrev}\n", ...packages],
    {
      encoding: "utf8",
    },
  );
  if (query.error) {
    throw new UserError(
      "dpkg-query not found: Cairn's scripts know Debian 12; elsewhere install by hand",
    );
  }
  const installed = new Set(
    query.stdout
      .split("\n")
      .filter((line) => line.includes(" ii"))
      .map((line) => line.split(" ")[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

/** Installs what is missing of the groups of debian-packages.json when root; else tells how to. */
export async function ensurePackages(groups, { signal } = {}) {
  const lists = JSON.parse(readFileSync(join(rootFolder, "scripts/debian-packages.json"), "utf8"));
  const missing = missingPackages(groups.flatMap((group) => lists[group]));
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new UserError(
      "Debian packages are missing. As root, run:\n\n  apt-get update && apt-get install -y " +
        `--no-install-recommends ${missing.join(" ")}\n\nand start again.`,
    );
  }
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const options = { quiet: true, env, signal };
  await step(`installing ${missing.length} Debian packages: ${missing.join(" ")}`, async () => {
    await run("apt-get", ["update", "-q"], options);
    const install = ["install", "-y", "-q", "--no-install-recommends", ...missing];
    await run("apt-get", install, options);
  });
}

/** npm ci, skipped while the lockfile and Node's version are those of the last time. */
export async function ensureNpm({ signal } = {}) {
  const hash = createHash("sha256");
  hash.update(readFileSync(join(rootFolder, "package-lock.json")));
  hash.update(process.version);
  const wanted = hash.digest("hex");
  const stamp = join(rootFolder, "node_modules", ".cairn-lock-hash");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  await step("installing npm packages", async () => {
    await run("npm", ["ci", "--no-audit", "--no-fund"], { quiet: true, signal });
    mkdirSync(dirname(stamp), { recursive: true });
    writeFileSync(stamp, wanted);
  });
}

/** The folder with node_api.h of the Node that runs this. */
export function nodeIncludeFolder() {
  const prefix = dirname(dirname(process.execPath));
  const folder = join(prefix, "include", "node");
  if (existsSync(join(folder, "node_api.h"))) return folder;
  throw new UserError(
    `Node's headers are missing: no ${folder}/node_api.h. Install them (Debian: libnode-dev, ` +
      "or use Node's own archive, which holds them).",
  );
}

/** Ends the process with exit code 1 and a clear line when main() rejects. */
export function runMain(main) {
  main().catch((error) => {
    process.stderr.write(`${error instanceof UserError ? error.message : error.stack}\n`);
    process.exitCode = 1;
  });
}

export function commandOutput(command, args) {
  return execFileSync(command, args, { encoding: "utf8" });
}
