// `npm start`: from nothing to a guest that boots from a replicated volume. Installs and builds
// what is missing, starts a local cluster, imports a disk image, attaches it with vhost-user-blk,
// boots QEMU from it and streams the guest's serial console until Ctrl-C.
//
//   npm start -- [--once] [--image FILE.qcow2] [--dir DIR] [--memory MiB]
//
// Whatever happens, the processes that it started are stopped when it ends. Imports node:* only.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildAll } from "./build.mjs";
import { rootFolder, runMain, step, UserError } from "./environment.mjs";
import { demoImagePath, makeGuestImage } from "./guest-image.mjs";

const usage = `usage: npm start -- [--once] [--image FILE.qcow2] [--dir DIR] [--memory MiB]

  --once        stop everything after the guest's userland is up, and exit 0
  --image FILE  boot this image (qcow2 or raw) instead of the demo guest
  --dir DIR     the cluster's folder (default: CAIRN_DIR, or .cairn)
  --memory MiB  the guest's memory (default 512)
`;
const bootTimeoutMs = 180_000;

function options() {
  try {
    const { values } = parseArgs({
      options: {
        once: { type: "boolean", default: false },
        image: { type: "string" },
        dir: { type: "string", default: process.env.CAIRN_DIR ?? join(rootFolder, ".cairn") },
        memory: { type: "string", default: "512" },
        help: { type: "boolean", default: false },
      },
    });
    if (!/^\d+$/.test(values.memory))
      throw new Error(`--memory takes a number of MiB, not ${values.memory}`);
    return values;
  } catch (error) {
    process.stderr.write(`${error.message}\n${usage}`);
    process.exit(2);
  }
}

function cairnArguments(dir, args) {
  return [join(rootFolder, "bin/cairn"), ...args, "--dir", dir];
}

/** Runs a verb of the CLI to its end; its progress goes to the terminal. */
function cairn(dir, ...args) {
  return new Promise((done, reject) => {
    const child = spawn(process.execPath, cairnArguments(dir, args), { stdio: ["ignore", 2, 2] });
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0
        ? done()
        : reject(new UserError(`cairn ${args.join(" ")} failed (exit code ${code})`)),
    );
  });
}

function imageExists(dir, name) {
  const result = spawnSync(process.execPath, cairnArguments(dir, ["info", `rbd/${name}`]), {
    stdio: "ignore",
  });
  return result.status === 0;
}

function hashFile(path) {
  return new Promise((done, reject) => {
    const hash = createHash("sha256");
    createReadStream(path)
      .on("data", (chunk) => hash.update(chunk))
      .on("error", reject)
      .on("end", () => done(hash.digest("hex").slice(0, 8)));
  });
}

/** Starts `cairn attach` and waits for its socket. */
function attach(dir, image, socket) {
  const child = spawn(
    process.execPath,
    cairnArguments(dir, ["attach", `rbd/${image}`, "--vhost-user", socket, "--queues", "2"]),
    { stdio: ["ignore", 2, 2] },
  );
  return new Promise((done, reject) => {
    child.on("close", (code) => reject(new UserError(`cairn attach ended (exit code ${code})`)));
    const poll = setInterval(() => {
      if (!existsSync(socket)) return;
      clearInterval(poll);
      done(child);
    }, 50);
  });
}

// /dev/kvm alone proves nothing: nested environments show it without the CPU's support.
function accelerator() {
  const flags = readFileSync("/proc/cpuinfo", "utf8");
  const usable = existsSync("/dev/kvm") && /\b(vmx|svm)\b/.test(flags);
  return usable ? ["-accel", "kvm", "-cpu", "host"] : ["-accel", "tcg,thread=multi", "-cpu", "max"];
}

function bootGuest(socket, memoryMib) {
  const args = [
    "-machine",
    "q35,memory-backend=memory",
    ...accelerator(),
    "-smp",
    "2",
    "-m",
    memoryMib,
    "-object",
    `memory-backend-memfd,id=memory,size=${memoryMib}M,share=on`,
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
    "-chardev",
    `socket,id=disk,path=${socket},reconnect=1`,
    "-device",
    "vhost-user-blk-pci,chardev=disk,num-queues=2,bootindex=0",
    "-serial",
    "stdio",
    "-monitor",
    "none",
  ];
  // A process group of its own: Ctrl-C reaches the guest's disk only after the guest has gone.
  return spawn("qemu-system-x86_64", args, {
    stdio: [process.stdin.isTTY ? "inherit" : "ignore", "pipe", 2],
    detached: !process.stdin.isTTY,
  });
}

/** Streams the console; resolves when the userland is up: the demo line, or a login prompt. */
function untilReady(qemu, isDemo) {
  return new Promise((done, reject) => {
    let tail = "";
    const timer = setTimeout(
      () =>
        reject(
          new UserError(
            `the guest was not up after ${bootTimeoutMs / 1000} s; see the console above`,
          ),
        ),
      bootTimeoutMs,
    );
    qemu.on("close", (code) =>
      reject(new UserError(`QEMU ended before the guest was up (exit code ${code})`)),
    );
    qemu.on("error", (error) =>
      reject(new UserError(`cannot run qemu-system-x86_64: ${error.message}`)),
    );
    qemu.stdout.on("data", (chunk) => {
      process.stdout.write(chunk);
      tail = (tail + chunk.toString("latin1")).slice(-4096);
      const ready = isDemo ? /GUEST-READY/.test(tail) : /(GUEST-READY|login:)/.test(tail);
      if (!ready) return;
      clearTimeout(timer);
      if (!/GUEST-READY/.test(tail)) process.stdout.write("\nGUEST-READY\n");
      done();
    });
  });
}

function stop(child, signal = "SIGTERM") {
  if (!child || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((done) => {
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    child.removeAllListeners("close");
    child.on("close", () => {
      clearTimeout(timer);
      done();
    });
    child.kill(signal);
  });
}

async function main() {
  const chosen = options();
  if (chosen.help) return void process.stdout.write(usage);
  const started = Date.now();
  const dir = resolve(chosen.dir);
  if (chosen.image && !existsSync(chosen.image))
    throw new UserError(`no such file: ${chosen.image}`);
  await buildAll({ packageGroups: ["build", "start"] });
  const isDemo = chosen.image === undefined;
  const file = isDemo ? demoImagePath : resolve(chosen.image);
  if (isDemo && !existsSync(file)) await makeGuestImage(file);

  const running = { qemu: undefined, attach: undefined };
  const sockets = mkdtempSync(join(tmpdir(), "cairn-"));
  const interrupted = new Promise((done) => {
    for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => done(signal));
  });
  try {
    const stopped = await Promise.race([bootAndWait(), interrupted]);
    if (typeof stopped === "string") process.stderr.write(`\n* ${stopped}: stopping\n`);
  } finally {
    await stop(running.qemu);
    await stop(running.attach);
    rmSync(sockets, { recursive: true, force: true });
    await cairn(dir, "down").catch((error) => process.stderr.write(`${error.message}\n`));
  }

  async function bootAndWait() {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    await step("starting the cluster", () => cairn(dir, "up"));
    const hash = await hashFile(file);
    const stem = basename(file)
      .replace(/\.[^.]*$/, "")
      .replace(/[^A-Za-z0-9_-]/g, "-")
      .slice(0, 64);
    const image = isDemo ? `demo-${hash}` : `${stem}-${hash}`;
    if (!imageExists(dir, image)) {
      await step(`importing ${basename(file)} as rbd/${image}`, () =>
        cairn(dir, "import", file, `rbd/${image}`),
      );
    }
    const socket = join(sockets, "disk.sock");
    running.attach = await step(`attaching rbd/${image}`, () => attach(dir, image, socket));
    process.stderr.write("* booting the guest from it (Ctrl-C stops everything)\n");
    running.qemu = bootGuest(socket, chosen.memory);
    await untilReady(running.qemu, isDemo);
    process.stderr.write(
      `* guest ready ${((Date.now() - started) / 1000).toFixed(1)} s after the start\n`,
    );
    if (!chosen.once) await new Promise((done) => running.qemu.on("close", done));
  }
}

runMain(main);
