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
  statSync,
} from "node:fs";
import { access, constants } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildAll } from "./build.mjs";
import {
  abortBySignals,
  rootFolder,
  run,
  runMain,
  Stopped,
  step,
  stopChild,
  UserError,
  unlessStopped,
} from "./environment.mjs";
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
function cairn(dir, args, options) {
  const title = `cairn ${args.join(" ")}`;
  return run(process.execPath, cairnArguments(dir, args), { ...options, title });
}

function imageExists(dir, name) {
  const result = spawnSync(process.execPath, cairnArguments(dir, ["info", `rbd/${name}`]), {
    stdio: "ignore",
  });
  return result.status === 0;
}

/** @throws UserError: it is not there, no file, or not ours to read */
async function checkReadable(path) {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined) throw new UserError(`no such file: ${path}`);
  if (info.isDirectory()) throw new UserError(`${path} is a folder, not a disk image`);
  await access(path, constants.R_OK).catch(() => {
    throw new UserError(`${path} cannot be read: its permissions do not allow it`);
  });
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

// In a session of its own: Ctrl-C must not reach the guest's disk before the guest has gone.
function startAttach(dir, image, socket) {
  const args = ["attach", `rbd/${image}`, "--vhost-user", socket, "--queues", "2"];
  return spawn(process.execPath, cairnArguments(dir, args), {
    stdio: ["ignore", 2, 2],
    detached: true,
  });
}

/** Waits until `cairn attach` has made its socket. */
function untilAttached(child, socket) {
  return new Promise((done, reject) => {
    const poll = setInterval(() => {
      if (!existsSync(socket)) return;
      clearInterval(poll);
      done();
    }, 50);
    child.on("close", (code) => {
      clearInterval(poll);
      reject(new UserError(`cairn attach ended (exit code ${code})`));
    });
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
  // With a terminal in its process group, to read from it: Ctrl-C there ends the guest.
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
    const fail = (message) => {
      clearTimeout(timer);
      reject(new UserError(message));
    };
    qemu.on("close", (code) => fail(`QEMU ended before the guest was up (exit code ${code})`));
    qemu.on("error", (error) => fail(`cannot run qemu-system-x86_64: ${error.message}`));
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

/** Boots the image and waits: for the guest with --once, else for its end. */
async function bootAndWait({ dir, file, isDemo, sockets, chosen, running, signal }) {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  await step("starting the cluster", () => cairn(dir, ["up"], { signal }));
  const hash = await hashFile(file);
  const stem = basename(file)
    .replace(/\.[^.]*$/, "")
    .replace(/[^A-Za-z0-9_-]/g, "-")
    .slice(0, 64);
  const image = isDemo ? `demo-${hash}` : `${stem}-${hash}`;
  if (!imageExists(dir, image)) {
    await step(`importing ${basename(file)} as rbd/${image}`, () =>
      cairn(dir, ["import", file, `rbd/${image}`], { signal }),
    );
  }
  const socket = join(sockets, "disk.sock");
  await step(`attaching rbd/${image}`, () => {
    running.attach = startAttach(dir, image, socket);
    return unlessStopped(signal, untilAttached(running.attach, socket));
  });
  process.stderr.write("* booting the guest from it (Ctrl-C stops everything)\n");
  running.qemu = bootGuest(socket, chosen.memory);
  await unlessStopped(signal, untilReady(running.qemu, isDemo));
  running.isReady = true;
  process.stderr.write(
    `* guest ready ${((Date.now() - chosen.startedMs) / 1000).toFixed(1)} s after the start\n`,
  );
  if (chosen.once) return;
  await unlessStopped(signal, new Promise((done) => running.qemu.on("close", done)));
}

async function main() {
  const chosen = { ...options(), startedMs: Date.now() };
  if (chosen.help) return void process.stdout.write(usage);
  const dir = resolve(chosen.dir);
  if (chosen.image) await checkReadable(chosen.image);
  const signal = abortBySignals();
  await buildAll({ packageGroups: ["build", "start"], signal });
  const isDemo = chosen.image === undefined;
  const file = isDemo ? demoImagePath : resolve(chosen.image);
  if (isDemo && !existsSync(file)) await makeGuestImage(file);

  const running = { qemu: undefined, attach: undefined, isReady: false };
  const sockets = mkdtempSync(join(tmpdir(), "cairn-"));
  try {
    await bootAndWait({ dir, file, isDemo, sockets, chosen, running, signal });
  } catch (error) {
    if (!(error instanceof Stopped && running.isReady)) throw error;
  } finally {
    if (signal.aborted) process.stderr.write(`\n* ${signal.reason}: stopping\n`);
    await stopChild(running.qemu);
    await stopChild(running.attach);
    rmSync(sockets, { recursive: true, force: true });
    if (existsSync(join(dir, "cluster.json"))) {
      // Out of reach of a second Ctrl-C.
      const down = cairn(dir, ["down"], { detached: true });
      await down.catch((error) => process.stderr.write(`${error.message}\n`));
    }
  }
}

runMain(main);
